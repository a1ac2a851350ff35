"""Charts as inline SVG: no library, no script, nothing fetched; colours come from the page's style sheet.

A chart is drawn at 460 units wide so that its 15-unit text stays readable on a phone.  Series differ in dash
and marker as well as in colour.  Each chart carries its message as ``aria-label``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "Mark", "Rule", "bar_chart", "line_chart", "ticks"]

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _BOTTOM = 66, 14, 54
_LEGEND_ROW = 22
_GLYPH = 7.9  # mean advance of a 15-unit sans-serif glyph, a little generous


@dataclass(frozen=True, slots=True)
class Line:
    """One series: points ``(x, y)`` in data units, drawn in the style of class ``s{style}`` (1 to 4)."""

    label: str
    points: Sequence[tuple[float, float]]
    style: int = 1
    markers: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A horizontal reference at ``y``, in the style of class ``r{style}`` (1 is a limit)."""

    label: str
    y: float
    style: int = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """One point that stands out, as a ring."""

    label: str
    x: float
    y: float


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round tick positions that cover ``low..high`` with at most ``most`` + 1 of them.

    >>> ticks(0.0, 3.1)
    [0.0, 1.0, 2.0, 3.0, 4.0]
    >>> ticks(0.52, 0.75)
    [0.5, 0.55, 0.6, 0.65, 0.7, 0.75]
    """
    span = high - low if high > low else 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / most))
    step = next(magnitude * m for m in (1, 2, 2.5, 5, 10, 20) if span / (magnitude * m) <= most - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def line_chart(
    lines: Sequence[Line],
    *,
    rules: Sequence[Rule] = (),
    marks: Sequence[Mark] = (),
    x_label: str,
    y_label: str,
    alternative: str,
    y_from_zero: bool = False,
    percent: bool = False,
) -> str:
    """An SVG line chart; ``alternative`` is the sentence for those who cannot see it."""
    xs = [x for line in lines for x, _ in line.points] + [mark.x for mark in marks]
    ys = [y for line in lines for _, y in line.points] + [rule.y for rule in rules] + [m.y for m in marks]
    frame = _Frame.around(xs, ys, len(_legend_rows(lines, rules, marks)), y_from_zero=y_from_zero)
    body = [frame.axes(x_label, y_label, percent=percent), _legend(lines, rules, marks)]
    body += [frame.rule(rule) for rule in rules]
    body += [frame.polyline(line) for line in lines]
    body += [frame.ring(mark) for mark in marks]
    return _svg(body, alternative)


def bar_chart(
    bars: Sequence[tuple[int, int]],
    *,
    label: str,
    whole: int,
    rules: Sequence[Rule] = (),
    x_label: str,
    y_label: str,
    alternative: str,
) -> str:
    """An SVG chart of counts ``(x, count)`` out of ``whole``; a bar shorter than ``whole`` is marked."""
    key = Line(label, [], style=1)
    ys = [float(count) for _, count in bars] + [float(whole)] + [rule.y for rule in rules]
    frame = _Frame.around(
        [float(x) for x, _ in bars], ys, len(_legend_rows([key], rules)), y_from_zero=True, pad=0.6
    )
    body = [frame.axes(x_label, y_label, whole_numbers=True), _legend([key], rules, bars=True)]
    body += [frame.bar(x, count, short=count < whole) for x, count in bars]
    body += [frame.rule(rule, halo=True) for rule in rules]
    return _svg(body, alternative)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plotting area: maps data units to SVG units."""

    x_low: float
    x_high: float
    y_ticks: Sequence[float]
    top: float

    @classmethod
    def around(
        cls,
        xs: Sequence[float],
        ys: Sequence[float],
        legend_rows: int,
        *,
        y_from_zero: bool,
        pad: float = 0.0,
    ) -> _Frame:
        x_low, x_high = (min(xs), max(xs)) if xs else (0.0, 1.0)
        if x_high <= x_low:
            x_low, x_high = x_low - 0.5, x_high + 0.5
        low, high = (min(ys), max(ys)) if ys else (0.0, 1.0)
        if y_from_zero:
            low = min(0.0, low)
        if high <= low:
            high = low + max(abs(low) * 0.1, 0.1)
        return cls(x_low - pad, x_high + pad, ticks(low, high), 12 + legend_rows * _LEGEND_ROW)

    def x(self, value: float) -> float:
        return _LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _BOTTOM - self.top)

    def axes(self, x_label: str, y_label: str, *, percent: bool = False, whole_numbers: bool = False) -> str:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = []
        step = self.y_ticks[1] - self.y_ticks[0] if len(self.y_ticks) > 1 else 1.0
        for tick in self.y_ticks:
            if whole_numbers and tick != int(tick):
                continue
            y = self.y(tick)
            text = f"{tick * 100:.4g}%" if percent else _number(tick, step)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 7}" y="{y + 5:.1f}" text-anchor="end">{text}</text>')
        for tick in ticks(self.x_low, self.x_high):
            if self.x_low <= tick <= self.x_high and tick == int(tick):
                x = self.x(tick)
                parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        middle = (_LEFT + right) / 2
        parts.append(
            f'<text class="name" x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">'
            f"{escape(x_label)}</text>"
        )
        height = (self.top + bottom) / 2
        parts.append(
            f'<text class="name" transform="translate(15 {height:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(y_label)}</text>'
        )
        return "".join(parts)

    def rule(self, rule: Rule, *, halo: bool = False) -> str:
        y = self.y(rule.y)
        place = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        return (f'<line class="halo" {place}/>' if halo else "") + f'<line class="r{rule.style}" {place}/>'

    def polyline(self, line: Line) -> str:
        if not line.points:
            return ""
        places = [(self.x(x), self.y(y)) for x, y in line.points]
        drawn = ""
        if len(places) > 1:
            drawn = (
                f'<polyline class="s{line.style}" points="'
                + " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
                + '"/>'
            )
        if line.markers or len(places) == 1:
            drawn += "".join(
                f'<circle class="m{line.style}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in places
            )
        return drawn

    def ring(self, mark: Mark) -> str:
        return f'<circle class="ring" cx="{self.x(mark.x):.1f}" cy="{self.y(mark.y):.1f}" r="6.5"/>'

    def bar(self, x: int, count: int, *, short: bool) -> str:
        unit = (_WIDTH - _LEFT - _RIGHT) / (self.x_high - self.x_low)
        width = max(1.0, min(unit * 0.72, 34.0))
        top = self.y(count)
        height = _HEIGHT - _BOTTOM - top
        style = "bar short" if short else "bar"
        return (
            f'<rect class="{style}" x="{self.x(x) - width / 2:.1f}" y="{top:.1f}" '
            f'width="{width:.1f}" height="{height:.1f}"/>'
        )


def _number(value: float, step: float) -> str:
    decimals = 0 if step >= 1 and step == int(step) else max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals and abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return f"{value:.{decimals}f}"


def _legend_rows(
    lines: Sequence[Line], rules: Sequence[Rule], marks: Sequence[Mark] = ()
) -> list[list[tuple[str, str]]]:
    """Legend entries ``(class, label)`` broken into rows that fit the width."""
    rows: list[list[tuple[str, str]]] = [[]]
    used = 0.0
    entries = [(f"s{line.style}", line.label) for line in lines]
    entries += [(f"r{rule.style}", rule.label) for rule in rules]
    entries += [("ring", mark.label) for mark in marks]
    for entry in entries:
        width = 30 + _GLYPH * len(entry[1]) + 14
        if rows[-1] and used + width > _WIDTH - _LEFT:
            rows.append([])
            used = 0.0
        rows[-1].append(entry)
        used += width
    return rows


def _legend(
    lines: Sequence[Line], rules: Sequence[Rule], marks: Sequence[Mark] = (), *, bars: bool = False
) -> str:
    parts = []
    for row, entries in enumerate(_legend_rows(lines, rules, marks)):
        x, y = float(_LEFT), 14 + row * _LEGEND_ROW
        for style, label in entries:
            if bars and style == "s1":
                parts.append(f'<rect class="bar" x="{x:.1f}" y="{y - 10}" width="22" height="10"/>')
            elif style == "ring":
                parts.append(f'<circle class="ring" cx="{x + 11:.1f}" cy="{y - 5}" r="6.5"/>')
            else:
                parts.append(
                    f'<line class="{style}" x1="{x:.1f}" x2="{x + 22:.1f}" y1="{y - 4}" y2="{y - 4}"/>'
                )
            parts.append(f'<text x="{x + 28:.1f}" y="{y}">{escape(label)}</text>')
            x += 30 + _GLYPH * len(label) + 14
    return "".join(parts)


def _svg(parts: Sequence[str], alternative: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(alternative)}">'
        + "".join(parts)
        + "</svg>"
    )
