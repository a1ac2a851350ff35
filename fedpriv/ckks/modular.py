"""Arithmetic on residues: uint64 arrays of shape (rows, count), one prime a row.

Residues are canonical, 0..p − 1, going in and coming out; nothing here checks that they are.  Primes are
below 2^60, so a few of them add up within a word.  A conditional subtraction is ``min(x, x − p)`` in unsigned
words: where x < p the difference wraps around and is the larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["add", "centred", "negate", "residues", "scale", "subtract"]

Rows = NDArray[np.uint64]

_HALF_WORD = np.uint64(32)
_LOW_HALF = np.uint64(0xFFFFFFFF)


def add(a: Rows, b: Rows, primes: Sequence[int]) -> Rows:
    """a + b, row by row.

    >>> add(np.array([[6]], np.uint64), np.array([[5]], np.uint64), (7,)).tolist()
    [[4]]
    """
    column = _column(a, primes)
    total: Rows = a + b
    np.minimum(total, total - column, out=total)
    return total


def subtract(a: Rows, b: Rows, primes: Sequence[int]) -> Rows:
    """a − b, row by row.

    >>> subtract(np.array([[2]], np.uint64), np.array([[5]], np.uint64), (7,)).tolist()
    [[4]]
    """
    column = _column(a, primes)
    difference: Rows = a - b
    np.minimum(difference, difference + column, out=difference)
    return difference


def negate(a: Rows, primes: Sequence[int]) -> Rows:
    """−a, row by row.

    >>> negate(np.array([[0, 2]], np.uint64), (7,)).tolist()
    [[0, 5]]
    """
    opposite: Rows = _column(a, primes) - a
    np.minimum(opposite, np.negative(a), out=opposite)
    return opposite


def scale(rows: Rows, factors: Sequence[int], primes: Sequence[int]) -> Rows:
    """Multiply each row by its own constant: Shoup's multiplication, exact for primes below 2^60.

    Args:
        rows: shape (rows, count).
        factors: one integer a row, of any size and sign.
        primes: one a row.

    With w' = ⌊w·2^64/p⌋ and q an estimate of w'·x/2^64 that falls short of it by less than 3 (the low halves
    are not multiplied), w·x − q·p is in [0, 4p) and needs no more than a word (Harvey, "Faster arithmetic for
    number-theoretic transforms", 2014).

    >>> scale(np.array([[2], [3]], np.uint64), (5, -1), (7, 11)).tolist()
    [[3], [8]]
    """
    column = _column(rows, primes)
    if len(factors) != len(primes):
        raise UsageError(f"{len(primes)} rows are scaled by as many factors, not by {len(factors)}.")
    reduced = [factor % prime for factor, prime in zip(factors, primes, strict=True)]
    factor = np.array(reduced, dtype=np.uint64)[:, None]
    quotients = [(w << 64) // prime for w, prime in zip(reduced, primes, strict=True)]
    high = np.array([quotient >> 32 for quotient in quotients], dtype=np.uint64)[:, None]
    low = np.array([quotient & 0xFFFFFFFF for quotient in quotients], dtype=np.uint64)[:, None]

    top, bottom = rows >> _HALF_WORD, rows & _LOW_HALF
    bottom *= high
    bottom >>= _HALF_WORD
    cross = top * low
    cross >>= _HALF_WORD
    top *= high
    top += cross
    top += bottom
    top *= column
    product: Rows = rows * factor
    product -= top
    np.minimum(product, product - 2 * column, out=product)
    np.minimum(product, product - column, out=product)
    return product


def residues(values: NDArray[np.int64], primes: Sequence[int]) -> Rows:
    """The residues of signed integers.

    Args:
        values: shape (count,), any int64.
        primes: L of them.

    Returns:
        uint64, shape (L, count).

    >>> residues(np.array([-1, 12]), (7, 11)).tolist()
    [[6, 5], [10, 1]]
    """
    if values.ndim != 1 or values.dtype != np.int64:
        raise UsageError("Residues are taken of a one-dimensional vector of int64.")
    largest = max(int(values.max()), -int(values.min())) if values.size else 0
    rows = np.empty((len(primes), values.size), dtype=np.uint64)
    words = values.view(np.uint64)
    for row, prime in zip(rows, primes, strict=True):
        if largest < prime:
            np.add(words, np.uint64(prime), out=row)
            np.minimum(row, words, out=row)
        else:
            np.copyto(row, np.remainder(values, prime), casting="unsafe")
    return rows


def centred(row: NDArray[np.uint64], prime: int) -> NDArray[np.int64]:
    """The representatives of residues in −(p − 1)/2..(p − 1)/2, p odd; one row, shape (count,).

    >>> centred(np.array([0, 3, 4], np.uint64), 7).tolist()
    [0, 3, -3]
    """
    values = row.astype(np.int64)
    values -= prime * (values > prime // 2)
    return values


def _column(rows: Rows, primes: Sequence[int]) -> Rows:
    if rows.ndim != 2 or rows.dtype != np.uint64 or len(rows) != len(primes):
        raise UsageError(
            f"Residues modulo {len(primes)} primes are uint64 in as many rows, not {rows.dtype} of shape"
            f" {rows.shape}."
        )
    return np.array(primes, dtype=np.uint64)[:, None]
