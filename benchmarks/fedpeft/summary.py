"""Means over seeds, and how a table says them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_T_975: Final = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}  # Student's t, by degrees of freedom


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over ``seeds`` values, and half the width of its 95 % interval; both nan where there is none."""

    value: float
    half: float
    seeds: int


def mean_of(values: Sequence[float]) -> Mean:
    """Of accuracies, one a seed.

    >>> mean_of([0.5, 0.6, 0.7]).seeds
    3
    """
    if not values:
        return Mean(math.nan, math.nan, 0)
    if len(values) == 1:
        return Mean(values[0], math.nan, 1)
    half = _T_975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return Mean(statistics.mean(values), half, len(values))


def cell_text(mean: Mean, seeds: int = 3) -> str:
    """``0.912 ± 0.010``; with the number of seeds where some are missing."""
    if not mean.seeds:
        return ""
    spread = f" ± {mean.half:.3f}" if math.isfinite(mean.half) else ""
    return f"{mean.value:.3f}{spread}" + (f" ({mean.seeds})" if mean.seeds < seeds else "")
