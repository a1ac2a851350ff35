"""Section 9: what looked at private data outside of the accounting."""

from __future__ import annotations

from fedpriv.errors import IntegrityError
from fedpriv.report.audited import read_audit
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.shared_records import compared, shared_in_words

__all__ = ["accesses"]

_BY_LOSS = (
    "The membership test of the audit: AUC and true positives are computed from the losses of {members:,} "
    "training records, without noise."
)
_SEEN = (
    "The audit's appendix on what the server sees: its figures are computed from gradients of records of "
    "client {client}, without noise."
)


_RECOGNISED = (
    "Which data set the records are: the ledger keeps one name for it as long as they are known again, and "
    "its PLAN rows show whether any record was added or left out between two runs."
)


def accesses(rundir: RunDirectory, history: History) -> list[str]:
    """What the run declared, what tells of other data sets, and what an audit of it looked at."""
    if rundir.result is None:
        return []
    found = [str(access) for access in rundir.result["accesses_not_accounted"]]
    if compared(history):
        found += [_RECOGNISED, *shared_in_words(history)]
    try:
        audit = read_audit(rundir)
    except IntegrityError:  # a failed check says so
        return found
    if audit is None:
        return found
    looks = ((_BY_LOSS, audit["membership"]), (_SEEN, audit["server_view"]))
    return [*found, *(says.format(**look) for says, look in looks if look is not None)]
