"""Two runs side by side on the terminal: what is wrong first, then the joint cost, then what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.cli.display import print_pairs
from fedpriv.cli.tables import print_table

if TYPE_CHECKING:
    from fedpriv.report.two_runs import Comparison

__all__ = ["print_comparison"]

_LONGEST = 40


def print_comparison(comparison: Comparison) -> None:
    """Each run and its verification, what they cost together, and a table for each section that differs."""
    pairs = []
    for letter, side in zip("AB", comparison.sides, strict=True):
        standing = "verified" if side.verified else f"NOT VERIFIED: {len(side.failures)} checks failed"
        pairs.append((letter, f"{side.folder}: {side.name}, run {side.run[:12]}; {standing}"))
        pairs += [("", f"failed: {failure}") for failure in side.failures]
    pairs.append(("A and B", comparison.together.text))
    print_pairs(pairs)
    same = []
    for section in comparison.sections:
        differing = [line for line in section.lines if not line.same]
        agreed = [line.what for line in section.lines if line.same]
        same += [f"{len(agreed)} assumptions"] if section.title == "Assumptions" and agreed else agreed
        if differing:
            print(f"\n{section.title}")  # noqa: T201 - this is the display
            cells = [(line.what, *map(_short, line.shown)) for line in differing]
            print_table(("", "A", "B"), cells)
    if same:
        print(f"\nthe same in both: {'; '.join(same)}")  # noqa: T201


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:12] + "…"
