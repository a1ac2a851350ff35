"""How large the noise of a sum may become, how much flooding hides it, and what failing costs.

protocols/ckks/parameters.md argues for each rule.  All rules are whole-number arithmetic, rounded to the safe
side, so that every party comes to the same answer about the same parameters.
"""

from __future__ import annotations

from math import comb, exp, isqrt, ldexp, sqrt
from typing import Final

__all__ = [
    "ERROR_VARIANCE",
    "FAILURE_BITS",
    "LEAST_SPECIAL_BITS",
    "LEAST_STATISTICAL_BITS",
    "MAX_HOLDERS",
    "MAX_SUBSETS",
    "ROOM_BITS",
    "coefficients_of_key",
    "flood_variance",
    "flooding_slack",
    "least_noise_prime",
    "least_special_prime",
    "secret_square_norm",
    "subsets_of",
    "sum_variance",
    "tail_square",
]

ERROR_VARIANCE: Final = 11
"""Of each coefficient of an error in a key (spec, section 5): above the 10.24 of the standard's tables."""

FAILURE_BITS: Final = 40
"""A correct sum is refused because of its noise with probability 2^-40 over the life of a key."""

ROOM_BITS: Final = 5
"""The noise stays below p_0 / 2^5 (CK-4), so what is no such sum passes with 2^-4 a coefficient."""

LEAST_SPECIAL_BITS: Final = 30
LEAST_STATISTICAL_BITS: Final = 20
MAX_HOLDERS: Final = 64
MAX_SUBSETS: Final = 126

# Half of the failure goes to the norm of the key, half to the coefficients.
_NORM_NATS: Final = 29  # e^-29 < 2^-(FAILURE_BITS + 1)
_FRESH_ERROR: Final = 21  # SEAL draws the errors of an encryption from 42 coins
_KEY_ERROR: Final = 45  # a discrete Gaussian of variance 11 is beyond it with probability below 2^-128


def subsets_of(holders: int, threshold: int) -> int:
    """C(K, t - 1): the sets of K - t + 1 of K holders, each of which has a secret of its own.

    >>> subsets_of(5, 4), subsets_of(1, 1)
    (10, 1)
    """
    return comb(holders, threshold - 1)


def secret_square_norm(degree: int, subsets: int) -> int:
    """What ‖s‖² of a sum of ternary secrets exceeds with probability below 2^-41.

    Each coefficient is sub-Gaussian with variance 2/3 a secret; the tail of a sum of squares of such is that
    of Hsu, Kakade, Zhang (A tail inequality for quadratic forms of subgaussian random vectors, 2012),
    Theorem 2.1: ‖s‖² > σ²(N + 2√(N x) + 2 x) with probability at most e^-x.

    >>> secret_square_norm(4096, 1) / (4096 * 2 / 3)  # doctest: +ELLIPSIS
    1.18...
    """
    tail = 2 * (isqrt(degree * _NORM_NATS) + 1) + 2 * _NORM_NATS
    return -(-2 * subsets * (degree + tail) // 3)


def sum_variance(degree: int, subsets: int, clients: int) -> int:
    """σ_e²: variance proxy of each coefficient of the noise of a sum of n encryptions.

    One encryption leaves ⟨r, s⟩ with r uniform in [-1/2, 1/2], a rounding of at most 1/2 and, with a special
    prime of at least `least_special_prime`, a remainder of at most 1/2: a deviation of ‖s‖/√12 + 1.

    >>> sum_variance(4096, 1, 10)
    3240
    """
    deviation = isqrt((secret_square_norm(degree, subsets) - 1) // 12) + 2
    return clients * deviation * deviation


def least_special_prime(degree: int, subsets: int) -> int:
    """p_s from which what division by p_s leaves of e u + e_0 + e_1 s is at most 1/2 in every coefficient.

    >>> least_special_prime(16384, 126) < 2**29
    True
    """
    return 2 * (degree * subsets * (_KEY_ERROR + _FRESH_ERROR) + _FRESH_ERROR)


def coefficients_of_key(degree: int, chunks: int, sums: int) -> int:
    """N T: coefficients that are opened under one key, T = chunks times Q."""
    return degree * chunks * sums


def flood_variance(variance: int, coefficients: int, statistical_bits: int) -> int:
    """σ_f² with which all that one key opens is within 2^-s of what the sums alone would give.

    (σ_e / (2 σ_f)) √(N T) ≤ 2^-s (spec, section 7), with σ_f larger by 1.05.

    Args:
        variance: σ_e².
        coefficients: N T.
        statistical_bits: s.

    >>> import math
    >>> math.isclose(flood_variance(100, 4096, 30), (10 * 1.05 * 64 * 2**29) ** 2)
    True
    """
    return -(-441 * variance * coefficients * (1 << 2 * statistical_bits) // 1600)


def flooding_slack(statistical_bits: int, sums: int, sums_per_key: int, epsilon: float) -> float:
    """What the answers of a committee add to δ where the sums alone are (ε, δ)-private.

    The divergence between the answers and what follows from the sums adds up over the sums, whatever the keys
    they fall under (spec, section 7): Q sums are within 2^-s, so R sums within 2^-s √(R / Q), and that adds
    (1 + e^ε) times as much to δ.

    >>> flooding_slack(30, 64, 16, 0.0) == 4 * 2.0**-30
    True
    """
    distance = ldexp(sqrt(sums / sums_per_key), -statistical_bits)
    return (1.0 + exp(min(epsilon, 700.0))) * distance


def tail_square(coefficients: int) -> int:
    """k²: each of N T coefficients stays within k deviations, but for 2^-41 together.

    2 N T exp(-k²/2) ≤ 2^-41 with 7/5 for 2 ln 2.

    >>> tail_square(2**22)
    90
    """
    return -(-7 * (FAILURE_BITS + 2 + (coefficients - 1).bit_length()) // 5)


def least_noise_prime(variance: int, coefficients: int) -> int:
    """The least p_0 with k σ ≤ ⌊p_0 / 2^5⌋.

    Args:
        variance: σ² of e + F, that of the flood of all subsets included.
        coefficients: N T.

    >>> least_noise_prime(3240, 2**22)
    17280
    """
    return (isqrt(tail_square(coefficients) * variance - 1) + 1) << ROOM_BITS
