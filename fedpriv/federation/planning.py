"""From a configuration to its plan: calibrate the noise, choose the grid, bound ε against each adversary."""

from __future__ import annotations

import time

import numpy as np

from fedpriv import dp
from fedpriv.aggregation import Masked, Plain
from fedpriv.encoding import FixedPoint
from fedpriv.encoding.packing import packed_size
from fedpriv.errors import UnsafeParameters
from fedpriv.federation.config import Config
from fedpriv.federation.plan import Adversary, Estimate, Plan, together_with
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.secagg import UPDATE, SecAggParams, Vector, round_cost

__all__ = ["make_plan"]

_SLACK_STEP = 1.0005
"""Factor by which a calibrated noise multiplier grows until the coupling's slack fits as well."""

_WIDTHS = (32, 40, 48, 56)
"""Moduli that are tried where the configuration names none: whole bytes, the usual one first."""

_NEXT_TO_FREE = 1.001
"""How much of ε the coupling's slack may cost before a finer grid is taken."""

_FORWARD_SHARE = 1 / 3
"""A forward pass, as a share of a forward and a backward pass."""


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
    rate = privacy.expected_batch / records
    if rate > 1:
        raise UnsafeParameters(
            f"privacy.expected_batch = {privacy.expected_batch:g} is more than the {records:,} records",
            hint="choose an expected_batch well below the number of records; 2 to 10 percent is usual",
        )
    grid, noise = _calibrate(config, work, rate)
    counted = [(noise.event(), config.run.rounds)]
    aggregator = _aggregator(config, grid, noise)
    sent, masks = _traffic(aggregator)
    return Plan(
        dataset=work.dataset.fingerprint,
        unit=config.unit,
        trust=config.trust,
        aggregator=aggregator,
        rounds=config.run.rounds,
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        expected_batch=privacy.expected_batch,
        records=records,
        records_declared=privacy.records is not None,
        grid=grid,
        noise=noise,
        epsilon_pld=dp.epsilon_pld(counted, privacy.delta),
        epsilon_rdp=dp.epsilon_rdp(counted, privacy.delta),
        tv_slack=config.run.rounds * dp.skellam_gaussian_tv(noise.event().noise_variance, noise.dimension),
        adversaries=_adversaries(noise, aggregator, config.run.rounds, privacy.delta),
        bytes_per_client_round=sent,
        masks_per_client=masks,
        insecure=privacy.insecure_seed is not None,
        estimate=_measure(work, config) if measure else None,
    )


def _calibrate(config: Config, work: Workplace, rate: float) -> tuple[FixedPoint, dp.NoisePlan]:
    """The coarsest grid whose distance from Gaussian noise is next to free, and just enough noise on it."""
    privacy, rounds = config.privacy, config.run.rounds
    multiplier = privacy.noise_multiplier or dp.noise_multiplier(privacy.epsilon, privacy.delta, rate, rounds)
    ideal = dp.epsilon_pld([(dp.PoissonGaussian(multiplier, rate), rounds)], privacy.delta)
    widths = _WIDTHS if config.secagg.bits is None else (config.secagg.bits,)
    for bits in widths:
        try:
            grid, noise = _grid_and_noise(config, work, bits, multiplier, rate)
            cost = dp.epsilon_pld([(noise.event(), rounds)], privacy.delta)
        except UnsafeParameters:
            if bits == widths[-1]:
                raise
            continue
        if cost <= ideal * _NEXT_TO_FREE or bits == widths[-1]:
            break
    while privacy.noise_multiplier is None and cost > privacy.epsilon:
        multiplier *= _SLACK_STEP
        grid, noise = _grid_and_noise(config, work, bits, multiplier, rate)
        cost = dp.epsilon_pld([(noise.event(), rounds)], privacy.delta)
    return grid, noise


def _grid_and_noise(
    config: Config, work: Workplace, bits: int, multiplier: float, rate: float
) -> tuple[FixedPoint, dp.NoisePlan]:
    """The grid that fits the modulus with everybody's noise on it, and the noise in units of that grid."""
    clients, dimension = work.dataset.clients, work.manifest.size
    least, colluders = config.min_survivors(clients), config.secagg.max_colluders
    grid = FixedPoint.plan(
        bits=bits,
        clients=clients,
        clip=config.privacy.clip,
        expected_contributions=config.privacy.expected_batch,
        noise_multiplier=multiplier,
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
        sensitivity=grid.sensitivity,
        dimension=dimension,
        sampling_rate=rate,
    )
    return grid, noise


def _aggregator(config: Config, grid: FixedPoint, noise: dp.NoisePlan) -> Masked | Plain:
    """The aggregator that the configuration names, with its parameters."""
    clients, least = noise.clients, noise.min_survivors
    if config.aggregator == "plain":
        return Plain(clients=clients, bits=grid.bits, dimension=noise.dimension, threshold=least)
    return Masked(
        SecAggParams.for_cohort(
            clients,
            vectors=[Vector(UPDATE, grid.bits, noise.dimension)],
            max_colluders=noise.max_colluders,
            min_survivors=least,
        )
    )


def _traffic(aggregator: Masked | Plain) -> tuple[int, int]:
    """Bytes that a client sends in a round that was prepared ahead, and masks that it expands."""
    if isinstance(aggregator, Plain):
        return packed_size(aggregator.bits, aggregator.dimension), 0
    cost = round_cost(aggregator.params, prepared=True, prepares=True)
    return cost.bytes_sent, cost.client_masks


def _adversaries(
    noise: dp.NoisePlan, aggregator: Masked | Plain, rounds: int, delta: float
) -> tuple[Adversary, ...]:
    """ε against each onlooker, for the whole run."""

    def against(event: dp.Event | None) -> float | None:
        try:
            return None if event is None else dp.epsilon_pld([(event, rounds)], delta)
        except UnsafeParameters:
            return None

    unmasked = noise.event_against("unmasked")
    recipient = noise.event_against("recipient")
    peer = noise.event_against("peer")
    exposed = against(unmasked)
    if aggregator.hides_updates:
        server = noise.event_against("server")
        seen = against(server)
        what = f"the operator of the server{together_with(noise.max_colluders)}; sees the sums"
        if noise.trust == "central":
            what = "the operator of the server, who adds the noise and so sees the sums without it"
    else:
        server, seen = unmasked, exposed
        what = "the operator of the server; sees every client's update (aggregator = plain)"
    return (
        Adversary("server", what, server, seen),
        Adversary(
            "peer",
            "another client, honest but curious; sees the models and knows its own noise",
            peer,
            against(peer),
        ),
        Adversary("recipient", "whoever receives the models, and no more", recipient, against(recipient)),
        Adversary(
            "unmasked",
            "whoever sees one client's update with only its own noise: the masks broken, or never used",
            unmasked,
            exposed,
        ),
    )


def _measure(work: Workplace, config: Config) -> Estimate:
    """Time two micro-batches of record gradients; an evaluation is taken as a share of that."""
    from fedpriv.training import RecordGradients

    batch = config.training.micro_batch
    gradients = RecordGradients(
        work.model, work.task, work.manifest, clip=config.privacy.clip, micro_batch=batch
    )
    some = np.linspace(0, len(work.dataset.train) - 1, 2 * batch, dtype=np.int64)
    for _ in gradients.clipped(work.train, some[:batch]):  # the first pass pays for what is set up once
        pass
    start = time.perf_counter()
    for _ in gradients.clipped(work.train, some):
        pass
    per_record = (time.perf_counter() - start) / len(some)
    evaluations = 2 + config.run.rounds // config.training.evaluate_every
    return Estimate(
        seconds=per_record
        * (
            config.run.rounds * config.privacy.expected_batch
            + evaluations * len(work.dataset.test) * _FORWARD_SHARE
        ),
        memory_bytes=_peak_memory(),
    )


def _peak_memory() -> int:
    """The process's largest resident set so far, in bytes."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
