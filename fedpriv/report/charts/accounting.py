"""Charts of sections 4, 6 and 12: what is spent and by whom, the promise at other δ, and other plans."""

from __future__ import annotations

from typing import Any

from fedpriv.report.axes import Axis
from fedpriv.report.charts.chart import Chart
from fedpriv.report.figures import chosen_counts
from fedpriv.report.plots import Line, Mark, Rule, bar_chart, line_chart
from fedpriv.report.wording import count, rounded_up, scientific

__all__ = ["clients", "delta", "epsilon", "frontier"]

_MOST_BARS = 60
_WORTH_SHOWING = 0.99  # a point less than a hundredth below the curve would only hide its end


def epsilon(report: dict[str, Any]) -> Chart | None:
    """ε by round: spent by both accountants, planned and allowed."""
    accounting = report["accounting"]
    points = accounting["by_round"]
    if not points:
        return None
    rdp = [(float(p["rounds"]), p["epsilon_rdp"]) for p in points if p["epsilon_rdp"] is not None]
    pld = [(float(p["rounds"]), p["epsilon_pld"]) for p in points if p["epsilon_pld"] is not None]
    allowed, planned = accounting["epsilon_allowed"], accounting["epsilon_pld_planned"]
    caption = (
        f"After {count(accounting['rounds_spent'], 'spent round')} ε is "
        f"{rounded_up(accounting['epsilon_pld_spent'])} by the tight accountant and "
        f"{rounded_up(accounting['epsilon_rdp_spent'])} by the running filter, a looser bound on the same "
        f"loss. The whole plan of {count(accounting['rounds_planned'], 'round')} costs "
        f"{rounded_up(planned)}; {allowed:g} is allowed."
    )
    realised = accounting["epsilon_pld_realised"]
    if realised is not None:
        caption += (
            f" At the noise that the sums really had, the spent rounds come to {rounded_up(realised)}: that "
            "is shown, and the planned noise is what is certified."
        )
    lines = [Line("ε, tight (PLD)", pld, 1), Line("ε, filter (RDP)", rdp, 2)]
    if realised is not None and realised < _WORTH_SHOWING * accounting["epsilon_pld_spent"]:
        lines.append(
            Line("at realised noise", [(float(accounting["rounds_spent"]), realised)], 3, markers=True)
        )
    svg = line_chart(
        lines,
        rules=[Rule("allowed", allowed, 1)],
        marks=[] if planned is None else [Mark("whole plan", float(accounting["rounds_planned"]), planned)],
        x=Axis("rounds spent", whole=True),
        y=Axis("privacy loss ε", from_zero=True),
        alternative=f"Line chart of ε by round. {caption}",
    )
    rows = [(str(p["rounds"]), _cell(p["epsilon_pld"]), _cell(p["epsilon_rdp"])) for p in points]
    whole = f"planned: {accounting['rounds_planned']}"
    rows.append((whole, _cell(planned), _cell(accounting["epsilon_rdp_planned"])))
    if realised is not None:
        rows.append(("at realised noise", _cell(realised), _cell(None)))
    return Chart("epsilon", "Privacy spent by round", svg, caption, ("rounds", "ε PLD", "ε RDP"), rows)


def clients(report: dict[str, Any]) -> Chart | None:
    """ε by client, where each client's records pay for its own rounds."""
    spent = [one for one in report["unit"]["clients"] if one["epsilon"] is not None]
    planned = report["accounting"]["epsilon_pld_planned"]
    if not spent or planned is None:
        return None
    ordered = sorted(spent, key=lambda one: -one["epsilon"])
    most, least = ordered[0]["epsilon"], ordered[-1]["epsilon"]
    paid = rounded_up(most) if least == most else f"between {rounded_up(least)} and {rounded_up(most)}"
    caption = (
        f"The records of each of {count(len(spent), 'client')} have paid {paid}; {rounded_up(planned)} is "
        "what the whole plan costs them."
    )
    few = len(spent) <= _MOST_BARS
    bars = (
        [(one["client"], one["epsilon"]) for one in spent]
        if few
        else [(rank, ordered[rank - 1]["epsilon"]) for rank in chosen_counts(len(ordered), _MOST_BARS)]
    )
    svg = bar_chart(
        bars,
        label="ε spent",
        whole=most,
        rules=[Rule("planned", planned, 1)],
        x=Axis("client" if few else "clients, from most to least", whole=True),
        y=Axis("privacy loss ε", from_zero=True),
        alternative=f"Bar chart of ε by client. {caption}",
    )
    everybody = report["unit"]["clients"]
    rows = [(str(one["client"]), str(one["rounds"]), rounded_up(one["epsilon"])) for one in everybody]
    return Chart("clients", "ε by client", svg, caption, ("client", "rounds", "ε spent"), rows)


def delta(report: dict[str, Any]) -> Chart | None:
    """δ as a function of ε, for the whole plan."""
    accounting = report["accounting"]
    points = [(p["epsilon"], p["delta"]) for p in accounting["trade_off"]]
    if len(points) < 2:
        return None
    promised = (accounting["epsilon_pld_planned"], accounting["delta"])
    caption = (
        f"The plan's promise is a curve, and all of it holds at once: ε = {rounded_up(promised[0])} at "
        f"δ = {scientific(promised[1])} is one point. A larger ε fails with a smaller chance δ."
    )
    svg = line_chart(
        [Line("δ(ε) of the plan", points, 1)],
        marks=[Mark("as promised", *promised)],
        x=Axis("ε", from_zero=True),
        y=Axis("δ", log=True),
        alternative=f"Line chart of δ, on a logarithmic scale, by ε. {caption}",
    )
    others = [(row["epsilon_pld"], row["delta"]) for row in accounting["by_delta"]]
    rows = [(rounded_up(e), f"{d:.2e}") for e, d in sorted({*points, *others})]
    return Chart("delta", "The same plan at other δ", svg, caption, ("ε", "δ"), rows)


def frontier(report: dict[str, Any]) -> Chart | None:
    """The noise that other numbers of rounds would have needed."""
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
        x=Axis("rounds", whole=True),
        y=Axis("noise multiplier", from_zero=True),
        alternative=f"Line chart of the noise that a number of rounds needs, for several ε. {caption}",
    )
    cells = {(p["rounds"], p["epsilon"]): p["noise_multiplier"] for p in points}
    rows = [
        (str(r), *("none" if cells[r, e] is None else f"{cells[r, e]:.3g}" for e in epsilons))
        for r in sorted({p["rounds"] for p in points})
    ]
    header = ("rounds", *(f"ε = {e:g}" for e in epsilons))
    return Chart("frontier", "What other plans would have needed", svg, caption, header, rows)


def _cell(value: float | None) -> str:
    return "" if value is None else rounded_up(value, 4)
