"""Primes p = 1 (mod 2N): those modulo which X^N + 1 splits, so that products are taken by the NTT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fedpriv.errors import UsageError

__all__ = ["MAX_PRIME_BITS", "is_prime", "ring_primes"]

MAX_PRIME_BITS: Final = 60  # what SEAL accepts, and what leaves room for sums in 64-bit words

# The Miller-Rabin test with these bases errs for no number below 3.3 * 10^24 (Sorenson and Webster, Math.
# Comp. 86, 2017).
_BASES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def is_prime(number: int) -> bool:
    """Whether a number below 2^64 is prime, without error.

    Raises:
        UsageError: a number of more than 64 bits.

    >>> is_prime(2**31 - 1), is_prime(3_215_031_751)
    (True, False)
    """
    if number >= 1 << 64:
        raise UsageError("Only numbers below 2^64 are tested for being prime.")
    if number < 2:
        return False
    if any(number % base == 0 for base in _BASES):
        return number in _BASES
    twos = ((number - 1) & -(number - 1)).bit_length() - 1
    return all(_passes(number, base, twos) for base in _BASES)


def _passes(number: int, base: int, twos: int) -> bool:
    power = pow(base, (number - 1) >> twos, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False


def ring_primes(bits: int, degree: int) -> Iterator[int]:
    """The primes p = 1 (mod 2N) below ``2**bits``, the largest first.

    Args:
        bits: 2 to 60.
        degree: N, a power of two.

    Raises:
        UsageError: bits out of range, or a degree that is not a power of two.

    >>> list(ring_primes(17, 8192))
    [114689, 65537]
    """
    if not 2 <= bits <= MAX_PRIME_BITS:
        raise UsageError(f"A prime of a ring has 2 to {MAX_PRIME_BITS} bits, not {bits}.")
    if degree < 1 or degree & (degree - 1):
        raise UsageError(f"The ring degree is {degree}; it must be a power of two.")
    step = 2 * degree
    highest = ((1 << bits) - 2) // step * step + 1
    return (number for number in range(highest, 1, -step) if is_prime(number))
