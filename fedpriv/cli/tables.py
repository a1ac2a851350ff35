"""Tables for a person, and the frontier of a plan as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from fedpriv.federation.planning.plan import Plan

__all__ = ["print_frontier", "print_table"]


def print_table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """A table with lines on a terminal, and columns of text elsewhere."""
    console = Console()
    if console.is_terminal:
        table = Table(*map(escape, headings))
        for line in cells:
            table.add_row(*map(escape, line))
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for line in (headings, *cells):
        print("  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip())  # noqa: T201


def print_frontier(plan: Plan) -> None:
    """The noise multiplier that numbers of rounds need at several ε; the plan's own are marked."""
    points = {(point.rounds, point.epsilon): point.noise_multiplier for point in plan.frontier()}
    rounds, epsilons = sorted({r for r, _ in points}), sorted({e for _, e in points})
    headings = ["rounds", *(f"ε = {e:g}" + " *" * (e == plan.epsilon) for e in epsilons)]
    cells = [
        [
            f"{r:,}" + " *" * (r == plan.rounds),
            *(f"{points[r, e]:.3g}" if math.isfinite(points[r, e]) else "none" for e in epsilons),
        ]
        for r in rounds
    ]
    print(f"\nfrontier (* this plan): {plan.frontier_note}")  # noqa: T201
    print_table(headings, cells)
