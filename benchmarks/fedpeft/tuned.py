"""Learning rate and clip of each method, as the tuning runs among the results have them."""

from __future__ import annotations

from typing import Any

from cells import Cell, tuning

Results = dict[str, dict[str, Any]]
"""What is known of each cell, by its key."""


def chosen(results: Results, cell: Cell) -> tuple[float, float | None] | None:
    """Learning rate and clip for a cell: its own where it is a tuning run, else the best of the tuning runs
    of its data and method, the smaller rate where two are equal; None where some of these are missing."""
    if cell.part == "tuning":
        assert cell.rate is not None
        return cell.rate, cell.clip
    runs = tuning(cell.data, cell.method, cell.epsilon != float("inf"))
    if any(run.key not in results for run in runs):
        return None
    best = max(runs, key=lambda run: (results[run.key]["accuracy"], -(run.rate or 0.0)))
    assert best.rate is not None
    return best.rate, best.clip
