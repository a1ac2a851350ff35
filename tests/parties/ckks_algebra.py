"""What an attacker computes with: division in the ring, and nearest points of a plane lattice.

Plain Python integers, nothing of the package.
"""

from __future__ import annotations

from collections.abc import Sequence

Vector = tuple[int, int]


def quotient(numerator: Sequence[int], denominator: Sequence[int], prime: int) -> list[int]:
    """numerator / denominator in Z_p[X]/(X^N + 1), coefficients centred; p = 1 (mod 2N).

    Raises:
        ZeroDivisionError: the denominator is not invertible: for a random one with a chance below N / p.
    """
    degree = len(numerator)
    psi = _root(2 * degree, prime)
    above, below = (
        _transform(_twisted(row, psi, prime), psi * psi % prime, prime) for row in (numerator, denominator)
    )
    if 0 in below:
        raise ZeroDivisionError("not invertible")
    values = [one * pow(other, -1, prime) % prime for one, other in zip(above, below, strict=True)]
    inverse = pow(psi, -1, prime)
    back = _transform(values, inverse * inverse % prime, prime)
    scale = pow(degree, -1, prime)
    return [centred(value * scale % prime, prime) for value in _twisted(back, inverse, prime)]


def centred(value: int, modulus: int) -> int:
    """The representative in -m/2..m/2."""
    value %= modulus
    return value - modulus if value > modulus // 2 else value


def joined(rows: Sequence[Sequence[int]], primes: Sequence[int]) -> tuple[list[int], int]:
    """Residues modulo each prime as residues modulo their product, and the product."""
    modulus = 1
    for prime in primes:
        modulus *= prime
    units = [modulus // prime * pow(modulus // prime, -1, prime) for prime in primes]
    columns = zip(*rows, strict=True)
    return [
        sum(x * unit for x, unit in zip(column, units, strict=True)) % modulus for column in columns
    ], modulus


def short_basis(ratio: int, modulus: int) -> tuple[Vector, Vector]:
    """A shortest basis of the lattice of (x, y) with y = ratio x modulo the modulus (Lagrange, Gauss)."""
    long, short = (0, modulus), (1, ratio % modulus)
    while True:
        if _dot(long, long) < _dot(short, short):
            long, short = short, long
        steps = _rounded(_dot(long, short), _dot(short, short))
        if steps == 0:
            return short, long
        long = (long[0] - steps * short[0], long[1] - steps * short[1])


def nearest_rest(height: int, basis: tuple[Vector, Vector]) -> Vector:
    """(0, height) less a lattice point near it: the shortest such where the basis is much longer than it."""
    (a, b), (c, d) = basis
    determinant = a * d - b * c
    first, second = _rounded(-height * c, determinant), _rounded(height * a, determinant)
    return -first * a - second * c, height - first * b - second * d


def _dot(one: Vector, other: Vector) -> int:
    return one[0] * other[0] + one[1] * other[1]


def _rounded(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def _root(order: int, prime: int) -> int:
    """An element of exactly this order, a power of two."""
    for base in range(2, prime):
        root = pow(base, (prime - 1) // order, prime)
        if pow(root, order // 2, prime) == prime - 1:
            return root
    raise ZeroDivisionError("no such root")


def _twisted(values: Sequence[int], root: int, prime: int) -> list[int]:
    twisted, power = [], 1
    for value in values:
        twisted.append(value * power % prime)
        power = power * root % prime
    return twisted


def _transform(values: list[int], root: int, prime: int) -> list[int]:
    """The values at 1, root, root^2, ... of the polynomial with these coefficients."""
    if len(values) == 1:
        return values
    square = root * root % prime
    even, odd = _transform(values[::2], square, prime), _transform(values[1::2], square, prime)
    odd = _twisted(odd, root, prime)
    low = [(x + y) % prime for x, y in zip(even, odd, strict=True)]
    return low + [(x - y) % prime for x, y in zip(even, odd, strict=True)]
