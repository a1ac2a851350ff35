"""Shamir's secret sharing (CACM 22(11), 1979) over the field of `fedpriv.crypto.field`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from fedpriv.crypto.field import PRIME, uniform_element
from fedpriv.errors import UsageError

__all__ = ["combine", "lagrange_at_zero", "split"]

_HORNER_STEPS = 16  # between two reductions: points are client numbers, so the value grows by few bits a step


def split(
    secret: int, *, threshold: int, points: Sequence[int], rand: Callable[[int], bytes]
) -> dict[int, int]:
    """Share a secret so that any ``threshold`` shares give it and fewer say nothing.

    Args:
        secret: a field element.
        threshold: t, at least 1 and at most the number of points.
        points: distinct, each in 1..prime-1.
        rand: entropy; called t-1 times for 48 bytes, for the coefficients of x, x**2, ... in this order.

    Returns:
        The share of each point.

    Raises:
        UsageError: any of these is broken.

    >>> shares = split(42, threshold=2, points=[1, 2, 3], rand=lambda n: b"x" * n)
    >>> combine({1: shares[1], 3: shares[3]})
    42
    """
    if not 0 <= secret < PRIME:
        raise UsageError("A secret to share is a field element.")
    if not 1 <= threshold <= len(points):
        raise UsageError(f"A threshold of {threshold} does not fit {len(points)} shares.")
    if len(set(points)) != len(points) or not all(0 < point < PRIME for point in points):
        raise UsageError("The points of a sharing are distinct and not zero.")
    coefficients = [secret] + [uniform_element(rand) for _ in range(threshold - 1)]
    coefficients.reverse()
    blocks = [coefficients[i : i + _HORNER_STEPS] for i in range(0, threshold, _HORNER_STEPS)]
    shares: dict[int, int] = {}
    for point in points:
        value = 0
        for block in blocks:
            for coefficient in block:
                value = value * point + coefficient
            value %= PRIME
        shares[point] = value
    return shares


def lagrange_at_zero(points: Sequence[int]) -> tuple[int, ...]:
    """The weights with which the values at ``points`` give the value at zero.

    Raises:
        UsageError: no points, or points that are not distinct and in 1..2**31-1.
    """
    if not points or len(set(points)) != len(points) or not all(0 < point < 2**31 for point in points):
        raise UsageError("Interpolation needs distinct points from 1 to 2**31 - 1.")
    # The weight of x is the product of all points over x and over the product of (other - x): one inverse in
    # all, by inverting the product of the denominators and taking it apart again (Montgomery's trick).
    denominators = [x * product % PRIME for x, product in zip(points, _differences(points), strict=True)]
    running = [1]
    for denominator in denominators:
        running.append(running[-1] * denominator % PRIME)
    inverse = prod(points) * pow(running[-1], -1, PRIME) % PRIME
    weights: list[int] = []
    for denominator, before in zip(reversed(denominators), reversed(running[:-1]), strict=True):
        weights.append(inverse * before % PRIME)
        inverse = inverse * denominator % PRIME
    return tuple(reversed(weights))


def _differences(points: Sequence[int]) -> list[int]:
    """For each point the product of (other - point), exactly; as many factors at once as 64 bits hold."""
    ids = np.asarray(points, dtype=np.int64)
    at_once = 62 // int(ids.max()).bit_length()
    factors = np.ones((ids.size, -(-ids.size // at_once) * at_once), dtype=np.int64)
    np.subtract(ids, ids[:, np.newaxis], out=factors[:, : ids.size])
    np.fill_diagonal(factors, 1)
    return [prod(row) for row in factors.reshape(ids.size, -1, at_once).prod(axis=2).tolist()]


def combine(shares: Mapping[int, int]) -> int:
    """The secret that t shares (point -> value) give; fewer or false ones give some other element."""
    points = tuple(shares)
    weights = lagrange_at_zero(points)
    return sum(weight * shares[point] for weight, point in zip(weights, points, strict=True)) % PRIME
