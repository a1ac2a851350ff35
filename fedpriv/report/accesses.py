"""Section 9: what looked at private data outside of the accounting."""

from __future__ import annotations

from fedpriv.errors import IntegrityError
from fedpriv.report.audited import read_audit
from fedpriv.report.rundir import RunDirectory

__all__ = ["accesses"]

_BY_LOSS = (
    "The membership test of the audit: AUC and true positives are computed from the losses of all training "
    "records, without noise."
)


def accesses(rundir: RunDirectory) -> list[str]:
    """What the run declared, and the audit's membership test where there was one."""
    if rundir.result is None:
        return []
    found = [str(access) for access in rundir.result["accesses_not_accounted"]]
    try:
        audit = read_audit(rundir)
    except IntegrityError:  # a failed check says so
        return found
    return [*found, _BY_LOSS] if audit is not None and audit["membership"] is not None else found
