"""Guesses about canaries held against a whole trade-off curve: the f-DP audit of one run.

A plan promises more than one (ε, δ): it promises δ(ε) at every ε, which is a trade-off curve.  All of the
curve bounds how often guesses can be right, much more tightly than one point of it does.  With 1,000 canaries
no single (8, 1e-5) can be refuted, whatever is guessed; its curve can.

Source: Mahloujifar, Melis and Chaudhuri 2024 (arXiv 2410.22235, Theorem 9 and Algorithm 3), with the curve of
Dong, Roth and Su 2019 (arXiv 1905.02383, Proposition 2.4) made of the pairs (ε, δ) that hold at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["EPSILONS", "TradeOff", "chance_bound"]

EPSILONS: Final = (0.0, *(2.0 ** (k / 8.0) for k in range(-40, 49)))
"""Where a curve is looked at: 0, and 2^-5 to 2^6.  A pair left out makes the curve weaker, never wrong."""

_MARGIN: Final = 1e-9  # what floating point may add to a sum of probabilities, and must not refute with
_LEAST: Final = 1e-12
_HALVINGS: Final = 24


@dataclass(frozen=True, slots=True)
class TradeOff:
    """Pairs (ε, δ) that a mechanism is claimed to meet, all of them at once; ε not negative, δ in [0, 1]."""

    epsilons: tuple[float, ...]
    deltas: tuple[float, ...]
    _odds: NDArray[np.float64] = field(init=False, repr=False, compare=False)
    _slack: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.epsilons or len(self.epsilons) != len(self.deltas):
            raise UsageError("a trade-off curve needs pairs of an epsilon and a delta")
        if not all(0.0 <= value < math.inf for value in self.epsilons):
            raise UsageError("the epsilons of a trade-off curve must be finite and not negative")
        if not all(0.0 <= value <= 1.0 for value in self.deltas):
            raise UsageError("the deltas of a trade-off curve must lie in [0, 1]")
        object.__setattr__(self, "_odds", np.exp(np.array(self.epsilons)))
        object.__setattr__(self, "_slack", np.array(self.deltas))

    @classmethod
    def of(cls, delta: Callable[[float], float]) -> TradeOff:
        """Return the curve of a mechanism that is (ε, ``delta(ε)``)-private at each of :data:`EPSILONS`."""
        return cls(EPSILONS, tuple(min(1.0, max(0.0, delta(epsilon))) for epsilon in EPSILONS))

    def least_error(self, power: float) -> float:
        """Return the least false-positive rate of any test that finds a share ``power`` of the members.

        From power <= e^ε x + δ and power <= 1 - e^-ε (1 - δ - x), each solved for x.

        >>> TradeOff((0.0,), (0.1,)).least_error(0.5)
        0.4
        """
        first = (power - self._slack) / self._odds
        second = 1.0 - self._slack - self._odds * (1.0 - power)
        return max(0.0, float(first.max()), float(second.max()))


def _possible(curve: TradeOff, guesses: int, right: int, canaries: int, chance: float) -> bool:
    """Whether the curve leaves it possible that ``right`` or more are right with this ``chance``.

    ``hits`` is what outcomes with i or more right weigh in right guesses, ``misses`` in wrong ones.  Going
    down in i each hit drags up the misses one step below, until all outcomes weigh more than 1 together.
    """
    hits, misses = chance * right / canaries, chance * (guesses - right) / canaries
    for i in range(right - 1, -1, -1):
        higher = max(misses, curve.least_error(min(1.0, hits)))
        hits += i / (guesses - i) * (higher - misses)
        misses = higher
        if hits + misses > guesses / canaries + _MARGIN:
            return False
    return True


def chance_bound(curve: TradeOff, guesses: int, right: int, canaries: int) -> float:
    """Return a bound on the chance that ``right`` or more guesses are right if the curve is kept.

    A p-value: below 0.05, the curve is refuted at 95 % confidence.  Never below 1e-12.

    Args:
        curve: what is claimed, of neighbours that differ in one canary.
        guesses: r, how many canaries were named in or out; chosen without a look at the truth.
        right: v, how many of these are right.
        canaries: m, all canaries, each in by a fair coin, guessed or not.

    Raises:
        UsageError: counts that contradict each other.

    >>> claimed = TradeOff((0.0, 1.0), (0.3, 0.0))
    >>> chance_bound(claimed, 100, 60, 100) > 0.05 > chance_bound(claimed, 100, 95, 100)
    True
    """
    if not (0 <= right <= guesses <= canaries and canaries >= 1):
        raise UsageError(
            f"{right} right of {guesses} guesses about {canaries} canaries: each may not exceed the next"
        )
    if _possible(curve, guesses, right, canaries, 1.0):
        return 1.0
    low, high = math.log(_LEAST), 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        if _possible(curve, guesses, right, canaries, math.exp(middle)):
            low = middle
        else:
            high = middle
    return math.exp(high)
