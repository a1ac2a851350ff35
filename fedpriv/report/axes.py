"""The axes of a chart: which numbers stand on them, and where a value lies between their ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Axis", "Scale", "ticks"]

_MOST_DECADES = 6


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows: ``whole`` numbers only, shares as ``percent``, from zero, or by powers of ten."""

    label: str
    whole: bool = False
    percent: bool = False
    from_zero: bool = False
    log: bool = False


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


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps ``low..high`` in data units to ``start..end`` in the drawing's units."""

    axis: Axis
    low: float
    high: float
    start: float
    end: float

    @classmethod
    def across(cls, axis: Axis, values: Sequence[float], start: float, end: float, pad: float = 0.0) -> Scale:
        """A horizontal scale: from the least of ``values`` to the largest, and ``pad`` to each side."""
        if axis.log:
            return cls(axis, *_decades(values), start, end)
        low, high = _ends(axis, values)
        if high <= low:
            low, high = low - 0.5, high + 0.5
        return cls(axis, low - pad, high + pad, start, end)

    @classmethod
    def upward(cls, axis: Axis, values: Sequence[float], start: float, end: float) -> Scale:
        """A vertical scale: between round numbers around ``values``."""
        if axis.log:
            return cls(axis, *_decades(values), start, end)
        low, high = _ends(axis, values)
        if high <= low:
            high = low + max(abs(low) * 0.1, 0.1)
        around = ticks(low, high)
        return cls(axis, around[0], around[-1], start, end)

    def place(self, value: float) -> float:
        """Where ``value`` lies; what a logarithmic axis cannot show lies at its low end."""
        low, high = self.low, self.high
        if self.axis.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def marks(self) -> list[tuple[float, str]]:
        """Positions in data units with the text that stands at each."""
        if self.axis.log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            powers = range(first, last + 1, math.ceil((last - first) / _MOST_DECADES))
            return [(10.0**k, f"{10.0 ** (k + 2):g}%" if self.axis.percent else f"1e{k}") for k in powers]
        found = ticks(self.low, self.high)
        step = found[1] - found[0] if len(found) > 1 else 1.0
        return [
            (
                value,
                f"{value * 100:.4g}%" if self.axis.percent else _number(value, max(step, self.axis.whole)),
            )
            for value in found
            if self.low <= value <= self.high and not (self.axis.whole and value != int(value))
        ]


def _ends(axis: Axis, values: Sequence[float]) -> tuple[float, float]:
    """The least and the largest of ``values``, and zero where the axis begins there."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return (min(0.0, low) if axis.from_zero else low), high


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """The powers of ten around the positive ones of ``values``."""
    positive = [value for value in values if value > 0.0] or [0.1, 1.0]
    low, high = math.floor(math.log10(min(positive)) + 1e-9), math.ceil(math.log10(max(positive)) - 1e-9)
    return 10.0**low, 10.0 ** max(high, low + 1)


def _number(value: float, step: float) -> str:
    decimals = 0 if step >= 1 and step == int(step) else max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals and abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:
        decimals += 1
    return f"{value:.{decimals}f}"
