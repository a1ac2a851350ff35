"""Empirical audit: what a run's releases give away about canaries, as a lower bound on its ε."""

from __future__ import annotations

from fedpriv.audit.canaries import LOUDNESS, Canaries, CanaryGradients
from fedpriv.audit.claim import LEAST_CANARIES, ClaimAudit, try_claim
from fedpriv.audit.one_run import (
    epsilon_lower_bound,
    epsilon_lower_bound_fdp,
    gaussian_delta,
    mu_lower_bound,
)
from fedpriv.audit.one_shot import cosine_estimate
from fedpriv.audit.tradeoff_run import TradeOff, chance_bound
from fedpriv.audit.verdict import CAUTION, SHARES, Audit, Finding, audit

__all__ = [
    "Audit",
    "CAUTION",
    "Canaries",
    "CanaryGradients",
    "ClaimAudit",
    "Finding",
    "LEAST_CANARIES",
    "LOUDNESS",
    "SHARES",
    "TradeOff",
    "audit",
    "chance_bound",
    "cosine_estimate",
    "epsilon_lower_bound",
    "epsilon_lower_bound_fdp",
    "gaussian_delta",
    "mu_lower_bound",
    "try_claim",
]
