"""The ring and its parameters once more, written from protocols/secagg/graph.md and nothing else.

Slow and obvious on purpose: lists and sorting, whole numbers without rounding, and every degree is tried in
turn.  It shares no code with the package.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import comb

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

# Section 1: the graph


def ring(seed: bytes, members: int) -> list[int]:
    """The ranks in the order of the ring."""
    stream = Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor().update(bytes(8 * members))
    words = [int.from_bytes(stream[8 * r : 8 * r + 8], "little") for r in range(members)]
    return sorted(range(members), key=lambda r: (words[r], r))


def neighbours(seed: bytes, members: int, degree: int, rank: int) -> list[int]:
    order = ring(seed, members)
    p = order.index(rank)
    steps = range(1, degree // 2 + 1)
    found = {order[(p + step) % members] for step in steps} | {order[(p - step) % members] for step in steps}
    assert len(found) == degree
    assert rank not in found
    return sorted(found)


# Section 2: the conditions; a bound on a probability is a whole number over ways(n, k)


@lru_cache(maxsize=4096)
def ways(n: int, k: int) -> int:
    return comb(n, k)


def disconnected(n: int, removed: int, k: int) -> int:
    """Twice n(n - k - 1)/2 times C(removed, k)/C(n, k), over ways(n, k)."""
    return n * (n - k - 1) * ways(removed, k)


@lru_cache(maxsize=4096)
def exceeds(n: int, marked: int, k: int) -> list[int]:
    """n·Pr[H > a] for a = 0..k, H the marked among k of n, over ways(n, k)."""
    tail, sums = 0, []
    for j in reversed(range(k + 1)):
        sums.append(n * tail)
        tail += ways(marked, j) * ways(n - marked, k - j)
    assert tail == ways(n, k)
    return sums[::-1]


def corrupt_neighbours(n: int, A: int, k: int, bits: int) -> int:
    """a*, the smallest a with n·Pr[H(A) > a] at most 2^-bits."""
    return next(a for a, bound in enumerate(exceeds(n, A, k)) if bound << bits <= ways(n, k))


def counts(n: int, corrupt: str, dropout: str) -> tuple[int, int]:
    return int(Fraction(corrupt) * n), int(Fraction(dropout) * n)


def sparse(
    n: int, A: int, D: int, *, curious: bool, sigma: int, eta: int, g: int
) -> tuple[int, int, int] | None:
    """(k, t, a*) of the smallest degree and threshold that meet the conditions, or None."""
    for k in range(2, n - 1, 2):
        if not disconnected(n, A + D, k) << (sigma + g) < ways(n, k):
            continue
        worst = corrupt_neighbours(n, A, k, sigma + g + 1)
        unfinished = exceeds(n, D, k)  # fewer than t survive where more than k - t are dropped
        for t in range(2, k + 1):
            safe = t >= worst + 1 if curious else 2 * t > k + worst
            if safe and unfinished[k - t] << eta <= ways(n, k):
                return k, t, worst
    return None


def parameters(
    n: int, corrupt: str, dropout: str, *, curious: bool, sigma: int = 40, eta: int = 20, g: int = 0
) -> tuple[int, int, int] | None:
    """(k, t, a*) by section 2 with the rule for small cohorts, or None where the request is refused."""
    A, D = counts(n, corrupt, dropout)
    if n < 3 or n - A - D < 2:
        return None
    rounded_away = (A == 0 and Fraction(corrupt) > 0) or (D == 0 and Fraction(dropout) > 0)
    found = None if n < 32 or rounded_away else sparse(n, A, D, curious=curious, sigma=sigma, eta=eta, g=g)
    if found is not None:
        return found
    t = max(2, A + 1) if curious else (n + A) // 2 + 1
    return (n - 1, t, A) if t <= n - D else None
