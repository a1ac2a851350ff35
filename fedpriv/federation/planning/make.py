"""From a configuration to its plan: calibrate the noise, choose the grid, bound ε against each adversary."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fedpriv import dp
from fedpriv.aggregation import Ckks, Masked, Plain
from fedpriv.encoding import FixedPoint
from fedpriv.encoding.packing import packed_size
from fedpriv.encoding.scale import grid_sensitivity
from fedpriv.errors import IntegrityError, UnsafeParameters
from fedpriv.federation.config import Config
from fedpriv.federation.planning.cohorts import largest_cohort
from fedpriv.federation.planning.costs import Costs, costs_of
from fedpriv.federation.planning.encrypted import ckks_aggregator, largest_value
from fedpriv.federation.planning.estimate import measured
from fedpriv.federation.planning.plan import Aggregator, Plan
from fedpriv.federation.planning.subject import Subject
from fedpriv.federation.work.contribution import Contribution
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.secagg import UPDATE, SecAggParams, Vector, round_cost

__all__ = ["make_plan", "plan_of", "read_plan"]

_SLACK_STEP = 1.0005
"""Factor by which a calibrated noise multiplier grows until the coupling's slack fits as well."""

_WIDTHS = (32, 40, 48, 56)
"""Moduli that are tried where the configuration names none: whole bytes, the usual one first."""

_ENCRYPTED_WIDTHS = (20, 24, 28, *_WIDTHS)
"""The same for an encrypted sum, where every bit of a value is sent twice and more."""

_NEXT_TO_FREE = 1.001
"""How much of ε the coupling's slack may cost before a finer grid is taken."""


def make_plan(config: Config, work: Workplace | None = None, *, measure: bool = False) -> Plan:
    """Work out what ``config`` asks for; nothing is spent.

    Args:
        config: the configuration.
        work: the loaded data and model, where the caller has them already.
        measure: time a few record gradients here, so that the plan can say how long the run will take.

    Raises:
        UsageError: the data, the model or the numbers do not fit together.
        UnsafeParameters: no grid, threshold or noise makes the plan safe.
    """
    work = work or prepare(config)
    plan = plan_of(config, Subject.of(config, work))
    return replace(plan, estimate=measured(work, config)) if measure else plan


def plan_of(config: Config, subject: Subject) -> Plan:
    """The plan for data and a model of which only ``subject`` is known; the same for everybody who asks.

    Raises:
        UsageError, UnsafeParameters: as `make_plan`.
    """
    one = Contribution.of(config, records=subject.records, clients=subject.clients)
    grid, noise = _calibrate(config, subject, one)
    return _plan(config, subject, one, grid, noise, priced=costs_of)


def read_plan(config: Config, subject: Subject, values: Mapping[str, Any]) -> Plan:
    """The plan that somebody made for ``subject`` and wrote down (`Plan.to_dict`); nothing is priced again.

    Everything but the prices follows from the configuration, the subject and the numbers of grid and noise,
    and is compared.  What the noise is worth, whoever is to rely on it computes from the plan's event.

    Raises:
        IntegrityError: it is no plan for this configuration and subject.
    """
    one = Contribution.of(config, records=subject.records, clients=subject.clients)
    clients = largest_cohort(subject.clients, one.bands)
    try:
        grid = FixedPoint(
            bits=values["bits"],
            clients=clients,
            clip=config.privacy.clip,
            scale_log2=values["scale_log2"],
            sensitivity=grid_sensitivity(config.privacy.clip, values["scale_log2"]),
            client_bound=values["client_bound"],
        )
        noise = _noise(config, subject, one, grid, values["noise_multiplier"])
        plan = _plan(config, subject, one, grid, noise, priced=lambda *_: Costs.from_dict(values))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise IntegrityError(f"The written plan is none: {error}.") from None
    if json.loads(json.dumps(plan.to_dict())) != values:
        raise IntegrityError(
            "The written plan is not the one that follows from the configuration and its own numbers.",
            hint="Take config.toml, agreement.json and plan.json from one and the same deployment.",
        )
    return plan


def _plan(
    config: Config,
    subject: Subject,
    one: Contribution,
    grid: FixedPoint,
    noise: dp.NoisePlan,
    *,
    priced: Callable[[Config, Subject, Contribution, dp.NoisePlan, Aggregator], Costs],
) -> Plan:
    """Everything that follows from the grid and the noise."""
    privacy = config.privacy
    largest = largest_value(one, grid, noise, config.run.rounds)
    aggregator = _aggregator(config, grid, noise, noise.clients, largest)
    smaller = None
    if one.bands and subject.clients % one.bands:
        smaller = _aggregator(config, grid, noise, noise.clients - 1, largest)
    sent, masks = _traffic(aggregator)
    costs = priced(config, subject, one, noise, aggregator)
    return Plan(
        dataset=subject.dataset,
        unit=config.unit,
        trust=config.trust,
        aggregator=aggregator,
        rounds=config.run.rounds,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        expected_batch=one.divisor,
        records=subject.records,
        records_declared=privacy.records is not None,
        grid=grid,
        noise=noise,
        events=one.events(noise),
        epsilon_pld=costs.epsilon_pld,
        epsilon_rdp=costs.epsilon_rdp,
        tv_slack=costs.tv_slack,
        flooding_slack=costs.flooding_slack,
        adversaries=costs.adversaries,
        bytes_per_client_round=sent,
        masks_per_client=masks,
        insecure=privacy.insecure_seed is not None,
        unit_key=subject.unit_key,
        work=config.work,
        local_steps=config.local_steps,
        local_epochs=config.local_epochs,
        adaptive_clip=one.adaptive_clip(config, grid),
        bands=one.bands,
        all_clients=subject.clients,
        smaller=smaller,
        seed=config.run.seed,
        disjointness=config.data.disjointness,
        person_records=privacy.person_records,
        epsilon_person=costs.epsilon_person,
        epsilon_everywhere=costs.epsilon_everywhere,
        allow_large_epsilon=privacy.allow_large_epsilon,
    )


def _calibrate(config: Config, subject: Subject, one: Contribution) -> tuple[FixedPoint, dp.NoisePlan]:
    """The coarsest grid whose distance from Gaussian noise is next to free, and just enough noise on it."""
    privacy, rounds, rate = config.privacy, config.run.rounds, one.sampling_rate
    releases = one.releases(rounds)
    multiplier = privacy.noise_multiplier or dp.noise_multiplier(
        privacy.epsilon, privacy.delta, rate, releases
    )
    ideal = dp.epsilon_pld([(dp.PoissonGaussian(multiplier, rate), releases)], privacy.delta)
    widths: tuple[int, ...] = _ENCRYPTED_WIDTHS if config.aggregator == "ckks" else _WIDTHS
    if config.secagg.bits is not None:
        widths = (config.secagg.bits,)
    for bits in widths:
        try:
            grid, noise = _grid_and_noise(config, subject, bits, multiplier, one)
            cost = dp.epsilon_pld([(one.events(noise).event(), rounds)], privacy.delta)
        except UnsafeParameters:
            if bits == widths[-1]:
                raise
            continue
        if cost <= ideal * _NEXT_TO_FREE or bits == widths[-1]:
            break
    while privacy.noise_multiplier is None and cost > privacy.epsilon:
        multiplier *= _SLACK_STEP
        grid, noise = _grid_and_noise(config, subject, bits, multiplier, one)
        cost = dp.epsilon_pld([(one.events(noise).event(), rounds)], privacy.delta)
    return grid, noise


def _grid_and_noise(
    config: Config, subject: Subject, bits: int, multiplier: float, one: Contribution
) -> tuple[FixedPoint, dp.NoisePlan]:
    """The grid that fits the modulus with everybody's noise on it, and the noise in units of that grid."""
    clients = largest_cohort(subject.clients, one.bands)
    dimension = one.dimension(subject.parameters)
    least, colluders = config.min_survivors(clients), config.secagg.max_colluders
    grid = FixedPoint.plan(
        bits=bits,
        clients=clients,
        clip=config.privacy.clip,
        expected_contributions=one.expected,
        noise_multiplier=multiplier * one.stretch * math.sqrt(one.steps),
        share_excess=dp.share_excess(
            config.trust, clients=clients, min_survivors=least, max_colluders=colluders
        ),
        dimension=dimension,
    )
    return grid, _noise(config, subject, one, grid, multiplier)


def _noise(
    config: Config, subject: Subject, one: Contribution, grid: FixedPoint, multiplier: float
) -> dp.NoisePlan:
    """The noise of one round, so many times what one unit can move on ``grid``."""
    clients = largest_cohort(subject.clients, one.bands)
    return dp.NoisePlan(
        trust=config.trust,
        clients=clients,
        min_survivors=config.min_survivors(clients),
        max_colluders=config.secagg.max_colluders,
        noise_multiplier=multiplier,
        sensitivity=one.sensitivity(grid),
        dimension=one.dimension(subject.parameters),
        sampling_rate=one.sampling_rate,
        levels=_levels(config, clients),
    )


def _levels(config: Config, clients: int) -> tuple[int, ...]:
    """The numbers of survivors at which noise is removed: none where no shares add up, or none is wanted.

    On a sparse graph the levels could be asked for twice (spec 10.5), and few clients may vanish anyway;
    under encryption no secrets are shared that could open them.
    """
    if config.trust != "distributed" or not config.secagg.remove_excess:
        return ()
    if config.aggregator == "ckks" or _is_sparse(config):
        return ()
    return dp.removal_levels(
        clients=clients,
        min_survivors=config.min_survivors(clients),
        max_colluders=config.secagg.max_colluders,
    )


def _aggregator(
    config: Config, grid: FixedPoint, noise: dp.NoisePlan, clients: int, largest: int
) -> Aggregator:
    """The aggregator that the configuration names, with its parameters, for a sum over so many clients, none
    of whose values is larger than ``largest``."""
    least = noise.min_survivors
    if config.aggregator == "ckks":
        return ckks_aggregator(config, grid, noise, clients, largest)
    if config.aggregator == "plain":
        return Plain(clients, grid.bits, noise.dimension, threshold=least, levels=noise.levels)
    vectors = [Vector(UPDATE, grid.bits, noise.dimension)]
    if _is_sparse(config):
        corrupt, dropout = noise.max_colluders + 0.5, clients - least + 0.5  # halves: both are rounded down
        return Masked(
            SecAggParams.for_devices(
                clients, vectors=vectors, corrupt=corrupt / clients, dropout=dropout / clients
            )
        )
    return Masked(
        SecAggParams.for_cohort(
            clients,
            vectors=vectors,
            max_colluders=noise.max_colluders,
            min_survivors=least,
            levels=noise.levels,
        )
    )


def _is_sparse(config: Config) -> bool:
    return config.aggregator == "masked" and config.secagg.graph == "sparse"


def _traffic(aggregator: Aggregator) -> tuple[int, int]:
    """The most bytes that a client sends in a round, prepared ahead where it can be, and masks to expand."""
    if isinstance(aggregator, Ckks):
        params = aggregator.params
        opens = 0 if aggregator.has_authority else params.answer_bytes  # clients that hold the key send both
        return params.upload_bytes + opens, 0
    if isinstance(aggregator, Plain):
        secret = 32 if aggregator.levels else 0
        return packed_size(aggregator.bits, aggregator.dimension) + secret, 0
    ahead = aggregator.params.complete
    cost = round_cost(aggregator.params, prepared=ahead, prepares=ahead)
    return cost.bytes_sent, cost.client_masks
