"""A plan's claim against what was guessed about its canaries: PASS, or FAIL where it is refuted.

Two bounds may refute a claim: the one that looks at (ε, δ) alone, and the one that looks at all of the plan's
trade-off curve.  How canaries are scored and how many are named is tried in several ways.  The chance of a
wrong FAIL, 1 - confidence, is divided over all these tries and both bounds (Bonferroni), so that the
confidence holds for the verdict as a whole; taking the better of two bounds without that would not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.audit.one_run import epsilon_lower_bound, epsilon_lower_bound_fdp
from fedpriv.audit.tradeoff_run import TradeOff, chance_bound
from fedpriv.errors import UsageError

__all__ = ["CAUTION", "CURVE_SHARE", "LEAST_CANARIES", "NAMED", "ClaimAudit", "Finding", "try_claim"]

CAUTION: Final = (
    "A low lower bound is not evidence of privacy: "
    "it says what this auditor could not do, not what nobody can."
)

NAMED: Final = (1.0, 0.75, 0.25)
"""What share of the canaries is named, those farthest from the middle first."""

CURVE_SHARE: Final = 0.75
"""What part of the chance of a wrong FAIL the curve's bound may use; the rest is for (ε, δ) alone."""

LEAST_CANARIES: Final = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """One bound, and the guesses that gave it."""

    epsilon: float
    guesses: int
    right: int


@dataclass(frozen=True, slots=True)
class ClaimAudit:
    """What guesses about canaries say of a claim.

    Attributes:
        score: name of the score whose guesses contradict the claim most.
        guesses, right: r and v of these guesses.
        chance: bound on the chance of a result like this if the curve is kept, all tries considered; a FAIL
            where it is at most 1 - confidence.
        any_mechanism: lower bound on ε that assumes nothing about the mechanism.
        gaussian: the same for a Gaussian trade-off curve; an estimate for any other, and not in the verdict.
        claimed, delta: what the plan says.
        canaries: m.
        confidence: with which a FAIL is right.
        refutable: whether any outcome at all could have been a FAIL.
    """

    score: str
    guesses: int
    right: int
    chance: float
    any_mechanism: Finding
    gaussian: Finding
    claimed: float
    delta: float
    canaries: int
    confidence: float
    refutable: bool

    @property
    def refuted(self) -> bool:
        """Whether the verdict is FAIL."""
        return self.chance <= 1.0 - self.confidence or self.any_mechanism.epsilon > self.claimed


def try_claim(
    scores: Mapping[str, NDArray[np.float64]],
    included: NDArray[np.bool_],
    *,
    claimed: float,
    delta: float,
    curve: TradeOff,
    confidence: float = 0.95,
) -> ClaimAudit:
    """Guess from each of ``scores`` which canaries were in, and hold the guesses against the claim.

    A canary above the mean of a score is guessed to be in, one below it out; the truth is not looked at.

    Args:
        scores: float64, shape (m,), by name; higher where a canary is likelier in.
        included: bool, shape (m,), the coins.
        claimed: ε at ``delta``.
        delta: δ of the claim, at most 1 / (2 m).
        curve: all that the plan claims.
        confidence: of the verdict, in [0.5, 1).

    Raises:
        UsageError: too few canaries, shapes that differ, a score that is not finite, or no such confidence.

    >>> coins = np.arange(1000) % 2 == 0
    >>> curve = TradeOff((0.0, 1.0), (0.3, 1e-5))
    >>> found = try_claim({"sum": coins * 1.0}, coins, claimed=1.0, delta=1e-5, curve=curve)
    >>> found.refuted, found.right, found.guesses
    (True, 1000, 1000)
    """
    _check(scores, included, confidence)
    m, tries = included.size, len(scores) * len(NAMED)
    apart = 1.0 - (1.0 - confidence) / tries
    alone = 1.0 - (1.0 - CURVE_SHARE) * (1.0 - confidence) / tries
    found: list[tuple[float, str, int, int]] = []
    bounds: list[tuple[Finding, Finding]] = []
    for name, score in scores.items():
        away = score - score.mean()
        order = np.argsort(-np.abs(away), kind="stable")
        for share in NAMED:
            named = order[: int(share * m)]
            guesses, right = named.size, int(((away[named] > 0.0) == included[named]).sum())
            found.append((chance_bound(curve, guesses, right, m), name, guesses, right))
            first = Finding(epsilon_lower_bound(guesses, right, m, delta, alone), guesses, right)
            second = Finding(epsilon_lower_bound_fdp(guesses, right, m, delta, apart), guesses, right)
            bounds.append((first, second))
    chance, name, guesses, right = min(found, key=lambda entry: (entry[0], -entry[3] / max(1, entry[2])))
    most = min(chance_bound(curve, int(share * m), int(share * m), m) for share in NAMED)
    return ClaimAudit(
        score=name,
        guesses=guesses,
        right=right,
        chance=min(1.0, chance * tries / CURVE_SHARE),
        any_mechanism=max((pair[0] for pair in bounds), key=lambda finding: finding.epsilon),
        gaussian=max((pair[1] for pair in bounds), key=lambda finding: finding.epsilon),
        claimed=claimed,
        delta=delta,
        canaries=m,
        confidence=confidence,
        refutable=most * tries / CURVE_SHARE <= 1.0 - confidence
        or epsilon_lower_bound(m, m, m, delta, alone) > claimed,
    )


def _check(scores: Mapping[str, NDArray[np.float64]], included: NDArray[np.bool_], confidence: float) -> None:
    if included.size < LEAST_CANARIES:
        raise UsageError(
            f"{included.size} canaries can refute next to nothing; an audit needs at least {LEAST_CANARIES}",
            hint="use 1,000 canaries, or more where epsilon is large",
        )
    if not scores or any(score.shape != included.shape for score in scores.values()):
        raise UsageError("one score and one coin for every canary are needed")
    if not all(np.isfinite(score).all() for score in scores.values()):
        raise UsageError("a score is not finite; the canaries cannot be told apart")
    if not 0.5 <= confidence < 1.0:
        raise UsageError(f"the confidence is {confidence}; it must lie in [0.5, 1)")
