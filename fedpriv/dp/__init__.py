"""Differential privacy: events, what they cost, and the noise that makes it so."""

from __future__ import annotations

from fedpriv.dp.accountant import Counted, RdpFilter, delta_pld, epsilon_pld, epsilon_rdp
from fedpriv.dp.calibration import epsilon_for, noise_multiplier, rounds_for, sampling_rate_for
from fedpriv.dp.coupling import hellinger_squared, skellam_gaussian_tv
from fedpriv.dp.events import (
    RELATION,
    Event,
    PoissonGaussian,
    PoissonSkellam,
    event_from_dict,
    event_to_dict,
)
from fedpriv.dp.mechanisms import Adversary, NoisePlan, Trust, share_excess
from fedpriv.dp.samplers import MAX_VARIANCE, TOTAL_VARIATION_LOG2, Words, poisson_sample, skellam
from fedpriv.dp.skellam_rdp import epsilon_skellam_rdp, sampled_skellam_rdp, skellam_rdp

__all__ = [
    "Adversary",
    "Counted",
    "Event",
    "MAX_VARIANCE",
    "NoisePlan",
    "PoissonGaussian",
    "PoissonSkellam",
    "RELATION",
    "RdpFilter",
    "TOTAL_VARIATION_LOG2",
    "Trust",
    "Words",
    "delta_pld",
    "epsilon_for",
    "epsilon_pld",
    "epsilon_rdp",
    "epsilon_skellam_rdp",
    "event_from_dict",
    "event_to_dict",
    "hellinger_squared",
    "noise_multiplier",
    "poisson_sample",
    "rounds_for",
    "sampled_skellam_rdp",
    "sampling_rate_for",
    "share_excess",
    "skellam",
    "skellam_gaussian_tv",
    "skellam_rdp",
]
