"""A committee's places: the subsets whose secrets make up the key, and the weights that combine answers.

A secret polynomial is never dealt.  Each subset A of K - t + 1 holders has a secret of its own, s = Σ s_A,
and every member multiplies it by a public number g_A(j); that is Shamir's sharing with threshold t, and no
message is needed for it (Cramer, Damgård, Ishai, TCC 2005).  A holder's point is its place 1..K among the
holders in ascending order, whatever its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks import modular
from fedpriv.ckks.ring_params import RingParams
from fedpriv.errors import UsageError

__all__ = ["combine", "lagrange", "leader", "subsets", "weight", "weighted"]


def subsets(holders: Sequence[int], threshold: int) -> tuple[tuple[int, ...], ...]:
    """The subsets of K - t + 1 holders, in lexicographic order: any t holders meet each, t - 1 miss one.

    Args:
        holders: the K holders' numbers, ascending.
        threshold: t in 1..K.

    Raises:
        UsageError: holders that do not ascend, or a threshold outside 1..K.

    >>> subsets((1, 2, 3), 2)
    ((1, 2), (1, 3), (2, 3))
    >>> subsets((4, 7, 9), 1)
    ((4, 7, 9),)
    """
    _check(holders)
    if not 1 <= threshold <= len(holders):
        raise UsageError(f"A threshold of {threshold} does not fit {len(holders)} holders.")
    return tuple(combinations(holders, len(holders) - threshold + 1))


def leader(subset: Sequence[int], present: Sequence[int]) -> int:
    """Who sends the subset's part of the public key: its least member among those present.

    Raises:
        UsageError: none of the subset is present; fewer holders than the threshold are left then.
    """
    members = [holder for holder in subset if holder in present]
    if not members:
        raise UsageError("No holder of the subset is left to send its part of the key.")
    return min(members)


def weight(holders: Sequence[int], subset: Sequence[int], holder: int, prime: int) -> int:
    """g_A(j) modulo a prime: g_A has degree t - 1, is 1 at zero, and 0 at each holder outside A.

    >>> [weight((1, 2, 3), (1, 2), holder, 97) for holder in (1, 2, 3)]
    [33, 65, 0]
    """
    places = _places(holders)
    at = _place(places, holder)
    outside = [place for other, place in places.items() if other not in subset]
    return _product_ratio([place - at for place in outside], outside, prime)


def lagrange(holders: Sequence[int], answering: Sequence[int], holder: int, prime: int) -> int:
    """λ_j modulo a prime: what holder j's answer is multiplied with to get the value at zero.

    Args:
        holders: all holders, ascending.
        answering: the t of them whose answers are put together.
        holder: j, one of ``answering``.
        prime: the modulus.

    Raises:
        UsageError: a holder that is not in the committee, or twice among those answering.

    >>> lagrange((1, 2, 3), (1, 3), 3, 97)
    48
    """
    places = _places(holders)
    if len(set(answering)) != len(answering) or holder not in answering:
        raise UsageError(f"Holder {holder} is not one of those that answer, each once.")
    at = _place(places, holder)
    others = [_place(places, other) for other in answering if other != holder]
    return _product_ratio(others, [place - at for place in others], prime)


def weighted(
    ring: RingParams,
    holders: Sequence[int],
    holder: int,
    polynomials: Mapping[tuple[int, ...], NDArray[np.int64]],
) -> NDArray[np.uint64]:
    """Σ g_A(j) y_A modulo each prime of q: holder j's share of the sum of all subsets' polynomials.

    Args:
        ring: degree and primes.
        holders: all holders, ascending.
        holder: j.
        polynomials: by subset its polynomial y_A, int64, shape (N,).

    Returns:
        uint64, shape (L, N).
    """
    primes = ring.primes
    total = np.zeros((len(primes), ring.degree), dtype=np.uint64)
    for subset, polynomial in polynomials.items():
        factors = [weight(holders, subset, holder, prime) for prime in primes]
        term = modular.scale(modular.residues(polynomial, primes), factors, primes)
        total = modular.add(total, term, primes)
    return total


def combine(
    holders: Sequence[int], answers: Mapping[int, NDArray[np.uint64]], primes: Sequence[int]
) -> NDArray[np.uint64]:
    """Σ λ_j d_j: what t holders' answers amount to, c_1 s + F.

    Args:
        holders: all holders, ascending.
        answers: by holder, exactly t of them; shape (L, count), dtype uint64, each below its prime.
        primes: the L primes.

    Returns:
        uint64, shape (L, count).

    Raises:
        UsageError: no answer, or that of a holder outside the committee.
    """
    if not answers:
        raise UsageError("There is no answer to put together.")
    answering = tuple(answers)
    total: NDArray[np.uint64] | None = None
    for holder, rows in answers.items():
        factors = [lagrange(holders, answering, holder, prime) for prime in primes]
        term = modular.scale(rows, factors, primes)
        total = term if total is None else modular.add(total, term, primes)
    assert total is not None  # noqa: S101 - there is an answer
    return total


def _check(holders: Sequence[int]) -> None:
    if not holders or any(one >= other for one, other in pairwise(holders)):
        raise UsageError("The holders of a committee are numbers in ascending order, at least one.")


def _places(holders: Sequence[int]) -> dict[int, int]:
    _check(holders)
    return {holder: place for place, holder in enumerate(holders, start=1)}


def _place(places: Mapping[int, int], holder: int) -> int:
    if holder not in places:
        raise UsageError(f"Party {holder} is not a holder of the key.")
    return places[holder]


def _product_ratio(above: Sequence[int], below: Sequence[int], prime: int) -> int:
    """The product of one list over that of the other, modulo a prime above every place."""
    numerator = denominator = 1
    for one, other in zip(above, below, strict=True):
        numerator = numerator * one % prime
        denominator = denominator * other % prime
    return numerator * pow(denominator, -1, prime) % prime
