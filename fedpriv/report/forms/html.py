"""The report as one HTML page: rendered from the JSON alone, self-contained, without a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedpriv.report.charts import charts
from fedpriv.report.forms.page import templates
from fedpriv.report.wording import at_most, count, one_in, percent, percent_up, rounded_up, scientific

__all__ = ["render"]

_LABELS = {
    "server": "Server",
    "authority": "Key authority",
    "recipient": "Model recipient",
    "unmasked": "Secure aggregation broken",
    "peer": "Another client",
}


def render(report: Mapping[str, Any]) -> str:
    """The page for ``report``; nothing outside the value is read, and everything in it is escaped."""
    from markupsafe import Markup

    environment = templates()
    environment.filters |= {
        "epsilon": rounded_up,
        "percent": percent,
        "percent_up": percent_up,
        "bytes": _bytes,
        "short": _short,
        "adversary": lambda name: _LABELS.get(name, str(name).capitalize()),
        "grouped": lambda number: f"{int(number):,}",
        "or_dash": lambda value: "not recorded" if value in (None, "") else value,
        "plural": count,
        "delta": scientific,
        "one_in": one_in,
        "at_most": at_most,
    }
    drawn = {
        key: {
            "title": chart.title,
            "svg": Markup(chart.svg),  # noqa: S704 - made by plots, which escapes every label
            "caption": chart.caption,
            "header": chart.header,
            "rows": chart.rows,
        }
        for key, chart in charts(dict(report)).items()
    }
    return environment.get_template("report.html.j2").render(
        report=report, charts=drawn, gauge=_gauge(report)
    )


def _gauge(report: Mapping[str, Any]) -> dict[str, float]:
    """Widths of the budget bar in per cent: what is spent and what is planned, of what is allowed."""
    summary = report["summary"]
    planned, spent = summary["epsilon_planned"], summary["epsilon_spent"]
    whole = max(summary["epsilon_allowed"], planned or 0.0, spent or 0.0) or 1.0
    return {
        "spent": 100.0 if spent is None else round(100 * spent / whole, 2),
        "planned": 100.0 if planned is None else round(100 * planned / whole, 2),
        "allowed": round(100 * summary["epsilon_allowed"] / whole, 2),
    }


def _bytes(value: float | None) -> str:
    if value is None:
        return "not recorded"
    amount = float(value)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _short(digest: str | None, length: int = 16) -> str:
    if not digest:
        return "not recorded"
    return digest if len(digest) <= length + 3 else digest[:length] + "…"
