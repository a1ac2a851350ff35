"""Clauses 4.1 and 4.2: the chain in itself, its signer, and whose data it is about."""

from __future__ import annotations

from collections.abc import Iterator

from fedpriv.ledger import verify_bundle
from fedpriv.report.check import Check
from fedpriv.report.checks.agreement import equal
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory

__all__ = ["ledger_checks"]


def ledger_checks(rundir: RunDirectory, history: History) -> Iterator[Check]:
    """Every row, and that the key in run.json signed it."""
    name = "ledger: chain, signatures, budget"
    try:
        key = bytes.fromhex(rundir.run["server_key"])
    except ValueError:
        yield Check("ledger: signer", "run.json, server_key", "failed", "it is not a key in hexadecimal")
        key = None
    found = verify_bundle(rundir.ledger, signer=key)
    for mismatch in found:
        yield Check(name, f"ledger.json, {mismatch.where}", "failed", mismatch.what)
    if not found:
        what = f"{history.rows} rows: each follows the one before and is signed by the key in run.json"
        yield Check(name, "ledger.json", "ok", what)
    yield equal(
        "data set",
        "run.json, dataset.fingerprint",
        rundir.run["dataset"]["fingerprint"],
        rundir.ledger.get("dataset"),
        "the ledger is about this data set",
    )
