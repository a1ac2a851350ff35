"""Charts as inline SVG: no library, no script, nothing fetched; colours come from the page's style sheet.

A chart is drawn at 460 units wide so that its 15-unit text stays readable on a phone.  Series differ in dash
and marker as well as in colour.  Each chart carries its message as ``aria-label``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fedpriv.report.axes import Axis, Scale

__all__ = ["Band", "Line", "Mark", "Rule", "bar_chart", "line_chart"]

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _BOTTOM = 66, 22, 54
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
class Band:
    """An area between two lines: points ``(x, low, high)``, in the style of class ``b{style}`` (1 or 2).

    Without a label it does not stand in the legend."""

    label: str
    points: Sequence[tuple[float, float, float]]
    style: int = 1


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


_Entry = tuple[str, str]


def line_chart(
    lines: Sequence[Line],
    *,
    x: Axis,
    y: Axis,
    alternative: str,
    bands: Sequence[Band] = (),
    rules: Sequence[Rule] = (),
    marks: Sequence[Mark] = (),
) -> str:
    """An SVG line chart; ``alternative`` is the sentence for those who cannot see it."""
    xs = [place for line in lines for place, _ in line.points] + [mark.x for mark in marks]
    ys = [value for line in lines for _, value in line.points] + [rule.y for rule in rules]
    ys += [mark.y for mark in marks] + [end for band in bands for _, *ends in band.points for end in ends]
    key = [(f"b{band.style}", band.label) for band in bands if band.label]
    key += [(f"s{line.style}", line.label) for line in lines]
    key += [(f"r{rule.style}", rule.label) for rule in rules]
    key += [("ring", mark.label) for mark in marks]
    frame = _Frame.around((x, xs), (y, ys), key)
    body = [frame.band(band) for band in bands]
    body += [frame.axes(), frame.legend(key)]
    body += [frame.rule(rule) for rule in rules]
    body += [frame.polyline(line) for line in lines]
    body += [frame.ring(mark) for mark in marks]
    return _svg(body, alternative)


def bar_chart(
    bars: Sequence[tuple[int, float]],
    *,
    label: str,
    whole: float,
    x: Axis,
    y: Axis,
    alternative: str,
    rules: Sequence[Rule] = (),
) -> str:
    """An SVG chart of ``(x, amount)`` out of ``whole``; a bar shorter than ``whole`` is marked."""
    ys = [float(amount) for _, amount in bars] + [float(whole)] + [rule.y for rule in rules]
    key = [("bar", label)] + [(f"r{rule.style}", rule.label) for rule in rules]
    frame = _Frame.around((x, [float(place) for place, _ in bars]), (y, ys), key, pad=0.6)
    body = [frame.axes(), frame.legend(key)]
    body += [frame.bar(place, amount, short=amount < whole * (1 - 1e-9)) for place, amount in bars]
    body += [frame.rule(rule, halo=True) for rule in rules]
    return _svg(body, alternative)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plotting area: draws what is given in data units."""

    across: Scale
    upward: Scale

    @classmethod
    def around(
        cls,
        x: tuple[Axis, Sequence[float]],
        y: tuple[Axis, Sequence[float]],
        key: Sequence[_Entry],
        pad: float = 0.0,
    ) -> _Frame:
        top = 12 + len(_legend_rows(key)) * _LEGEND_ROW
        return cls(Scale.across(*x, _LEFT, _WIDTH - _RIGHT, pad), Scale.upward(*y, _HEIGHT - _BOTTOM, top))

    def x(self, value: float) -> float:
        return self.across.place(value)

    def y(self, value: float) -> float:
        return self.upward.place(value)

    def axes(self) -> str:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = []
        for value, text in self.upward.marks():
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 7}" y="{y + 5:.1f}" text-anchor="end">{text}</text>')
        for value, text in self.across.marks():
            x = self.x(value)
            parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{text}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        parts.append(
            f'<text class="name" x="{(_LEFT + right) / 2:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">'
            f"{escape(self.across.axis.label)}</text>"
        )
        height = (self.upward.end + bottom) / 2
        parts.append(
            f'<text class="name" transform="translate(15 {height:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.upward.axis.label)}</text>'
        )
        return "".join(parts)

    def rule(self, rule: Rule, *, halo: bool = False) -> str:
        y = self.y(rule.y)
        place = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        return (f'<line class="halo" {place}/>' if halo else "") + f'<line class="r{rule.style}" {place}/>'

    def band(self, band: Band) -> str:
        edge = [(x, high) for x, _, high in band.points] + [(x, low) for x, low, _ in reversed(band.points)]
        return f'<polygon class="b{band.style}" points="{self._points(edge)}"/>'

    def polyline(self, line: Line) -> str:
        drawn = ""
        if len(line.points) > 1:
            drawn = f'<polyline class="s{line.style}" points="{self._points(line.points)}"/>'
        if line.markers or len(line.points) == 1:
            drawn += "".join(
                f'<circle class="m{line.style}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="2.6"/>'
                for x, y in line.points
            )
        return drawn

    def _points(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)

    def ring(self, mark: Mark) -> str:
        return f'<circle class="ring" cx="{self.x(mark.x):.1f}" cy="{self.y(mark.y):.1f}" r="6.5"/>'

    def bar(self, x: int, amount: float, *, short: bool) -> str:
        unit = self.x(1.0) - self.x(0.0)
        width = max(1.0, min(unit * 0.72, 34.0))
        top = self.y(amount)
        height = _HEIGHT - _BOTTOM - top
        style = "bar short" if short else "bar"
        return (
            f'<rect class="{style}" x="{self.x(x) - width / 2:.1f}" y="{top:.1f}" '
            f'width="{width:.1f}" height="{height:.1f}"/>'
        )

    def legend(self, key: Sequence[_Entry]) -> str:
        parts = []
        for row, entries in enumerate(_legend_rows(key)):
            x, y = float(_LEFT), 14 + row * _LEGEND_ROW
            for style, label in entries:
                parts.append(_sample(style, x, y))
                parts.append(f'<text x="{x + 28:.1f}" y="{y}">{escape(label)}</text>')
                x += _entry_width(label)
        return "".join(parts)


def _sample(style: str, x: float, y: float) -> str:
    """What stands before a label in the legend."""
    if style == "ring":
        return f'<circle class="ring" cx="{x + 11:.1f}" cy="{y - 5}" r="6.5"/>'
    if style == "bar" or style.startswith("b"):
        return f'<rect class="{style}" x="{x:.1f}" y="{y - 10}" width="22" height="10"/>'
    return f'<line class="{style}" x1="{x:.1f}" x2="{x + 22:.1f}" y1="{y - 4}" y2="{y - 4}"/>'


def _entry_width(label: str) -> float:
    return 44 + _GLYPH * len(label)


def _legend_rows(key: Sequence[_Entry]) -> list[list[_Entry]]:
    """Legend entries ``(class, label)`` broken into rows that fit the width."""
    rows: list[list[_Entry]] = [[]]
    used = 0.0
    for entry in key:
        width = _entry_width(entry[1])
        if rows[-1] and used + width > _WIDTH - _LEFT:
            rows.append([])
            used = 0.0
        rows[-1].append(entry)
        used += width
    return rows


def _svg(parts: Sequence[str], alternative: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(alternative)}">'
        + "".join(parts)
        + "</svg>"
    )
