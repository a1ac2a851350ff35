"""A dot plot as SVG: one row a method, one dot a value, whiskers for intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_COLOURS: Final = {
    1: "#1d2733",
    2: "#1f6feb",
    3: "#c2410c",
    4: "#7c3aed",
}  # readable in greyscale: dark to light
_SHAPES: Final = {1: 0, 2: 4, 3: 3, 4: 5}  # corners; 0 is a circle
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 720, 210, 20, 26, 54


@dataclass(frozen=True, slots=True)
class Dot:
    """A value, half its interval (nan: none), the style of its series and the series' name."""

    value: float
    half: float
    style: int
    series: str


def dot_plot(title: str, rows: Mapping[str, Sequence[Dot]]) -> str:
    """An SVG with one row for each name; nothing where there is no row."""
    if not rows:
        return ""
    dots = [dot for row in rows.values() for dot in row]
    low = math.floor(10 * min(dot.value for dot in dots)) / 10
    high = max(math.ceil(10 * max(dot.value for dot in dots)) / 10, low + 0.1)
    height = _TOP + _ROW * len(rows) + 34

    def x(value: float) -> float:
        inside = min(max(value, low), high)
        return _LEFT + (inside - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = [f'<text x="8" y="20" font-weight="600">{escape(title)}</text>']
    for tenth in range(round(low * 10), round(high * 10) + 1):
        place = x(tenth / 10)
        parts.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP - 6}" y2="{height - 28}" stroke="#d5dbe3"/>'
            f'<text x="{place:.1f}" y="{height - 10}" text-anchor="middle">{tenth / 10:g}</text>'
        )
    for number, (name, row) in enumerate(rows.items()):
        y = _TOP + _ROW * number + 8
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 5}" text-anchor="end">{escape(name)}</text>')
        for dot in row:
            place = y + 4.0 * (dot.style - 2.5)  # so that whiskers of one row do not lie on each other
            if math.isfinite(dot.half):
                ends = f'x1="{x(dot.value - dot.half):.1f}" x2="{x(dot.value + dot.half):.1f}"'
                parts.append(
                    f'<line {ends} y1="{place:.1f}" y2="{place:.1f}" stroke="{_COLOURS[dot.style]}"/>'
                )
            parts.append(_mark(x(dot.value), place, dot.style))
    along = float(_LEFT)
    for style, name in sorted({(dot.style, dot.series) for dot in dots}):
        parts.append(_mark(along, 36, style) + f'<text x="{along + 10:.0f}" y="41">{escape(name)}</text>')
        along += 84
    said = "; ".join(
        f"{name}: {', '.join(f'{dot.series} {dot.value:.3f}' for dot in row)}" for name, row in rows.items()
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(f"{title}. {said}")}" '
        f'font-size="14" fill="#1d2733">{"".join(parts)}</svg>'
    )


def _mark(x: float, y: float, style: int) -> str:
    """A circle, or a regular polygon with the style's number of corners."""
    corners, colour = _SHAPES[style], _COLOURS[style]
    if not corners:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    turns = [math.tau * k / corners - math.pi / 2 for k in range(corners)]
    points = " ".join(f"{x + 5 * math.cos(turn):.1f},{y + 5 * math.sin(turn):.1f}" for turn in turns)
    return f'<polygon points="{points}" fill="{colour}"/>'
