"""Charts of sections 10 and 11: the errors that no test can avoid, and what the audit's test reached."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from fedpriv.report.axes import Axis
from fedpriv.report.charts.chart import Chart
from fedpriv.report.figures import highest_tpr
from fedpriv.report.plots import Band, Line, Mark, line_chart
from fedpriv.report.wording import percent, percent_down, percent_up

__all__ = ["canaries", "roc", "trade_off"]

_RATES = (*(10.0**-k for k in (4, 3)), 0.005, *(step / 50 for step in range(51)))
_TABLE = (0.0001, 0.001, 0.01, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


def _bounds(report: dict[str, Any]) -> list[tuple[float, float]]:
    """All pairs (ε, δ) that hold at once for the whole plan."""
    accounting = report["accounting"]
    return [
        *((row["epsilon_pld"], row["delta"]) for row in accounting["by_delta"]),
        *((row["epsilon"], row["delta"]) for row in accounting["trade_off"]),
    ]


def trade_off(report: dict[str, Any]) -> Chart | None:
    """The trade-off curve: for each rate of false alarms, the least share of members that a test misses."""
    bounds = _bounds(report)
    if not bounds:
        return None
    missed = {rate: 1.0 - highest_tpr(bounds, rate) for rate in sorted({*_RATES, *_TABLE})}
    caption = (
        "Any test errs at least as much as the curve says: one that accuses 1% of the non-members misses at "
        f"least {percent_down(missed[0.01])} of the members, a blind guess 99%. Nearer to the diagonal is "
        "more private."
    )
    svg = line_chart(
        [
            Line("least errors of any test", [(rate, missed[rate]) for rate in missed if rate in _RATES], 1),
            Line("blind guess", [(0.0, 1.0), (1.0, 0.0)], 3),
        ],
        x=Axis("non-members accused", percent=True, from_zero=True),
        y=Axis("members missed", percent=True, from_zero=True),
        alternative=f"Line chart of members missed by non-members accused. {caption}",
    )
    rows = [(f"{rate:.2%}", percent_down(missed[rate]), f"{1 - rate:.2%}") for rate in _TABLE]
    header = ("accused", "missed, at least", "by a blind guess")
    return Chart("trade_off", "The errors that no test can avoid", svg, caption, header, rows)


def roc(report: dict[str, Any]) -> Chart | None:
    """The audit's ROC curve on logarithmic axes, in the region that the plan allows."""
    audit = report["empirical_audit"].get("audit", {})
    points = audit.get("canary_roc", [])
    if not points:
        return None
    bounds, membership = _bounds(report), audit["membership"]
    shown = [point for point in points if point[1] > 0.0]
    lowest = min(point[0] for point in points)
    fpr, tpr, low, high = min(points, key=lambda point: abs(point[0] - 0.01))
    allowed = highest_tpr(bounds, fpr)
    beyond = ""
    if tpr > allowed:
        beyond = ", which lies in that interval" if low <= allowed else ", which lies below that interval"
    caption = (
        f"Accusing {percent(fpr)} of the canaries that were left out, the audit found {percent(tpr)} of "
        f"those that took part ({percent(low)} to {percent(high)}); the whole plan allows at most "
        f"{percent_up(allowed)}{beyond}. The band has {audit['confidence']:.0%} confidence at each point "
        "by itself; the verdict does not rest on this curve."
    )
    marks = []
    if membership is not None and membership["tpr"] > 0.0:
        marks.append(Mark("records, by loss", membership["fpr"], membership["tpr"]))
    svg = line_chart(
        [
            Line("canaries", [(x, y) for x, y, *_ in shown], 1),
            Line("most that is allowed", [(x, highest_tpr(bounds, x)) for x, *_ in points], 2),
            Line("blind guess", [(lowest, lowest), (1.0, 1.0)], 3),
        ],
        bands=[
            Band("", [(x, lowest, highest_tpr(bounds, x)) for x, *_ in points], 2),
            Band("confidence", [(x, max(below, lowest), above) for x, _, below, above in points], 1),
        ],
        marks=marks,
        x=Axis("false alarms", percent=True, log=True),
        y=Axis("members found", percent=True, log=True),
        alternative=f"ROC curve of the audit on logarithmic axes. {caption}",
    )
    rows = [
        (f"{x:.2%}", f"{y:.2%}", f"{below:.2%} to {above:.2%}", percent_up(highest_tpr(bounds, x)))
        for x, y, below, above in points
    ]
    header = ("false alarms", "found", f"{audit['confidence']:.0%} interval", "allowed")
    return Chart("roc", "What the audit found, and what is allowed", svg, caption, header, rows)


def canaries(report: dict[str, Any]) -> Chart | None:
    """How the scores of canaries that took part lie beside those of canaries that did not."""
    scores = report["empirical_audit"].get("audit", {}).get("canary_scores")
    if scores is None:
        return None
    edges, taken, left_out = scores["edges"], scores["taken"], scores["left_out"]
    if not len(edges) - 1 == len(taken) == len(left_out):
        return None
    middle = [(a + b) / 2 for a, b in pairwise(edges)]
    means = [
        sum(at * n for at, n in zip(middle, counts, strict=True)) / max(1, sum(counts))
        for counts in (taken, left_out)
    ]
    caption = (
        f"The {sum(taken):,} canaries that took part score {means[0] - means[1]:.2f} standard deviations "
        f"above the {sum(left_out):,} that did not, on average. The more the two overlap, the less the sums "
        "tell this auditor."
    )
    svg = line_chart(
        [Line("took part", _steps(edges, taken), 1), Line("left out", _steps(edges, left_out), 2)],
        x=Axis("score, in standard deviations", whole=True),
        y=Axis("canaries", from_zero=True),
        alternative=f"Histogram of the canaries' scores. {caption}",
    )
    rows = [
        (f"{a:.2f} to {b:.2f}", str(i), str(o))
        for (a, b), i, o in zip(pairwise(edges), taken, left_out, strict=True)
    ]
    return Chart("canaries", "Scores of the canaries", svg, caption, ("score", "took part", "left out"), rows)


def _steps(edges: list[float], counts: list[int]) -> list[tuple[float, float]]:
    """The outline of a histogram."""
    points = [(edges[0], 0.0)]
    for (left, right), number in zip(pairwise(edges), counts, strict=True):
        points += [(left, float(number)), (right, float(number))]
    return [*points, (edges[-1], 0.0)]
