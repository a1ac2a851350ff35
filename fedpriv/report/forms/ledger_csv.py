"""The rows of an exported ledger as a table for spreadsheets (RFC 4180)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["COLUMNS", "ledger_csv"]

COLUMNS = (
    "seq",
    "time",
    "kind",
    "run",
    "round",
    "name",
    "epsilon",
    "delta",
    "planned_rounds",
    "rule",
    "survivors",
    "survivor_count",
    "realised_multiplier",
    "sum_sha256",
    "adapter_sha256",
    "evidence",
    "data_set",
    "previous_hash",
    "hash",
    "signer",
)

# What spreadsheets take for the start of a formula, the full-width forms among them (OWASP, CSV injection).
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001


def ledger_csv(bundle: Mapping[str, Any]) -> str:
    """One line a row under a line of names, ended by CRLF; quoted where RFC 4180 asks for it.

    The rows are written as they are, in their order, whether or not they verify: that is ``fedpriv verify``'s
    to say.  A cell that a spreadsheet would run as a formula gets an apostrophe in front.  Survivors are
    client numbers with spaces between.

    >>> print(ledger_csv({"dataset": "ab", "rows": []})[:21])
    seq,time,kind,run,rou
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    rows = bundle.get("rows")
    for row in rows if isinstance(rows, list) else ():
        cells = dict(_cells(_mapping(row), str(bundle.get("dataset", ""))))
        writer.writerow([_inert(_text(cells.get(column))) for column in COLUMNS])
    return out.getvalue()


def _cells(row: Mapping[str, Any], dataset: str) -> Iterator[tuple[str, object]]:
    body = _mapping(row.get("body"))
    details = _mapping(body.get("details"))
    survivors = details.get("survivors")
    yield from ((key, row.get(key)) for key in ("seq", "time", "kind", "hash", "signer"))
    yield from (
        (key, body.get(key)) for key in ("run", "round", "name", "epsilon", "delta", "rule", "evidence")
    )
    yield "planned_rounds", body.get("rounds")
    yield "realised_multiplier", details.get("realised_multiplier")
    yield "sum_sha256", details.get("aggregate")
    yield "adapter_sha256", details.get("adapter")
    yield "data_set", dataset
    yield "previous_hash", row.get("prev")
    if isinstance(survivors, list):
        yield "survivors", " ".join(_text(client) for client in survivors)
        yield "survivor_count", len(survivors)


def _mapping(value: object) -> Mapping[str, Any]:
    """``value`` where it is an object; the ledger may be damaged, and is written all the same."""
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _inert(text: str) -> str:
    return "'" + text if text.lstrip(" ").startswith(_FORMULA) else text
