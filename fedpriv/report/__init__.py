"""The audit report of a run, and its verification; the run directory is the only input of both."""

from __future__ import annotations

from fedpriv.report.check import Check, Verification
from fedpriv.report.verify import verify
from fedpriv.report.write import FORMATS, write

__all__ = ["FORMATS", "Check", "Verification", "verify", "write"]
