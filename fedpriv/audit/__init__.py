"""Empirical audit: what a run's releases give away about canaries, as a lower bound on its ε."""

from __future__ import annotations

from fedpriv.audit.canaries import LOUDNESS, Canaries, CanaryGradients
from fedpriv.audit.candidates import Uniformity, candidate_scores, uniformity
from fedpriv.audit.claim import CAUTION, LEAST_CANARIES, ClaimAudit, Finding, try_claim
from fedpriv.audit.membership import Membership, membership_test
from fedpriv.audit.one_run import (
    epsilon_lower_bound,
    epsilon_lower_bound_fdp,
    gaussian_delta,
    mu_lower_bound,
)
from fedpriv.audit.one_shot import cosine_estimate
from fedpriv.audit.separation import Separation, separation
from fedpriv.audit.tradeoff_run import TradeOff, chance_bound

__all__ = [
    "CAUTION",
    "Canaries",
    "CanaryGradients",
    "ClaimAudit",
    "Finding",
    "LEAST_CANARIES",
    "LOUDNESS",
    "Membership",
    "Separation",
    "TradeOff",
    "Uniformity",
    "candidate_scores",
    "chance_bound",
    "cosine_estimate",
    "epsilon_lower_bound",
    "epsilon_lower_bound_fdp",
    "gaussian_delta",
    "membership_test",
    "mu_lower_bound",
    "separation",
    "try_claim",
    "uniformity",
]
