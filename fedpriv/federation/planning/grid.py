"""The grid that values are rounded to, and the noise on it."""

from __future__ import annotations

import math

from fedpriv import dp
from fedpriv.encoding import FixedPoint
from fedpriv.federation.config import Config
from fedpriv.federation.planning.cohorts import largest_cohort
from fedpriv.federation.planning.subject import Subject
from fedpriv.federation.work.contribution import Contribution

__all__ = ["grid_and_noise", "is_sparse", "levels", "noise_on"]


def grid_and_noise(
    config: Config,
    subject: Subject,
    bits: int,
    multiplier: float,
    one: Contribution,
    *,
    rotated: bool = False,
) -> tuple[FixedPoint, dp.NoisePlan]:
    """The grid that fits the modulus with everybody's noise on it, and the noise in units of that grid.

    ``rotated`` says whether contributions are turned before they are rounded; the clip's coordinate is not.

    Raises:
        UnsafeParameters: no grid does.
    """
    clients = largest_cohort(subject.clients, one.cohorts)
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
        dimension=one.dimension(subject.parameters),
        rotated=subject.parameters if rotated else None,
        beside=one.bit_ratio,
    )
    return grid, noise_on(grid, config, subject, one, multiplier)


def noise_on(
    grid: FixedPoint, config: Config, subject: Subject, one: Contribution, multiplier: float
) -> dp.NoisePlan:
    """The noise of one round, so many times what one unit can move on ``grid``."""
    clients = largest_cohort(subject.clients, one.cohorts)
    return dp.NoisePlan(
        trust=config.trust,
        clients=clients,
        min_survivors=config.min_survivors(clients),
        max_colluders=config.secagg.max_colluders,
        noise_multiplier=multiplier,
        sensitivity=one.sensitivity(grid),
        dimension=one.dimension(subject.parameters),
        sampling_rate=one.sampling_rate,
        levels=levels(config, clients),
    )


def is_sparse(config: Config) -> bool:
    """Whether clients share masks with some others only."""
    return config.aggregator == "masked" and config.secagg.graph == "sparse"


def levels(config: Config, clients: int) -> tuple[int, ...]:
    """The numbers of survivors at which noise is removed: none where no shares add up, or none is wanted.

    On a sparse graph the levels could be asked for twice (spec 10.5), and few clients may vanish anyway;
    under encryption no secrets are shared that could open them.
    """
    if config.trust != "distributed" or not config.secagg.remove_excess:
        return ()
    if config.aggregator == "ckks" or is_sparse(config):
        return ()
    return dp.removal_levels(
        clients=clients,
        min_survivors=config.min_survivors(clients),
        max_colluders=config.secagg.max_colluders,
    )
