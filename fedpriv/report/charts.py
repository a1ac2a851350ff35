"""Which charts a report holds, with their captions and their figures as tables; drawn from the JSON alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fedpriv.report.plots import Line, Mark, Rule, bar_chart, line_chart
from fedpriv.report.wording import count, rounded_up

__all__ = ["Chart", "charts"]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn figure: its SVG, the sentence that it shows, and the same figures as a table."""

    key: str
    title: str
    svg: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def charts(report: dict[str, Any]) -> dict[str, Chart]:
    """The charts that have something to show, by key: ``epsilon``, ``frontier``, ``metric``, ...."""
    drawn = [_epsilon(report), _frontier(report), _metric(report), _survivors(report), _noise(report)]
    return {chart.key: chart for chart in drawn if chart is not None}


def _epsilon(report: dict[str, Any]) -> Chart | None:
    accounting = report["accounting"]
    points = accounting["by_round"]
    if not points:
        return None
    rdp = [(float(p["rounds"]), p["epsilon_rdp"]) for p in points if p["epsilon_rdp"] is not None]
    pld = [(float(p["rounds"]), p["epsilon_pld"]) for p in points if p["epsilon_pld"] is not None]
    allowed, spent = accounting["epsilon_allowed"], accounting["epsilon_pld_spent"]
    caption = (
        f"After {len(points)} spent rounds ε is {rounded_up(spent)} by the tight accountant and "
        f"{rounded_up(accounting['epsilon_rdp_spent'])} by the running filter, a looser "
        "bound on the same loss; "
        f"{allowed:g} is allowed, and the ledger holds this run to it by the rule “{accounting['rule']}”."
    )
    svg = line_chart(
        [Line("ε, tight (PLD)", pld, 1), Line("ε, filter (RDP)", rdp, 2)],
        rules=[Rule("allowed", allowed, 1)],
        x_label="rounds spent",
        y_label="privacy loss ε",
        alternative=f"Line chart of ε by round. {caption}",
        y_from_zero=True,
    )
    rows = [
        (str(p["rounds"]), _epsilon_cell(p["epsilon_pld"]), _epsilon_cell(p["epsilon_rdp"])) for p in points
    ]
    return Chart("epsilon", "Privacy spent by round", svg, caption, ("rounds", "ε PLD", "ε RDP"), rows)


def _frontier(report: dict[str, Any]) -> Chart | None:
    points, mechanism = report["accounting"]["frontier"], report["mechanism"]
    if not points:
        return None
    planned, multiplier = mechanism["rounds"], mechanism["noise_multiplier"]
    epsilons = sorted({p["epsilon"] for p in points})
    lines = [
        Line(
            f"ε = {epsilon:g}",
            [
                (float(p["rounds"]), p["noise_multiplier"])
                for p in points
                if p["epsilon"] == epsilon and p["noise_multiplier"] is not None
            ],
            1 + index % 4,
            markers=True,
        )
        for index, epsilon in enumerate(epsilons)
    ]
    caption = (
        f"This plan has {count(planned, 'round')} with noise of {multiplier:.3g} times the bound on one "
        f"contribution. More rounds or a smaller ε need more; over {mechanism['expected_batch']:g} it is the "
        "noise in a round's mean. Same δ and sampling rate; Gaussian noise, three digits, rounded up."
    )
    svg = line_chart(
        lines,
        marks=[Mark("this plan", float(planned), multiplier)],
        x_label="rounds",
        y_label="noise multiplier",
        alternative=f"Line chart of the noise that a number of rounds needs, for several ε. {caption}",
        y_from_zero=True,
    )
    cells = {(p["rounds"], p["epsilon"]): p["noise_multiplier"] for p in points}
    rows = [
        (str(r), *("none" if cells[r, e] is None else f"{cells[r, e]:.3g}" for e in epsilons))
        for r in sorted({p["rounds"] for p in points})
    ]
    header = ("rounds", *(f"ε = {e:g}" for e in epsilons))
    return Chart("frontier", "What other plans would have needed", svg, caption, header, rows)


def _metric(report: dict[str, Any]) -> Chart | None:
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
        x_label="round",
        y_label="accuracy",
        alternative=f"Line chart of accuracy by round. {caption}",
        percent=True,
    )
    rows = [(f"{x:.0f}", f"{y:.2%}") for x, y in points]
    return Chart("metric", "What the model learned", svg, caption, ("round", "accuracy"), rows)


def _survivors(report: dict[str, Any]) -> Chart | None:
    rounds, setup = report["rounds"], report["secure_aggregation"]
    if not rounds:
        return None
    bars = [(r["round"], len(r["survivors"])) for r in rounds]
    short = sum(count < setup["clients"] for _, count in bars)
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
        x_label="round",
        y_label="clients",
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
    return Chart(
        "survivors", "Clients counted in each round", svg, caption, ("round", "clients", "dropped"), rows
    )


def _noise(report: dict[str, Any]) -> Chart | None:
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
        x_label="round",
        y_label="noise multiplier",
        alternative=f"Line chart of the noise multiplier by round. {caption}",
        y_from_zero=True,
    )
    rows = [(f"{x:.0f}", f"{y:.4f}") for x, y in points]
    return Chart("noise", "Noise in each sum", svg, caption, ("round", "noise multiplier"), rows)


def _epsilon_cell(value: float | None) -> str:
    return "" if value is None else rounded_up(value, 4)
