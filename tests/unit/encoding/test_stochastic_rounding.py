"""Conditional stochastic rounding: the norm is never above the sensitivity, and the mean is near the vector.

Statistical tests fail a correct implementation with probability at most 1e-6 over their seed, which is fixed.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from reference import encoding as reference
from scipy import stats

from fedpriv.encoding import StochasticRounding, rounded_square_bound
from fedpriv.encoding.rounding import BETA, Words
from fedpriv.errors import UnsafeParameters, UsageError

ALPHA = 1e-6


def stream(seed: int) -> Words:
    return np.random.PCG64(seed).random_raw


def on_sphere(rng: np.random.Generator, dimension: int, norm: float) -> np.ndarray:
    raw = rng.normal(size=dimension)
    return raw * (norm / np.linalg.norm(raw))


def test_the_sensitivity_is_the_published_minimum_rounded_up() -> None:
    for clip, scale, dimension in (
        (1.0, 4, 9),
        (0.7391, 12, 1000),
        (1.0, 20, 75_000),
        (3.0, 0, 1),
        (1.0, 3, 5000),
    ):
        r, root = clip * 2.0**scale, math.sqrt(dimension)
        always = r + root
        likely = math.sqrt(r * r + dimension / 4 + math.sqrt(2 * math.log(1 / BETA)) * (r + root / 2))
        rounding = StochasticRounding(clip=clip, scale_log2=scale, dimension=dimension)
        assert rounding.sensitivity - 1 <= min(always, likely) <= rounding.sensitivity


@pytest.mark.parametrize("dimension", [1, 4, 10])
def test_the_chance_of_a_long_draw_is_below_beta_by_exact_enumeration(dimension: int) -> None:
    """The whole law of |Y|^2 in rational arithmetic, for random vectors and for the ones chosen to be bad."""
    rng = np.random.default_rng(dimension)
    worst = 0.0
    for trial in range(60):
        norm = Fraction(int(rng.integers(1, 40)))
        raw = on_sphere(rng, dimension, 1.0) if trial % 3 else np.full(dimension, 1 / math.sqrt(dimension))
        vector = [Fraction(float(x)).limit_denominator(1 << 12) * norm for x in raw]
        r = math.sqrt(float(sum(x * x for x in vector))) * (1 + 1e-12)
        law = reference.square_law(vector)
        for beta in (BETA, 0.1, 1e-3):
            bound = rounded_square_bound(r, dimension, beta) * (1 + 1e-12)
            chance = float(sum(p for square, p in law.items() if square > bound))
            assert chance <= beta
            worst = max(worst, chance / beta)
    assert dimension == 1 or worst > 0.05  # the search comes near enough to mean something


@pytest.mark.parametrize(("scale", "dimension"), [(0, 50), (3, 50), (6, 2000), (20, 2000)])
def test_no_draw_is_longer_than_the_sensitivity(scale: int, dimension: int) -> None:
    rng = np.random.default_rng(scale)
    rounding = StochasticRounding(clip=1.0, scale_log2=scale, dimension=dimension)
    words = stream(scale)
    longest = 0
    for norm in (0.0, 0.5, 1.0, 1.0, 1.0, 1.5, 1e6):
        for _ in range(20):
            out = rounding.round(on_sphere(rng, dimension, 1.0) * norm, words)
            square = sum(int(v) ** 2 for v in out)
            assert square <= rounding.sensitivity**2
            longest = max(longest, square)
    assert longest >= 0.4 * rounding.sensitivity**2


def test_without_the_condition_the_sensitivity_would_be_exceeded() -> None:
    """A broken variant that keeps its first draw is caught, as often as the law of |Y|^2 says."""
    # Halves everywhere, and a dimension for which the bound is nearly an integer: 144 ones are the most.
    rounding = StochasticRounding(clip=8.0, scale_log2=0, dimension=256, beta=0.62)
    assert rounding.sensitivity == 12
    words, kept = stream(2), stream(2)
    too_long = 0
    for _ in range(5000):
        first = (words(256) >> np.uint64(11)).astype(float) * 2.0**-53 < 0.5
        too_long += int(first.sum() > 144)
        assert int(rounding.round(np.full(256, 0.5), kept).sum()) <= 144
    assert stats.binomtest(too_long, 5000, stats.binom.sf(144, 256, 0.5)).pvalue > ALPHA
    assert too_long > 50


def test_the_mean_of_what_leaves_is_the_vector_within_the_bias_bound() -> None:
    dimension, n = 60, 8000
    rounding = StochasticRounding(clip=1.0, scale_log2=2, dimension=dimension)
    vector = on_sphere(np.random.default_rng(8), dimension, 1.0)
    words = stream(8)
    total = np.zeros(dimension)
    for _ in range(n):
        total += rounding.round(vector, words)
    off = np.linalg.norm(total / n - vector * 4)
    # Each draw moves the mean by at most sqrt(d) / n, so by McDiarmid its distance from the expected one is
    # above its own mean, at most sqrt(d / n), by sqrt(d / n) t with probability at most exp(-2 t^2): t = 3.
    assert off <= rounding.bias_bound + 4 * math.sqrt(dimension / n)
    nearest = np.linalg.norm(np.rint(vector * 4) - vector * 4)
    assert off < 0.3 * nearest  # what stochastic rounding is for


def test_a_single_coordinate_is_rounded_up_with_the_chance_of_its_fraction() -> None:
    rounding = StochasticRounding(clip=100.0, scale_log2=0, dimension=1)
    words = stream(3)
    ups = sum(int(rounding.round(np.array([7.3]), words)[0]) == 8 for _ in range(4000))
    assert stats.binomtest(ups, 4000, 0.3).pvalue > ALPHA
    downs = sum(int(rounding.round(np.array([-7.3]), words)[0]) == -8 for _ in range(4000))
    assert stats.binomtest(downs, 4000, 0.3).pvalue > ALPHA


def test_integers_are_left_alone_and_tiny_negatives_round_to_zero() -> None:
    rounding = StochasticRounding(clip=16.0, scale_log2=0, dimension=4)
    assert rounding.round(np.array([3.0, -4.0, 0.0, 12.0]), stream(1)).tolist() == [3, -4, 0, 12]
    assert rounding.round(np.array([-1e-30, 1e-30, 0.0, 0.0]), stream(1)).tolist() == [0, 0, 0, 0]


def test_a_broken_generator_is_refused_after_too_many_draws() -> None:
    rounding = StochasticRounding(clip=1.0, scale_log2=3, dimension=400)
    vector = np.full(400, 1 / 20.0)
    with pytest.raises(UnsafeParameters, match="256 roundings") as caught:
        rounding.round(vector, lambda n: np.zeros(n, dtype=np.uint64))  # every coin says up
    assert "randomness" in caught.value.hint


def test_what_cannot_be_rounded_is_refused() -> None:
    rounding = StochasticRounding(clip=1.0, scale_log2=4, dimension=3)
    for bad in (np.zeros(2), np.zeros((1, 3)), np.zeros(3, np.int64)):
        with pytest.raises(UsageError, match="shape"):
            rounding.round(bad, stream(0))
    for value in (math.nan, math.inf, 1e300):
        with pytest.raises(UsageError, match="NaN"):
            rounding.round(np.array([0.0, value, 0.0]), stream(0))


@pytest.mark.parametrize(
    "changes",
    [{"clip": 0.0}, {"clip": math.inf}, {"dimension": 0}, {"beta": 0.0}, {"beta": 1.0}, {"scale_log2": 1001},
     {"scale_log2": 30}, {"scale_log2": 1000, "clip": 1e300}],
)  # fmt: skip
def test_fields_out_of_range_are_refused(changes: dict[str, float]) -> None:
    fields: dict[str, float] = {"clip": 1.0, "scale_log2": 4, "dimension": 3}
    StochasticRounding(**fields)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        StochasticRounding(**(fields | changes))  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        rounded_square_bound(-1.0, 3)
