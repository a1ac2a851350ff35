"""Differential privacy: events, what they cost, and the noise that makes it so."""

from __future__ import annotations

from fedpriv.dp.accountant import Counted, RdpFilter, delta_pld, epsilon_pld, epsilon_rdp
from fedpriv.dp.calibration import (
    batch_for,
    epsilon_for,
    next_multiplier,
    noise_multiplier,
    rounds_for,
    sampling_rate_for,
)
from fedpriv.dp.clients import epsilon_local
from fedpriv.dp.components import noise_components
from fedpriv.dp.coupling import (
    discrete_gaussian_hellinger_squared,
    discrete_gaussian_tv,
    hellinger_squared,
    skellam_gaussian_tv,
)
from fedpriv.dp.discrete_gaussian_rdp import (
    discrete_gaussian_rdp,
    epsilon_discrete_gaussian_rdp,
    sampled_discrete_gaussian_rdp,
)
from fedpriv.dp.events import (
    RELATION,
    BandedMatrixRound,
    Event,
    InTurns,
    OneTurn,
    PoissonDiscreteGaussian,
    PoissonGaussian,
    PoissonSkellam,
    PoissonSkellamSteps,
    SkellamWithQuantile,
    of_one_client,
    variance_for,
)
from fedpriv.dp.group import epsilon_group
from fedpriv.dp.limits import (
    LARGE_EPSILON,
    check_delta_for_records,
    check_epsilon,
    check_relation,
    check_sampling,
)
from fedpriv.dp.matrix import banded_sqrt
from fedpriv.dp.mechanisms import Adversary, NoisePlan, Trust, removal_levels, share_excess
from fedpriv.dp.planned import epsilon_everywhere, epsilon_of_units, frontier_around
from fedpriv.dp.registry import event_from_dict, event_to_dict
from fedpriv.dp.round_events import RoundEvents
from fedpriv.dp.running import RunningEpsilon
from fedpriv.dp.samplers import (
    MAX_VARIANCE,
    TOTAL_VARIATION_LOG2,
    Words,
    discrete_gaussian,
    poisson_sample,
    skellam,
)
from fedpriv.dp.skellam_rdp import epsilon_skellam_rdp, sampled_skellam_rdp, skellam_rdp
from fedpriv.dp.tradeoff import FrontierPoint, frontier

__all__ = [
    "Adversary",
    "BandedMatrixRound",
    "Counted",
    "Event",
    "FrontierPoint",
    "InTurns",
    "LARGE_EPSILON",
    "MAX_VARIANCE",
    "NoisePlan",
    "OneTurn",
    "PoissonDiscreteGaussian",
    "PoissonGaussian",
    "PoissonSkellam",
    "PoissonSkellamSteps",
    "RELATION",
    "RdpFilter",
    "RoundEvents",
    "RunningEpsilon",
    "SkellamWithQuantile",
    "TOTAL_VARIATION_LOG2",
    "Trust",
    "Words",
    "banded_sqrt",
    "batch_for",
    "check_delta_for_records",
    "check_epsilon",
    "check_relation",
    "check_sampling",
    "delta_pld",
    "discrete_gaussian",
    "discrete_gaussian_hellinger_squared",
    "discrete_gaussian_rdp",
    "discrete_gaussian_tv",
    "epsilon_discrete_gaussian_rdp",
    "epsilon_everywhere",
    "epsilon_for",
    "epsilon_group",
    "epsilon_local",
    "epsilon_of_units",
    "epsilon_pld",
    "epsilon_rdp",
    "epsilon_skellam_rdp",
    "event_from_dict",
    "event_to_dict",
    "frontier",
    "frontier_around",
    "hellinger_squared",
    "noise_components",
    "next_multiplier",
    "noise_multiplier",
    "of_one_client",
    "poisson_sample",
    "removal_levels",
    "rounds_for",
    "sampled_discrete_gaussian_rdp",
    "sampled_skellam_rdp",
    "sampling_rate_for",
    "share_excess",
    "skellam",
    "skellam_gaussian_tv",
    "skellam_rdp",
    "variance_for",
]
