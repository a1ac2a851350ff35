"""Charts of sections 5, 8 and 12: who counted, the noise in a sum, the moving bound, what was learned."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from fedpriv.report.axes import Axis
from fedpriv.report.charts.chart import Chart
from fedpriv.report.plots import Line, Rule, bar_chart, line_chart
from fedpriv.report.wording import count

__all__ = ["bound", "metric", "noise", "survivors"]


def survivors(report: dict[str, Any]) -> Chart | None:
    """How many clients each sum counted."""
    rounds, setup = report["rounds"], report["secure_aggregation"]
    if not rounds:
        return None
    bars = [(r["round"], float(len(r["survivors"]))) for r in rounds]
    short = sum(counted < setup["clients"] for _, counted in bars)
    caption = (
        f"In {short} of {len(bars)} rounds not every client's update counted; the smallest round had "
        f"{setup['fewest_survivors']} of {setup['clients']} clients, and "
        f"{setup['min_survivors']} is the fewest allowed."
    )
    lost = report["accounting"]["rounds_spent"] - report["accounting"]["rounds_released"]
    if lost:
        caption += f" {count(lost, 'round')} spent budget without giving a sum."
    svg = bar_chart(
        bars,
        label="clients counted",
        whole=setup["clients"],
        rules=[Rule("fewest allowed", float(setup["min_survivors"]), 1)],
        x=Axis("round", whole=True),
        y=Axis("clients", whole=True, from_zero=True),
        alternative=f"Bar chart of clients by round. {caption}",
    )
    rows = [
        (
            str(r["round"]),
            str(len(r["survivors"])),
            ", ".join(f"{c} ({stage})" for c, stage in r["dropped"]) or "none",
        )
        for r in rounds
    ]
    header = ("round", "clients", "dropped")
    return Chart("survivors", "Clients counted in each round", svg, caption, header, rows)


def noise(report: dict[str, Any]) -> Chart | None:
    """The noise that each sum carries, beside the planned."""
    rounds, planned = report["rounds"], report["mechanism"]["noise_multiplier"]
    if not rounds:
        return None
    points = [(float(r["round"]), r["realised_multiplier"]) for r in rounds]
    least = min(y for _, y in points)
    caption = (
        f"Without what colluders could take off, the noise was never below {least:.3f} "
        "times the bound on one contribution; "
        f"{planned:.3f} is what the guarantee needs. More noise than planned costs accuracy, not privacy."
    )
    svg = line_chart(
        [Line("in the sum", points, 1)],
        rules=[Rule("planned", planned, 1)],
        x=Axis("round", whole=True),
        y=Axis("noise multiplier", from_zero=True),
        alternative=f"Line chart of the noise multiplier by round. {caption}",
    )
    rows = [(f"{x:.0f}", f"{y:.4f}") for x, y in points]
    return Chart("noise", "Noise in each sum", svg, caption, ("round", "noise multiplier"), rows)


def bound(report: dict[str, Any]) -> Chart | None:
    """The noisy share of updates within the bound, where the bound follows it.

    A step is log(next bound / bound) = -η (share - quantile) (Andrew et al. 2021, arXiv 1905.03871), so the
    released bounds tell the share.
    """
    moving = report["mechanism"].get("adaptive_clip")
    points = [(r["round"], r["clip"]) for r in report["rounds"] if "clip" in r]
    if moving is None or len(points) < 2:
        return None
    target, rate = moving["quantile"], moving["learning_rate"]
    shares = [
        (float(r), target - math.log(after / before) / rate) for (r, before), (_, after) in pairwise(points)
    ]
    caption = (
        f"Updates longer than the bound are clipped to it. The bound moved from {points[0][1]:.3g} to "
        f"{points[-1][1]:.3g} towards the {target:g} quantile. The share is the noisy one that the rounds "
        "released, so it may leave 0 to 100%; the true one was never seen."
    )
    svg = line_chart(
        [Line("within the bound, noisy", shares, 1, markers=True)],
        rules=[Rule("aim", target, 3)],
        x=Axis("round", whole=True),
        y=Axis("share of updates", percent=True, from_zero=True),
        alternative=f"Line chart of the share of updates that are not clipped. {caption}",
    )
    by_round = dict(shares)
    rows = [(str(r), f"{clip:.4g}", f"{by_round[r]:.1%}" if r in by_round else "") for r, clip in points]
    return Chart("bound", "Updates within the bound", svg, caption, ("round", "bound", "share, noisy"), rows)


def metric(report: dict[str, Any]) -> Chart | None:
    """Accuracy by round; of a language model, perplexity."""
    if "language" in report["utility"]:
        return _perplexity(report)
    points = [(float(r["round"]), r["accuracy"]) for r in report["rounds"] if r["accuracy"] is not None]
    if not points:
        return None
    utility = report["utility"]
    rules = [
        Rule(label, utility[key], style)
        for label, key, style in (("base model", "base", 2), ("majority guess", "majority", 3))
        if utility[key] is not None
    ]
    known = [f"{rule.label} {rule.y:.1%}" for rule in rules]
    caption = f"Accuracy on held-out data reaches {points[-1][1]:.1%} in the last measured round"
    caption += f" ({', '.join(known)})." if known else "."
    svg = line_chart(
        [Line("this model", points, 1, markers=True)],
        rules=rules,
        x=Axis("round", whole=True),
        y=Axis("accuracy", percent=True),
        alternative=f"Line chart of accuracy by round. {caption}",
    )
    rows = [(f"{x:.0f}", f"{y:.2%}") for x, y in points]
    return Chart("metric", "What the model learned", svg, caption, ("round", "accuracy"), rows)


def _perplexity(report: dict[str, Any]) -> Chart | None:
    points = [(float(r["round"]), r["perplexity"]) for r in report["rounds"] if "perplexity" in r]
    if not points:
        return None
    base = report["utility"]["language"]["base_perplexity"]
    caption = (
        f"Perplexity on held-out texts is {points[-1][1]:.2f} in the last measured round, and was {base:.2f} "
        "before training; less is better."
    )
    svg = line_chart(
        [Line("this model", points, 1, markers=True)],
        rules=[Rule("base model", base, 2)],
        x=Axis("round", whole=True),
        y=Axis("perplexity"),
        alternative=f"Line chart of perplexity by round. {caption}",
    )
    rows = [(f"{x:.0f}", f"{y:.3f}") for x, y in points]
    return Chart("metric", "What the model learned", svg, caption, ("round", "perplexity"), rows)
