"""A drawn figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Chart"]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn figure: its SVG, the sentence that it shows, and the same figures as a table."""

    key: str
    title: str
    svg: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
