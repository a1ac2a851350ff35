"""From a configuration to its plan: calibrate the noise, choose the grid, bound ε against each adversary."""

from __future__ import annotations

import math

from fedpriv import dp
from fedpriv.aggregation import Ckks, Masked, Plain
from fedpriv.encoding import FixedPoint
from fedpriv.encoding.packing import packed_size
from fedpriv.errors import UnsafeParameters
from fedpriv.federation.banded import FineNoise
from fedpriv.federation.config import Config
from fedpriv.federation.planning.adversaries import adversaries
from fedpriv.federation.planning.cohorts import largest_cohort
from fedpriv.federation.planning.encrypted import ckks_aggregator, flooding_slack, largest_value
from fedpriv.federation.planning.estimate import measured
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.work.contribution import Contribution
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.secagg import UPDATE, SecAggParams, Vector, round_cost

__all__ = ["make_plan"]

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
    privacy = config.privacy
    records = privacy.records or len(work.dataset.train)
    one = Contribution.of(config, records=records, clients=work.dataset.clients)
    grid, noise = _calibrate(config, work, one)
    events = one.events(noise)
    counted = [(events.event(), config.run.rounds)]
    largest = largest_value(one, grid, noise, config.run.rounds)
    aggregator = _aggregator(config, grid, noise, noise.clients, largest)
    smaller = None
    if one.bands and work.dataset.clients % one.bands:
        smaller = _aggregator(config, grid, noise, noise.clients - 1, largest)
    sent, masks = _traffic(aggregator)
    epsilon = dp.epsilon_pld(counted, privacy.delta)
    return Plan(
        dataset=work.dataset.fingerprint,
        unit=config.unit,
        trust=config.trust,
        aggregator=aggregator,
        rounds=config.run.rounds,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        expected_batch=one.divisor,
        records=records,
        records_declared=privacy.records is not None,
        grid=grid,
        noise=noise,
        events=events,
        epsilon_pld=epsilon,
        epsilon_rdp=dp.epsilon_rdp(counted, privacy.delta),
        tv_slack=_slack(config, one, noise),
        flooding_slack=flooding_slack(
            aggregator.params, config.run.rounds, epsilon=epsilon, delta=privacy.delta
        )
        if isinstance(aggregator, Ckks)
        else 0.0,
        adversaries=adversaries(events, aggregator, config.run.rounds, privacy.delta),
        bytes_per_client_round=sent,
        masks_per_client=masks,
        insecure=privacy.insecure_seed is not None,
        estimate=measured(work, config) if measure else None,
        unit_key=_unit_key(config, work),
        work=config.work,
        local_steps=config.local_steps,
        local_epochs=config.local_epochs,
        adaptive_clip=one.adaptive_clip(config, grid),
        bands=one.bands,
        all_clients=work.dataset.clients,
        smaller=smaller,
        seed=config.run.seed,
        disjointness=config.data.disjointness,
        person_records=privacy.person_records,
        epsilon_person=_person(config, events, clients=work.dataset.clients),
        epsilon_everywhere=_everywhere(config, events, clients=work.dataset.clients),
        allow_large_epsilon=privacy.allow_large_epsilon,
    )


def _person(config: Config, events: dp.RoundEvents, *, clients: int) -> float | None:
    """What somebody with several records is promised; None where nobody has them, or no bound is shown."""
    records = config.privacy.person_records
    if records == 1:
        return None
    return dp.epsilon_of_units(
        events.event(),
        config.run.rounds,
        records if config.unit == "record" else min(records, clients),
        config.privacy.delta,
        apart=clients if config.trust == "local" else 1,
    )


def _everywhere(config: Config, events: dp.RoundEvents, *, clients: int) -> float | None:
    """Under ``local``, what somebody with one record at every client is promised."""
    if config.trust != "local" or config.data.disjointness == "asserted":
        return None
    each = (events.event(), config.run.rounds)
    return dp.epsilon_everywhere({str(client): each for client in range(clients)}, config.privacy.delta)


def _slack(config: Config, one: Contribution, noise: dp.NoisePlan) -> float:
    """Distance of the run's noise from Gaussian noise; a matrix mechanism's is not in its event."""
    rounds = config.run.rounds
    if one.bands is None:
        return one.releases(rounds) * dp.skellam_gaussian_tv(noise.event().noise_variance, noise.dimension)
    fine = FineNoise(noise, one.bands)
    epsilon = dp.epsilon_pld([(one.events(noise).event(), rounds)], config.privacy.delta)
    fine.check(rounds, epsilon=epsilon, delta=config.privacy.delta)
    return fine.slack(rounds)


def _unit_key(config: Config, work: Workplace) -> str:
    """The unit, and for clients a keyed digest of the partition that makes them, in no order."""
    if config.unit == "record":
        return "record"
    return f"client:{work.dataset.shares_digest}"


def _calibrate(config: Config, work: Workplace, one: Contribution) -> tuple[FixedPoint, dp.NoisePlan]:
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
            grid, noise = _grid_and_noise(config, work, bits, multiplier, one)
            cost = dp.epsilon_pld([(one.events(noise).event(), rounds)], privacy.delta)
        except UnsafeParameters:
            if bits == widths[-1]:
                raise
            continue
        if cost <= ideal * _NEXT_TO_FREE or bits == widths[-1]:
            break
    while privacy.noise_multiplier is None and cost > privacy.epsilon:
        multiplier *= _SLACK_STEP
        grid, noise = _grid_and_noise(config, work, bits, multiplier, one)
        cost = dp.epsilon_pld([(one.events(noise).event(), rounds)], privacy.delta)
    return grid, noise


def _grid_and_noise(
    config: Config, work: Workplace, bits: int, multiplier: float, one: Contribution
) -> tuple[FixedPoint, dp.NoisePlan]:
    """The grid that fits the modulus with everybody's noise on it, and the noise in units of that grid."""
    clients = largest_cohort(work.dataset.clients, one.bands)
    dimension = one.dimension(work.manifest.size)
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
    noise = dp.NoisePlan(
        trust=config.trust,
        clients=clients,
        min_survivors=least,
        max_colluders=colluders,
        noise_multiplier=multiplier,
        sensitivity=one.sensitivity(grid),
        dimension=dimension,
        sampling_rate=one.sampling_rate,
        levels=_levels(config, clients),
    )
    return grid, noise


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
) -> Masked | Plain | Ckks:
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


def _traffic(aggregator: Masked | Plain | Ckks) -> tuple[int, int]:
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
