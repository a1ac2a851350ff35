"""The audit report of a run, its forms and its verification; the run directory is their only input."""

from __future__ import annotations

from fedpriv.report.check import Check, Verification
from fedpriv.report.dataset_life import DatasetLife
from fedpriv.report.two_runs import Comparison, compare_runs
from fedpriv.report.verify import verify
from fedpriv.report.write import FORMATS, write

__all__ = [
    "FORMATS",
    "Check",
    "Comparison",
    "DatasetLife",
    "Verification",
    "compare_runs",
    "verify",
    "write",
]
