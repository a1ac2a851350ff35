"""Rotation and rounding of one vector from their definitions, slow and obvious.

Written from protocols/dp/spec.md, section 9, alone; nothing is imported from the package.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


def hadamard(order: int) -> NDArray[np.float64]:
    """Entry (i, j) is -1 to the number of bits that i and j share, over sqrt(order)."""
    entries = [[(-1) ** (i & j).bit_count() for j in range(order)] for i in range(order)]
    return np.array(entries, dtype=np.float64) / math.sqrt(order)


def rotation_matrix(dimension: int, words: Sequence[int]) -> NDArray[np.float64]:
    """The whole d x d matrix of clause 9.4, from 2 ceil(m / 64) words."""
    m = max(2**k for k in range(40) if 2**k <= dimension)
    per = -(-m // 64)
    signs = [[1 - 2 * (words[half * per + k // 64] >> (k % 64) & 1) for k in range(m)] for half in (0, 1)]
    first = np.eye(dimension)
    first[:m, :m] = hadamard(m) @ np.diag(signs[0])
    if m == dimension:
        return first
    second = np.eye(dimension)
    second[-m:, -m:] = hadamard(m) @ np.diag(signs[1])
    return second @ first


def square_law(vector: Sequence[Fraction]) -> dict[int, Fraction]:
    """The exact law of |Y|^2 for Y the stochastic rounding of a vector, coordinate by coordinate."""
    law = {0: Fraction(1)}
    for value in vector:
        floor = math.floor(value)
        chance = value - floor
        after: dict[int, Fraction] = {}
        for square, weight in law.items():
            for entry, p in ((floor, 1 - chance), (floor + 1, chance)):
                if p:
                    key = square + entry * entry
                    after[key] = after.get(key, Fraction(0)) + weight * p
        law = after
    return law


def round_words(seed: int, round_: int, count: int) -> list[int]:
    """Clause 9.8 by 2.6: words of SHAKE-256, little-endian, over domain, seed, round and name."""
    said = b"fedpriv/peft/choice/1" + seed.to_bytes(8, "little") + round_.to_bytes(8, "little") + b"rotation"
    stream = hashlib.shake_256(said).digest(8 * count)
    return [int.from_bytes(stream[8 * k : 8 * k + 8], "little") for k in range(count)]


def round_rotation(seed: int, round_: int, dimension: int) -> NDArray[np.float64]:
    """The whole d x d matrix of a run's round, clause 9.8."""
    m = max(2**k for k in range(40) if 2**k <= dimension)
    return rotation_matrix(dimension, round_words(seed, round_, 2 * -(-m // 64)))


def rotated_client_bound(
    sensitivity: int, *, clients: int, expected: Fraction, dimension: int, beside: float = 0.0
) -> int:
    """L of clause 9.8 with p = 2^-40, to fifty digits."""
    with localcontext() as digits:
        digits.prec = 50
        m = max(2**k for k in range(40) if 2**k <= dimension)
        chance = Decimal(2) ** -40
        tail = (2 * (4 * clients * dimension / chance).ln() / m).sqrt()
        held = 2 * expected / clients
        most = max(Decimal(1), Decimal(held.numerator) / Decimal(held.denominator))
        turned = math.ceil(most * ((sensitivity + 1) * min(Decimal(1), tail) + 1))
    on_one_axis = max(sensitivity, math.ceil(held * sensitivity))
    return max(min(on_one_axis, turned), math.ceil(beside * sensitivity))
