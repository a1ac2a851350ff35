"""Clause 4.9: the adapter is the one that the ledger's last row of the run names."""

from __future__ import annotations

from collections.abc import Iterator

from fedpriv.report.check import Check
from fedpriv.report.checks.agreement import equal
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory

__all__ = ["adapter_checks"]


def adapter_checks(rundir: RunDirectory, history: History) -> Iterator[Check]:
    """The digest of its files against the FINISH row, and result.json against that row."""
    name, adapter = "adapter", rundir.adapter
    if history.finish is None:
        if rundir.finished:
            what = "the run says that it finished; the ledger has no FINISH row"
            yield Check(name, "ledger.json", "failed", what)
        else:
            what = "the run is not finished: there is no digest to hold it against"
            yield Check(name, "adapter", "note", what)
        return
    recorded = history.finish.details.get("adapter")
    if rundir.result is not None and rundir.result["adapter_digest"] != recorded:
        what = f"it is not the digest in {history.finish.name}"
        yield Check(name, "result.json, adapter_digest", "failed", what)
    if adapter is None:
        what = f"the folder is missing; {history.finish.name} holds its digest"
        yield Check(name, "adapter", "failed", what)
    elif not adapter.digests:
        yield Check(name, "adapter", "failed", "the folder holds no file")
    else:
        holds = f"its digest is the one in {history.finish.name}"
        yield equal(name, "adapter", adapter.digest, recorded, holds)
