"""The samplers draw from the stated law.

Every statistical test here fails a correct sampler with probability at most 1e-6 over its seed; the seeds are
fixed, so a run either always passes or always fails.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from reference import dp as reference
from scipy import stats

from fedpriv.dp import NoisePlan, discrete_gaussian, integer_sampler, poisson_sample, samplers, skellam
from fedpriv.dp.integer_sampler import DISCRETE_GAUSSIAN, SKELLAM, Envelope, Law, envelope, table
from fedpriv.errors import UsageError

ALPHA = 1e-6


LAWS = pytest.mark.parametrize("law", [SKELLAM, DISCRETE_GAUSSIAN], ids=lambda law: law.name.split()[0])


def stream(seed: int) -> samplers.Words:
    return np.random.PCG64(seed).random_raw


def assert_binned_law(draws: np.ndarray, variance: int, cells: int = 200) -> None:
    """Chi-square over cells of nearly equal probability under the reference table."""
    radius = 9 * math.isqrt(variance) + 40
    table = reference.skellam_table(variance, radius)
    edges = np.unique(np.searchsorted(np.cumsum(table), np.arange(1, cells) / cells)) - radius
    index = np.searchsorted(edges, draws, side="left")
    expected = np.add.reduceat(table, np.concatenate([[0], edges + radius + 1]))
    observed = np.bincount(index, minlength=expected.size)
    keep = expected * draws.size > 20
    assert keep.all()
    assert stats.chisquare(observed, expected / expected.sum() * draws.size).pvalue > ALPHA


@pytest.mark.parametrize("variance", [1, 2, 3, 50, 2**12, 2**18, 2**18 + 1, 10**6])
def test_binned_law(variance: int) -> None:
    assert_binned_law(skellam(variance, 1_000_000, stream(variance)), variance)


@pytest.mark.parametrize("variance", [2**30, 2**42 + 12345, 2**60])
def test_large_variances_follow_the_normal_law_to_their_distance_from_it(variance: int) -> None:
    draws = skellam(variance, 1_000_000, stream(1)) / math.sqrt(variance)
    assert stats.kstest(draws, "norm").pvalue > ALPHA
    cells = 100 if variance <= 2**30 else 5000  # at 2^30 a cell is still hundreds of integers wide
    index = (stats.norm.cdf(draws) * cells).astype(int)
    assert stats.chisquare(np.bincount(index, minlength=cells)).pvalue > ALPHA


@pytest.mark.parametrize("variance", [2, 2**18, 2**19, 2**42])
def test_moments(variance: int) -> None:
    n = 2_000_000
    draws = skellam(variance, n, stream(9)) / math.sqrt(variance)
    z = stats.norm.isf(ALPHA / 8)
    fourth = 3 + 1 / variance
    assert abs(draws.mean()) < z / math.sqrt(n)
    assert abs((draws**2).mean() - 1) < z * math.sqrt((fourth - 1) / n)
    assert abs((draws**3).mean()) < z * math.sqrt((15 + 25 / variance + 1 / variance**2) / n)
    eighth = 105 + 490 / variance + 119 / variance**2 + 1 / variance**3
    assert abs((draws**4).mean() - fourth) < z * math.sqrt((eighth - fourth**2) / n)


@pytest.mark.parametrize("variance", [2**19, 2**42])
def test_tails_have_their_weight(variance: int) -> None:
    n = 4_000_000
    draws = skellam(variance, n, stream(11))
    for t in (2.0, 3.0, 4.0, 4.5):
        count = int((np.abs(draws) > t * math.sqrt(variance)).sum())
        assert stats.binomtest(count, n, 2 * stats.norm.sf(t)).pvalue > ALPHA / 8


@pytest.mark.parametrize("variance", [2**24, 2**42, 2**60])
def test_the_lowest_bits_are_uniform(variance: int) -> None:
    draws = skellam(variance, 1_000_000, stream(5))
    assert stats.chisquare(np.bincount(draws & 63, minlength=64)).pvalue > ALPHA


def test_draws_are_uncorrelated_in_sequence() -> None:
    n = 1_000_000
    draws = skellam(2**42, n, stream(6)) / 2.0**21
    for lag in (1, 2, 3):
        assert abs((draws[lag:] * draws[:-lag]).mean()) < stats.norm.isf(ALPHA / 6) / math.sqrt(n - lag)


def test_the_sum_of_shares_has_the_law_of_the_sum() -> None:
    shares = [37, 37, 41, 90, 1]
    total = sum(skellam(v, 1_000_000, stream(100 + i)) for i, v in enumerate(shares))
    assert_binned_law(np.asarray(total), sum(shares), cells=60)
    large = [2**18, 2**18 + 7, 2**19]  # table and envelope together
    total = sum(skellam(v, 1_000_000, stream(200 + i)) for i, v in enumerate(large))
    assert_binned_law(np.asarray(total), sum(large))


@pytest.mark.parametrize(("survivors", "colluders"), [(6, 1), (7, 1), (8, 0)])
def test_the_noise_of_honest_survivors_has_the_accounted_variance(survivors: int, colluders: int) -> None:
    """The headline: what the event says is what the sum carries (two-sided, error rate 1e-6)."""
    plan = NoisePlan(
        trust="distributed", clients=8, min_survivors=6, max_colluders=1, noise_multiplier=0.935,
        sensitivity=2**21, dimension=400_000, sampling_rate=0.05,
    )  # fmt: skip
    honest = survivors - colluders
    noise = sum(skellam(plan.share_variance, plan.dimension, stream(honest * 10 + i)) for i in range(honest))
    event = plan.event_against("server", survivors=survivors, colluders=colluders)
    assert event is not None
    ratio = float((np.asarray(noise, dtype=np.float64) ** 2).mean()) / event.noise_variance
    assert abs(ratio - 1) < stats.norm.isf(ALPHA / 2) * math.sqrt(2 / plan.dimension)
    # The test has teeth: one share more or less is 12% of the variance or more, far outside.
    assert 5 * stats.norm.isf(ALPHA / 2) * math.sqrt(2 / plan.dimension) < 1 / 8


@LAWS
def test_the_alias_table_holds_the_integer_weights_exactly(law: Law) -> None:
    for variance in (1, 6, 3000):
        made = table(law, variance)
        weights = law.integer_weights(variance, 128)
        mass = [0] * (1 << made.alias.column_bits)
        capacity = 1 << (128 - made.alias.column_bits)
        for column, keep in enumerate(made.alias.keep):
            assert 0 <= keep <= capacity
            mass[column] += keep
            mass[int(made.alias.other[column])] += capacity - keep
        assert mass[: len(weights)] == weights
        assert not any(mass[len(weights) :])


@pytest.mark.parametrize("low_word_accepts", [True, False])
def test_a_tie_in_the_first_word_is_decided_by_the_second(low_word_accepts: bool) -> None:
    made = table(SKELLAM, 3000)
    bits = made.alias.column_bits
    column = next(
        c for c, t in enumerate(made.alias.keep) if t & (2**64 - 1) > 0 and t >> 64 < 2 ** (64 - bits)
    )
    low = made.alias.keep[column] & (2**64 - 1)
    first = (made.alias.keep[column] >> 64 << bits) | column
    queue = [first, low - 1 if low_word_accepts else low]

    def words(count: int) -> np.ndarray:
        return np.array([queue.pop(0) for _ in range(count)], dtype=np.uint64)

    expected = column if low_word_accepts else int(made.alias.other[column])
    assert skellam(3000, 1, words)[0] == expected - made.radius
    assert queue == []


@LAWS
@pytest.mark.parametrize("variance", [2**18 + 1, 2**27, 2**42, 2**60])
def test_the_envelope_is_above_the_law_and_the_squeeze_below_it(law: Law, variance: int) -> None:
    made = envelope(law, variance)
    assert sum(made.heights) == 1 << 64
    half, width = len(made.heights) // 2, 1 << made.offset_bits
    assert half * width > law.tail_radius(variance)
    for bin_ in (0, 1000, half - 700, half - 1, half, half + 1, half + 300, half + 2000, 2 * half - 1):
        start = (bin_ - half) * width
        ends = (start, start + width - 1)
        height = Fraction(made.heights[bin_])
        chances = [made.amplitude * law.precise_ratio(k, variance) / height for k in ends]
        assert max(chances) <= 1
        assert Fraction(int(made.sure[bin_]), 1 << (64 - made.offset_bits)) <= min(chances)


@LAWS
def test_float64_decides_as_the_exact_comparison_would(law: Law, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the undecided zone widened to everything, exact arithmetic takes over and changes no draw."""
    plain = integer_sampler.draw(law, 2**42, 30_000, stream(17))
    resolved = []
    original = Envelope._resolve

    def counting(self: Envelope, k: int, bin_: int, coin: int, words: samplers.Words) -> bool:
        resolved.append(k)
        return original(self, k, bin_, coin, words)

    monkeypatch.setattr(Envelope, "_resolve", counting)
    monkeypatch.setattr(integer_sampler, "UNDECIDED", 1.0)
    assert np.array_equal(integer_sampler.draw(law, 2**42, 30_000, stream(17)), plain)
    assert len(resolved) > 40


@LAWS
def test_more_than_99_percent_are_accepted_without_looking(law: Law) -> None:
    for variance in (2**19, 2**30, 2**41, 2**42, 2**60):
        made = envelope(law, variance)
        sure = made.sure.astype(np.float64) / 2.0 ** (64 - made.offset_bits)
        weight = np.array(made.heights, dtype=np.float64) / 2.0**64
        assert float((sure * weight).sum()) > 0.99


def test_the_same_words_give_the_same_draws() -> None:
    assert np.array_equal(skellam(2**42, 70_000, stream(3)), skellam(2**42, 70_000, stream(3)))


@pytest.mark.parametrize("sampler", [skellam, discrete_gaussian])
def test_the_edges_of_the_range(sampler: Callable[..., np.ndarray]) -> None:
    assert not sampler(0, 5, stream(0)).any()
    assert sampler(9, 0, stream(0)).shape == (0,)
    for variance, size in ((-1, 1), (2**60 + 1, 1), (1, -1)):
        with pytest.raises(UsageError):
            sampler(variance, size, stream(0))


def test_the_stream_of_skellam_draws_is_what_it_always_was() -> None:
    """A replayed run draws the noise that it drew: the digest is of the first release's draws."""
    digest = hashlib.sha256()
    for variance in (1, 2**12, 2**18, 2**18 + 1, 2**30 + 5, 2**42, 2**60):
        digest.update(skellam(variance, 40_000, stream(variance)).astype("<i8").tobytes())
    assert digest.hexdigest() == "b0c062334acd2de7bde05eab0b1142341e63962cfbfe610312ecbe0cb2f1a960"


def test_poisson_sampling_takes_each_record_at_its_rate() -> None:
    n, rate, times = 2000, 0.05, 400
    words = stream(8)
    batches = [poisson_sample(n, rate, words) for _ in range(times)]
    sizes = np.array([b.size for b in batches])
    assert stats.binomtest(int(sizes.sum()), n * times, rate).pvalue > ALPHA
    spread = sizes.var() / (n * rate * (1 - rate))  # a fixed-size batch would have none
    assert abs(spread - 1) < stats.norm.isf(ALPHA / 2) * math.sqrt(2 / times)
    counts = np.bincount(np.concatenate(batches), minlength=n)
    assert stats.chisquare(counts, np.full(n, counts.mean())).pvalue > ALPHA
    assert all((np.diff(b) > 0).all() for b in batches)


def test_poisson_sampling_rounds_the_rate_down() -> None:
    rate = 0.3
    threshold = math.floor(Fraction(rate) * 2**64)
    for word, chosen in ((threshold - 1, 1), (threshold, 0)):
        assert poisson_sample(1, rate, lambda n, w=word: np.array([w] * n, dtype=np.uint64)).size == chosen
    assert poisson_sample(4, 0.0, stream(1)).size == 0
    assert poisson_sample(0, 0.5, stream(1)).size == 0
    assert poisson_sample(4, 1.0, stream(1)).tolist() == [0, 1, 2, 3]
    for count, bad in ((-1, 0.5), (1, 1.5), (1, -0.1), (1, math.nan)):
        with pytest.raises(UsageError):
            poisson_sample(count, bad, stream(1))
