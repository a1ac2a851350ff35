"""Empirical audit: what a run's releases give away about canaries, as a lower bound on its ε."""

from __future__ import annotations

from fedpriv.audit.canaries import Canaries, CanaryGradients
from fedpriv.audit.one_run import (
    epsilon_lower_bound,
    epsilon_lower_bound_fdp,
    gaussian_delta,
    mu_lower_bound,
)
from fedpriv.audit.verdict import CAUTION, SHARES, Audit, Finding, audit

__all__ = [
    "Audit",
    "CAUTION",
    "Canaries",
    "CanaryGradients",
    "Finding",
    "SHARES",
    "audit",
    "epsilon_lower_bound",
    "epsilon_lower_bound_fdp",
    "gaussian_delta",
    "mu_lower_bound",
]
