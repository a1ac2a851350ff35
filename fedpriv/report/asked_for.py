"""Section 12: figures that a run has only where its configuration asks for them."""

from __future__ import annotations

from typing import Any, Final

from fedpriv.errors import IntegrityError
from fedpriv.report.wording import percent

__all__ = ["asked_for"]

_NOT_MEASURED: Final = "Not measured: figures by subgroup were not asked for in this run."
_MOST: Final = 100_000


def asked_for(result: dict[str, Any] | None) -> dict[str, Any]:
    """``subgroups`` in a sentence; ``groups`` by value and client, and ``gap``, where there are any.

    Raises:
        IntegrityError: ``result.json`` holds something else in their place.
    """
    result = result or {}
    found: dict[str, Any] = {"subgroups": _NOT_MEASURED}
    try:
        if "groups" in result:
            groups = _groups(result["groups"])
            found |= {"subgroups": _in_words(groups), "groups": groups}
        if "gap" in result:
            gap = result["gap"]
            found["gap"] = {
                "rounds": _whole(gap["rounds"]),
                "mean": float(gap["mean"]),
                "largest": float(gap["largest"]),
            }
    except (KeyError, TypeError, ValueError, OverflowError):
        raise IntegrityError("result.json: 'groups' or 'gap' is not what a run writes there") from None
    return found


def _groups(groups: dict[str, Any]) -> dict[str, Any]:
    rows = [{"value": _name(row["value"]), **_figures(row)} for row in groups["rows"]]
    named = {row["value"] for row in rows if row["value"] is not None}
    found: dict[str, Any] = {
        "column": str(groups["column"]),
        "values": _whole(groups["values"]),
        "rows": rows,
        "worst": str(groups["worst"]),
        "best": str(groups["best"]),
    }
    if not {found["worst"], found["best"]} <= named:
        raise ValueError
    if "clients" in groups:
        found["clients"] = [{"client": _whole(row["client"]), **_figures(row)} for row in groups["clients"]]
    return found


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    perplexity = {"perplexity": float(row["perplexity"])} if "perplexity" in row else {}
    return {"n": _whole(row["n"]), "accuracy": float(row["accuracy"]), **perplexity}


def _whole(value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MOST**2:
        raise ValueError
    return value


def _name(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError
    return value


def _in_words(groups: dict[str, Any]) -> str:
    of = {row["value"]: row for row in groups["rows"]}
    worst, best = (
        f"{percent(of[name]['accuracy'])} of {of[name]['n']:,} at {name!r}"
        for name in (groups["worst"], groups["best"])
    )
    return (
        f"By {groups['column']} ({groups['values']:,} values): worst {worst}, best {best}. A figure of few "
        "records is mostly chance."
    )
