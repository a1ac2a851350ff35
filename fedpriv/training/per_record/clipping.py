"""How much each record's gradient is scaled so that none is longer than the clip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch

from fedpriv.errors import UsageError

__all__ = ["CLIPPINGS", "LEAST", "factors", "norms"]

CLIPPINGS: Final = ("flat", "per-layer", "automatic")

# Room for what rounding adds after the scaling: each coordinate (2**-24 of it), the norm (2**-20 of it, ghost
# norms included where positions point alike) and sums of the scaled gradients.
SLACK: Final = 1.0 - 2.0**-10
# A smaller factor has no full precision in float32, and the slack would not cover its rounding.
LEAST: Final = 2.0**-120
# The stability constant of automatic clipping (arXiv 2206.07136, equation 3.2 there: gamma = 0.01).
_GAMMA: Final = 0.01
_BLOCK: Final = 1 << 18  # numbers that are brought to double precision at a time: no more than a cache holds


def norms(rows: torch.Tensor) -> torch.Tensor:
    """The l2 norm of each row, float64, shape (b,), which no float32 number can overflow.

    ``vector_norm`` with a ``dtype`` of its own converts number by number, ten times as slowly.
    """
    squares = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    columns = max(1, _BLOCK // max(1, len(rows)))
    for begin in range(0, rows.shape[1], columns):
        squares += torch.linalg.vector_norm(rows[:, begin : begin + columns].double(), dim=1).square_()
    return squares.sqrt_()


def factors(
    squares: Mapping[str, torch.Tensor], clip: float, clipping: str
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What each layer's gradients are multiplied with, and which records are used at all.

    Args:
        squares: squared norms by layer, float64, shape (b,).
        clip: bound C on the l2 norm of what one record adds.
        clipping: ``flat`` (the whole gradient to C), ``per-layer`` (each of L layers to C / sqrt(L)) or
            ``automatic`` (C g / (|g| + 0.01), arXiv 2206.07136).

    Returns:
        float64 factors by layer, 0 for a record whose gradient is not finite or too long to scale; and a
        boolean tensor, shape (b,), false for those.

    Raises:
        UsageError: an unknown way of clipping.
    """
    if clipping not in CLIPPINGS:
        raise UsageError(f"{clipping!r} is not a way of clipping", hint=f"choose {', '.join(CLIPPINGS)}")
    bound = clip * SLACK
    if clipping == "per-layer":
        each = bound / math.sqrt(len(squares))
        made = {layer: _scale(square.sqrt(), each) for layer, square in squares.items()}
    else:
        length = torch.stack(list(squares.values())).sum(0).sqrt()
        one = bound / (length + _GAMMA) if clipping == "automatic" else _scale(length, bound)
        made = dict.fromkeys(squares, one)
    usable = torch.stack([torch.isfinite(square) for square in squares.values()]).all(0)
    usable &= torch.stack([factor >= LEAST for factor in made.values()]).all(0)
    return {layer: torch.where(usable, factor, 0.0) for layer, factor in made.items()}, usable


def _scale(lengths: torch.Tensor, bound: float) -> torch.Tensor:
    return torch.where(lengths > bound, bound / lengths, 1.0)
