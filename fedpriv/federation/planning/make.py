"""From a configuration to its plan: calibrate the noise, choose the grid, bound ε against each adversary."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fedpriv import dp
from fedpriv.encoding import FixedPoint
from fedpriv.encoding.scale import grid_sensitivity
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.planning.cohorts import largest_cohort
from fedpriv.federation.planning.compression import shared, too_few_bytes
from fedpriv.federation.planning.costs import Costs, costs_of
from fedpriv.federation.planning.encrypted import largest_value
from fedpriv.federation.planning.estimate import measured
from fedpriv.federation.planning.grid import noise_on
from fedpriv.federation.planning.modulus import chosen
from fedpriv.federation.planning.plan import Aggregator, Compressed, Plan
from fedpriv.federation.planning.subject import Subject
from fedpriv.federation.planning.summing import aggregator_for, traffic
from fedpriv.federation.work.contribution import Contribution
from fedpriv.federation.workplace import Workplace, prepare

__all__ = ["make_plan", "plan_of", "read_plan"]

_SLACK_STEP = 1.0005
"""Factor by which a calibrated noise multiplier grows until the coupling's slack fits as well."""


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
    _check_clients(config, subject)
    part, grid, noise, rotated = _calibrate(config, subject, one)
    return _plan(config, part, one, grid, noise, rotated=rotated, of=subject.parameters, costs=costs_of)


def read_plan(config: Config, subject: Subject, values: Mapping[str, Any]) -> Plan:
    """The plan that somebody made for ``subject`` and wrote down (`Plan.to_dict`); nothing is priced again.

    Everything but the prices follows from the configuration, the subject and the numbers of grid and noise,
    and is compared.  What the noise is worth, whoever is to rely on it computes from the plan's event.

    Raises:
        IntegrityError: it is no plan for this configuration and subject.
    """
    one = Contribution.of(config, records=subject.records, clients=subject.clients)
    clients = largest_cohort(subject.clients, one.cohorts)
    try:
        part = _written_part(config, subject, values)
        grid = FixedPoint(
            bits=values["bits"],
            clients=clients,
            clip=config.privacy.clip,
            scale_log2=values["scale_log2"],
            sensitivity=grid_sensitivity(config.privacy.clip, values["scale_log2"]),
            client_bound=values["client_bound"],
        )
        noise = noise_on(grid, config, part, one, values["noise_multiplier"])
        rotated = values["rotated"]
        if rotated not in config.rotations:
            raise ValueError(f"rotated is {rotated!r}")
        plan = _plan(
            config,
            part,
            one,
            grid,
            noise,
            rotated=rotated,
            of=subject.parameters,
            costs=lambda *_: Costs.from_dict(values),
        )
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
    rotated: bool,
    of: int,
    costs: Callable[[Config, Subject, Contribution, dp.NoisePlan, Aggregator], Costs],
) -> Plan:
    """Everything that follows from the grid and the noise; ``of``: parameters that the method has."""
    privacy = config.privacy
    largest = largest_value(one, grid, noise, config.run.rounds)
    aggregator = aggregator_for(config, grid, noise, noise.clients, largest)
    smaller = None
    if one.cohorts and subject.clients % one.cohorts:
        smaller = aggregator_for(config, grid, noise, noise.clients - 1, largest)
    sent, masks = traffic(aggregator)
    compressed = None
    if config.compression is not None:
        compressed = Compressed(subject.parameters, of, config.compression.bytes)
        if compressed.bytes is not None and sent > compressed.bytes:
            raise too_few_bytes(config, sent - compressed.bytes)
    cost = costs(config, subject, one, noise, aggregator)
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
        epsilon_pld=cost.epsilon_pld,
        epsilon_rdp=cost.epsilon_rdp,
        tv_slack=cost.tv_slack,
        flooding_slack=cost.flooding_slack,
        adversaries=cost.adversaries,
        bytes_per_client_round=sent,
        masks_per_client=masks,
        insecure=privacy.insecure_seed is not None,
        unit_key=subject.unit_key,
        work=config.work,
        local_steps=config.local_steps,
        local_epochs=config.local_epochs,
        adaptive_clip=one.adaptive_clip(config, grid),
        bands=one.bands,
        cohorts=one.cohorts,
        all_clients=subject.clients,
        smaller=smaller,
        seed=config.run.seed,
        disjointness=config.data.disjointness,
        person_records=privacy.person_records,
        epsilon_person=cost.epsilon_person,
        epsilon_everywhere=cost.epsilon_everywhere,
        allow_large_epsilon=privacy.allow_large_epsilon,
        compressed=compressed,
        rotated=rotated,
    )


def _check_clients(config: Config, subject: Subject) -> None:
    """Refuse a model with coordinates that no client has."""
    spec = config.peft.spec(config.run.seed)
    least = spec.kind.least_clients(spec)
    if subject.clients < least:
        raise UsageError(
            f"With {subject.clients} clients nobody has rank {spec.rank}: the ranks are taken in turn.",
            hint=f"Have {least} clients or more, or put the largest of peft.ranks first.",
        )


def _written_part(config: Config, subject: Subject, values: Mapping[str, Any]) -> Subject:
    """The part of the subject that a written plan sends: as configured, or as many as it says fit.

    Raises:
        KeyError, TypeError, ValueError: it says none, or more than there are.
    """
    if config.compression is None or config.compression.bytes is None:
        return shared(config, subject)
    parameters = int(values["compression"]["coordinates"])
    if not 1 <= parameters <= subject.parameters:
        raise ValueError(f"{parameters} of {subject.parameters} coordinates")
    return replace(subject, parameters=parameters)


def _calibrate(
    config: Config, subject: Subject, one: Contribution
) -> tuple[Subject, FixedPoint, dp.NoisePlan, bool]:
    """As many parameters as may be sent, the grid with a distance from Gaussian noise that is next to free,
    just enough noise, and whether sums are rotated."""
    privacy, rounds, rate = config.privacy, config.run.rounds, one.sampling_rate
    releases = one.releases(rounds)
    multiplier = privacy.noise_multiplier or dp.noise_multiplier(
        privacy.epsilon, privacy.delta, rate, releases
    )
    ideal = dp.epsilon_pld([(dp.PoissonGaussian(multiplier, rate), releases)], privacy.delta)
    modulus, part = chosen(config, subject, one, multiplier, ideal)
    grid, noise, cost = modulus.priced(part, multiplier)
    while privacy.noise_multiplier is None and cost > privacy.epsilon:
        multiplier *= _SLACK_STEP
        part = modulus.fitted(subject, multiplier).subject  # an encrypted value is the longer for its noise
        grid, noise, cost = modulus.priced(part, multiplier)
    return part, grid, noise, modulus.rotated
