"""Section 2 of protocols/ckks/spec.md, and arithmetic in R_q on Python integers: one function for one line.

An element of R_q is a list of rows, one for each prime, of coefficients in 0..p - 1.  Nothing comes from the
package but the sampler of the discrete Gaussian: the protocol fixes its law, and the package its draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import count

import numpy as np
from reference.secagg_primitives import keystream
from reference.secagg_wire import require

from fedpriv.dp import discrete_gaussian

D = "fedpriv ckks v1"
Rows = list[list[int]]


def is_prime(x: int) -> bool:
    """Miller-Rabin on bases that decide every x below 3.3e24 (Sorenson, Webster 2015)."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
    if x < 2 or any(x % base == 0 for base in bases):
        return x in bases
    odd, twos = x - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(
        pow(base, odd, x) == 1 or x - 1 in {pow(base, odd << r, x) for r in range(twos)} for base in bases
    )


def primes_below(bits: int, degree: int, wanted: int, without: tuple[int, ...] = ()) -> list[int]:
    """The largest primes below 2^bits that are 1 modulo 2N, descending."""
    found: list[int] = []
    for p in count(2**bits - 2 * degree + 1, -2 * degree):
        if p < 2:
            raise ValueError(f"there are no {wanted} such primes")
        if is_prime(p) and p not in without:
            found.append(p)
            if len(found) == wanted:
                return found
    return found


def ternary(seed: bytes, degree: int) -> list[int]:
    kept = [byte for byte in keystream(seed, 2 * degree + 64) if byte != 255]
    return [byte % 3 - 1 for byte in kept[:degree]]


def gauss(seed: bytes, variance: int, degree: int) -> list[int]:
    stream, position = keystream(seed, 512 * degree + 65536), 0

    def words(n: int) -> np.ndarray:  # type: ignore[type-arg]
        nonlocal position
        position += 8 * n
        return np.frombuffer(stream[position - 8 * n : position], dtype="<u8")

    def draw(v: int) -> list[int]:
        return [int(value) for value in discrete_gaussian(v, degree, words)]

    def composed(v: int) -> list[int]:
        if v <= 2**18:
            return draw(v)
        h = 0
        while v > 2**18 * 4**h:
            h += 1
        wide, narrow = composed(-(-(v - 9 * 4**h) // 4**h)), composed(9 * 4**h)
        return [2**h * g + g1 for g, g1 in zip(wide, narrow, strict=True)]

    return composed(variance)


def uniform(seed: bytes, primes: list[int], degree: int) -> Rows:
    return [_uniform_row(seed, p, degree) for p in primes]


def _uniform_row(seed: bytes, p: int, degree: int) -> list[int]:
    framed = b"".join(
        len(part).to_bytes(8, "big") + part for part in (f"{D} uniform".encode(), seed, p.to_bytes(8, "big"))
    )
    stream = hashlib.shake_128(framed).digest(8 * (3 * degree + 128))
    row = []
    for first in range(0, len(stream), 8):
        value = int.from_bytes(stream[first : first + 8], "little") % 2 ** p.bit_length()
        if value < p:
            row.append(value)
    assert len(row) >= degree
    return row[:degree]


def residues(values: list[int], primes: list[int]) -> Rows:
    return [[value % p for value in values] for p in primes]


def add(left: Rows, right: Rows, primes: list[int]) -> Rows:
    return [
        [(x + y) % p for x, y in zip(a, b, strict=True)] for a, b, p in zip(left, right, primes, strict=True)
    ]


def negate(rows: Rows, primes: list[int]) -> Rows:
    return [[-x % p for x in row] for row, p in zip(rows, primes, strict=True)]


def times(left: Rows, right: Rows, primes: list[int]) -> Rows:
    """The product in R_q: one multiplication of integers a prime (Kronecker substitution)."""
    return [_product(a, b, p) for a, b, p in zip(left, right, primes, strict=True)]


def _product(a: list[int], b: list[int], p: int) -> list[int]:
    degree = len(a)
    width = (2 * p.bit_length() + degree.bit_length()) // 8 + 1
    joined = [int.from_bytes(b"".join(x.to_bytes(width, "little") for x in row), "little") for row in (a, b)]
    product = (joined[0] * joined[1]).to_bytes(2 * degree * width, "little")
    full = [int.from_bytes(product[r * width : (r + 1) * width], "little") for r in range(2 * degree)]
    return [(full[r] - full[r + degree]) % p for r in range(degree)]  # X^N = -1


def pack(values: Sequence[int], bits: int) -> bytes:
    """Pack: eight values take as many whole bytes as one has bits."""
    eights = [values[first : first + 8] for first in range(0, len(values), 8)]
    joined = [sum(value << (k * bits) for k, value in enumerate(eight)) for eight in eights]
    return b"".join(word.to_bytes(bits, "little") for word in joined)[: (len(values) * bits + 7) // 8]


def unpack(data: bytes, bits: int, wanted: int) -> list[int]:
    require(len(data) == (wanted * bits + 7) // 8, "decode")
    values = []
    for first in range(0, len(data), bits):
        word = int.from_bytes(data[first : first + bits], "little")
        values += [(word >> (k * bits)) % 2**bits for k in range(8)]
    require(not any(values[wanted:]) and len(values) >= wanted, "decode")
    return values[:wanted]


def pack_rows(rows: Rows, primes: list[int]) -> bytes:
    """Pack of an element: each row in the bits of its prime, and the rows one after the other."""
    return b"".join(pack(row, p.bit_length()) for row, p in zip(rows, primes, strict=True))


def unpack_rows(data: bytes, primes: list[int], coefficients: int) -> Rows:
    """The element again; refused where the length, the padding or a residue is not right."""
    rows, first = [], 0
    for p in primes:
        length = (coefficients * p.bit_length() + 7) // 8
        rows.append(unpack(data[first : first + length], p.bit_length(), coefficients))
        require(max(rows[-1]) < p, "decode")
        first += length
    require(first == len(data), "decode")
    return rows


def centred(value: int, p: int) -> int:
    return value - p if value > p // 2 else value
