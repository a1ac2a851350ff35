"""What an audit found: the best guesses about a run's canaries, and what they say about its claim.

How many canaries are named is chosen after the scores were seen, so the confidence is divided over all the
choices there were (Bonferroni): the figures hold whichever choice turns out best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.audit.one_run import epsilon_lower_bound, epsilon_lower_bound_fdp
from fedpriv.errors import UsageError

__all__ = ["CAUTION", "SHARES", "Audit", "Finding", "audit"]

CAUTION: Final = (
    "A low lower bound is not evidence of privacy: "
    "it says what this auditor could not do, not what nobody can."
)

_BOUNDS: Final = (epsilon_lower_bound, epsilon_lower_bound_fdp)

SHARES: Final = (
    *((share, share) for share in (0.5, 0.25, 0.125, 0.0625, 0.03125)),
    *((share, 0.0) for share in (0.4, 0.2, 0.1, 0.05)),
)
"""What share of the canaries is guessed to be in, from the top of the scores, and out, from the bottom.

With sampling a low score says little (the canary may not have been drawn), a high one much: hence the last
four."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One bound, and the guesses that gave it."""

    epsilon: float
    guesses: int
    right: int

    def __str__(self) -> str:
        return f"{self.epsilon:.2f} ({self.right} of {self.guesses} guesses right)"


@dataclass(frozen=True, slots=True)
class Audit:
    """What is said of a run after its canaries were scored.

    Attributes:
        any_mechanism: lower bound on ε that assumes nothing about the mechanism; the verdict rests on it.
        gaussian: the same for a mechanism with a Gaussian trade-off curve; an estimate for any other.
        canaries: m, how many there were.
        delta: δ at which both hold.
        confidence: of each of the two, over all choices of how many canaries to name.
    """

    any_mechanism: Finding
    gaussian: Finding
    canaries: int
    delta: float
    confidence: float

    def refutes(self, claimed: float) -> bool:
        """Whether the claim (``claimed``, δ) is refuted at the stated confidence.

        >>> found = Finding(3.2, 100, 99)
        >>> Audit(found, found, 1000, 1e-5, 0.95).refutes(3.0)
        True
        """
        return self.any_mechanism.epsilon > claimed

    def lines(self, claimed: float) -> list[str]:
        """The audit for a person; the last line says what it does not mean."""
        confidence = f"at {self.confidence:.0%} confidence and δ = {self.delta:g}"
        verdict = (
            f"FAIL: the claim ε = {claimed:g} is refuted {confidence}"
            if self.refutes(claimed)
            else f"not refuted: the claim ε = {claimed:g}, {confidence}"
        )
        return [
            f"{self.canaries:,} canaries: ε is at least {self.any_mechanism}",
            f"if the mechanism were a Gaussian one: at least {self.gaussian}",
            verdict,
            CAUTION,
        ]


def audit(
    scores: NDArray[np.float64],
    included: NDArray[np.bool_],
    *,
    delta: float,
    confidence: float = 0.95,
    shares: Sequence[tuple[float, float]] = SHARES,
) -> Audit:
    """Guess the canaries with the highest scores to be in, those with the lowest to be out, and count.

    Args:
        scores: one for each canary, higher where it is more likely in; made without ``included``.
        included: the coins, one for each canary.
        delta: δ of the claim.
        confidence: of each of the two bounds.
        shares: the choices of how many to name, at the top and at the bottom; fixed before the scores.

    Raises:
        UsageError: arrays of different or no length, a score that is not finite, shares that overlap, or what
            :func:`~fedpriv.audit.epsilon_lower_bound` refuses.

    >>> rng = np.random.default_rng(0)
    >>> coins = rng.random(1000) < 0.5
    >>> print(*audit(coins + rng.normal(0.0, 0.3, 1000), coins, delta=1e-5).lines(claimed=3.0), sep="\\n")
    1,000 canaries: ε is at least 4.47 (500 of 500 guesses right)
    if the mechanism were a Gaussian one: at least 7.45 (500 of 500 guesses right)
    FAIL: the claim ε = 3 is refuted at 95% confidence and δ = 1e-05
    A low lower bound is not evidence of privacy: it says what this auditor could not do, not what nobody can.
    """
    if scores.ndim != 1 or scores.shape != included.shape or scores.size == 0:
        raise UsageError(
            f"{scores.shape} scores and {included.shape} coins: one of each for every canary is needed"
        )
    if not np.isfinite(scores).all():
        raise UsageError("a score is not finite; the canaries cannot be put in order")
    if not shares or any(top < 0.0 or bottom < 0.0 or top + bottom > 1.0 for top, bottom in shares):
        raise UsageError(f"the shares {shares} must be pairs of parts of the canaries that do not overlap")
    m = scores.size
    ascending = included[np.argsort(scores, kind="stable")]
    each = 1.0 - (1.0 - confidence) / len(shares)
    found: list[tuple[Finding, Finding]] = []
    for top, bottom in shares:
        high, low = int(top * m), int(bottom * m)
        guesses = high + low
        right = int(ascending[m - high :].sum()) + low - int(ascending[:low].sum())
        bounds = (bound(guesses, right, m, delta, each) for bound in _BOUNDS)
        first, second = (Finding(epsilon, guesses, right) for epsilon in bounds)
        found.append((first, second))
    any_mechanism = max((pair[0] for pair in found), key=lambda finding: finding.epsilon)
    gaussian = max((pair[1] for pair in found), key=lambda finding: finding.epsilon)
    return Audit(any_mechanism, gaussian, m, delta, confidence)
