"""Slow, obvious versions of what fedpriv.dp computes, written from protocols/dp/spec.md alone.

Everything here is a sum or an integral of the definition: Poisson probabilities convolved term by term, the
normal distribution function, divergences as sums over outcomes.  Nothing is imported from the package.
"""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
from numpy.typing import NDArray
from scipy import signal, special, stats


def skellam_pmf(k: int, variance: float) -> mpmath.mpf:
    """P[X - Y = k] for independent X, Y ~ Poisson(variance / 2), by the sum over Y (60 digits)."""
    with mpmath.workdps(60):
        half = mpmath.mpf(variance) / 2
        total = mpmath.mpf(0)
        middle = int(half)
        spread = 60 + 25 * math.isqrt(int(half) + 1)
        for y in range(max(0, middle - spread - abs(k)), middle + spread + abs(k)):
            if y + k >= 0:
                log = (2 * y + k) * mpmath.log(half) - mpmath.loggamma(y + 1) - mpmath.loggamma(y + k + 1)
                total += mpmath.exp(log - 2 * half)
        return total


def skellam_inversion(k: int, variance: int) -> mpmath.mpf:
    """P[X - Y = k] by inverting the characteristic function e^{mu (cos u - 1)} on equispaced points.

    The rule on M points gives the sum of P over k + M Z; M puts the neighbours 40 deviations beyond k.
    """
    with mpmath.workdps(220):
        points = abs(k) + 40 * (math.isqrt(variance) + 20)
        total = mpmath.mpf(1)
        for j in range(1, points // 2 + 1):
            u = 2 * mpmath.pi * j / points
            exponent = 2 * variance * mpmath.sin(u / 2) ** 2
            if exponent > 500:
                break
            total += (1 if 2 * j == points else 2) * mpmath.exp(-exponent) * mpmath.cos(k * u)
        return total / points


def skellam_best(k: int, variance: int) -> mpmath.mpf:
    """P[X - Y = k] by the Bessel function where its power series is quick, else by inversion."""
    if variance <= 1 << 12:
        return mpmath.besseli(k, variance) * mpmath.exp(-variance)
    return skellam_inversion(k, variance)


def skellam_table(variance: int, radius: int) -> NDArray[np.float64]:
    """P(-radius..radius) in float64 by convolving two Poisson tables; for variances up to about 10^6."""
    half = variance / 2
    spread = radius + 60 + int(25 * math.sqrt(half + 1))
    low = max(0, int(half) - spread)
    poisson = stats.poisson.pmf(np.arange(low, int(half) + spread), half)
    # Term by term where it can be: every entry then has full relative precision, also deep in the tails.
    convolve = np.convolve if len(poisson) < 20_000 else signal.convolve
    full = convolve(poisson, poisson[::-1])
    centre = len(poisson) - 1
    return full[centre - radius : centre + radius + 1]


def rounded_gaussian_pmf(k: int, variance: float) -> mpmath.mpf:
    """P[round(N(0, variance)) = k], 60 digits."""
    with mpmath.workdps(60):
        root = mpmath.sqrt(2 * mpmath.mpf(variance))
        half = mpmath.mpf(1) / 2
        return (mpmath.erfc((abs(k) - half) / root) - mpmath.erfc((abs(k) + half) / root)) / 2


def exact_distances(variance: int, radius: int, stride: int = 1) -> tuple[float, float, float]:
    """(TV, KL(P||Q), sum (sqrt P - sqrt Q)^2) of Skellam against rounded Gaussian, by the definition.

    With a stride only every stride-th integer is evaluated and counted stride times: KL and the last sum are
    sums of smooth functions of k / sqrt(variance), for which that rule is exact to far more digits than are
    compared (TV has kinks, and a few digits less).
    """
    with mpmath.workdps(60):
        tv = kl = hellinger = mpmath.mpf(0)
        for k in range(0, radius + 1, stride):
            p, q = skellam_best(k, variance), rounded_gaussian_pmf(k, variance)
            weight = stride * (1 if k == 0 else 2)
            tv += weight * abs(p - q) / 2
            kl += weight * (p * mpmath.log(p / q) - p + q)
            hellinger += weight * (mpmath.sqrt(p) - mpmath.sqrt(q)) ** 2
        return float(tv), float(kl), float(hellinger)


def renyi(p: NDArray[np.float64], q: NDArray[np.float64], order: float) -> float:
    """D_order(P || Q) of two probability tables."""
    keep = p > 0
    logs = order * np.log(p[keep]) + (1 - order) * np.log(q[keep])  # powers would overflow in the tails
    return float(special.logsumexp(logs)) / (order - 1)


def hockey_stick(p: NDArray[np.float64], q: NDArray[np.float64], epsilon: float) -> float:
    """Sum of the positive part of p - e^epsilon q."""
    return float(np.sum(np.maximum(p - math.exp(epsilon) * q, 0.0)))


def sampled_pair(
    variance: int, sensitivity: int, rate: float, radius: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One coordinate of a round with and without one record of value ``sensitivity``: (mixture, noise)."""
    table = skellam_table(variance, radius + sensitivity)
    noise = table[sensitivity : sensitivity + 2 * radius + 1]
    moved = table[: 2 * radius + 1]
    return (1 - rate) * noise + rate * moved, noise


def sampled_gaussian_delta(multiplier: float, rate: float, epsilon: float) -> float:
    """Exact hockey-stick divergence of one Poisson-sampled Gaussian round, the larger of both directions."""
    x = np.linspace(-14 * multiplier, 14 * multiplier + 1, 400_001)
    noise = stats.norm.pdf(x, 0.0, multiplier)
    mixture = (1 - rate) * noise + rate * stats.norm.pdf(x, 1.0, multiplier)
    step = x[1] - x[0]
    return step * max(hockey_stick(mixture, noise, epsilon), hockey_stick(noise, mixture, epsilon))


def composed_gaussian_delta_lower(multiplier: float, rate: float, rounds: int, epsilon: float) -> float:
    """A *lower* bound of delta after ``rounds`` rounds: losses rounded down on a grid and convolved."""
    width = 2e-3
    x = np.linspace(-12 * multiplier, 12 * multiplier + 1, 200_001)
    step = x[1] - x[0]
    best = 0.0
    noise = stats.norm.pdf(x, 0.0, multiplier)
    mixture = (1 - rate) * noise + rate * stats.norm.pdf(x, 1.0, multiplier)
    for upper, lower in ((mixture, noise), (noise, mixture)):
        keep = (upper > 0) & (lower > 0)
        loss = np.floor(np.log(upper[keep] / lower[keep]) / width).astype(np.int64)
        first = int(loss.min())
        once = np.bincount(loss - first, weights=upper[keep] * step)
        total = np.ones(1)
        for _ in range(rounds):
            total = np.convolve(total, once)
        values = width * (rounds * first + np.arange(total.size))
        best = max(best, float(np.sum(total * np.maximum(0.0, -np.expm1(epsilon - values)))))
    return best


def quantise_one(row: list[float], scale_log2: int, bound: int) -> list[int] | None:
    """Round one row to the grid in rational arithmetic; None when its norm exceeds ``bound``."""
    scale = Fraction(2) ** scale_log2
    integers = [round(Fraction(value) * scale) for value in row]
    return integers if sum(value * value for value in integers) <= bound * bound else None


def discrete_gaussian_table(variance: float, radius: int) -> NDArray[np.float64]:
    """N_Z(0, variance) on -radius..radius, normalised over a range in which e^-400 is left out."""
    far = max(radius, int(30 * math.sqrt(variance)) + 2)
    k = np.arange(-far, far + 1, dtype=np.float64)
    weights = np.exp(-k * k / (2 * variance))
    return (weights / weights.sum())[far - radius : far + radius + 1]


def summed_shares_table(share_variance: float, shares: int, radius: int) -> NDArray[np.float64]:
    """The sum of independent discrete Gaussians on -radius..radius, convolved term by term."""
    wide = radius + int(14 * math.sqrt(share_variance * shares)) + 4
    one = discrete_gaussian_table(share_variance, wide)
    total = one
    for _ in range(shares - 1):
        total = np.convolve(total, one)[wide : 3 * wide + 1]
    return total[wide - radius : wide + radius + 1]


def shifted_pair(
    table: NDArray[np.float64], shift: int, rate: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mixture, noise) for one record of value ``shift`` on a table of odd length 2 (radius + shift) + 1."""
    noise = table[shift : len(table) - shift]
    moved = table[: len(table) - 2 * shift]
    return (1 - rate) * noise + rate * moved, noise


def group_tables(
    table: NDArray[np.float64], shift: int, rate: float, k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mixture, noise) for k records of value ``shift``, each in the round with probability ``rate``."""
    edge = k * shift
    noise = table[edge : len(table) - edge]
    mixture = np.zeros_like(noise)
    for j in range(k + 1):
        chance = math.comb(k, j) * rate**j * (1 - rate) ** (k - j)
        mixture += chance * table[edge - j * shift : len(table) - edge - j * shift]
    return mixture, noise


def discrete_gaussian_distances(share_variance: int, shares: int) -> tuple[float, float]:
    """(TV, sum (sqrt P - sqrt Q)^2) of summed shares against the rounded Gaussian, by the definition."""
    with mpmath.workdps(40):
        variance = share_variance * shares
        radius = 13 * math.isqrt(variance) + 20
        v = mpmath.mpf(share_variance)
        one = [mpmath.exp(-(k * k) / (2 * v)) for k in range(-radius, radius + 1)]
        norm = mpmath.fsum(one)
        one = [weight / norm for weight in one]
        total = one
        for _ in range(shares - 1):
            total = [
                mpmath.fsum(
                    total[i] * one[k - i + radius]
                    for i in range(max(0, k - radius), min(2 * radius, k + radius) + 1)
                )
                for k in range(2 * radius + 1)
            ]
        tv = hellinger = mpmath.mpf(0)
        for k in range(-radius, radius + 1):
            p, q = total[k + radius], rounded_gaussian_pmf(k, variance)
            tv += abs(p - q) / 2
            hellinger += (mpmath.sqrt(p) - mpmath.sqrt(q)) ** 2
        return float(tv), float(hellinger)


def rounds_of_one_unit(rounds: int, cohorts: int) -> int:
    """7.12: the most of these rounds that any one unit is in, counted one by one."""
    taken = [0] * cohorts
    for round_ in range(rounds):
        taken[round_ % cohorts] += 1
    return max(taken)


def solved_noise(diagonals: list[float], fresh: NDArray[np.float64]) -> NDArray[np.float64]:
    """C^-1 Z for the banded lower triangular Toeplitz C, by a dense solve."""
    rounds = len(fresh)
    matrix = np.zeros((rounds, rounds))
    for m, value in enumerate(diagonals):
        matrix += np.diag(np.full(rounds - m, value), -m) if m < rounds else 0.0
    return np.linalg.solve(matrix, fresh)
