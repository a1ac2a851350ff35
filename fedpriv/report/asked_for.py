"""Section 12: figures that a run has only where its configuration asks for them."""

from __future__ import annotations

import statistics
from typing import Any, Final

from fedpriv.errors import IntegrityError
from fedpriv.report.wording import percent

__all__ = ["asked_for"]

_NOT_MEASURED: Final = "Not measured: figures by subgroup were not asked for in this run."
_MOST: Final = 100_000


def asked_for(result: dict[str, Any] | None) -> dict[str, Any]:
    """``subgroups`` in a sentence; ``groups`` by value and client, ``gap``, and ``personal``, the figures of
    clients' own models, where there are any.

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
        if "personal" in result:
            found["personal"] = _personal(result["personal"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise IntegrityError(
            "result.json: 'groups', 'gap' or 'personal' is not what a run writes there"
        ) from None
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


def _personal(personal: dict[str, Any]) -> dict[str, Any]:
    """The figures of clients' own models; mean and worst are computed again from the rows."""
    names = ("accuracy", "perplexity") if "perplexity" in personal else ("accuracy",)
    rows = [
        {
            "client": _whole(row["client"]),
            **{key: float(row[key]) for name in names for key in (name, f"shared_{name}")},
        }
        for row in personal["clients"]
    ]

    def mean(name: str) -> float:
        return statistics.fmean(row[name] for row in rows)

    found = {
        "by": _name(personal["by"]),
        "clients": rows,
        "mean": mean("accuracy"),
        "shared_mean": mean("shared_accuracy"),
        "worst": min(row["accuracy"] for row in rows),
    }
    found |= {key: mean(key) for name in names[1:] for key in (name, f"shared_{name}")}
    if found != personal:
        raise ValueError
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
