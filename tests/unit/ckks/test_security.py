"""Noise, flooding and failure: the rules of parameters.md against floating point, exact tails and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.ckks import security
from fedpriv.crypto import Keystream
from fedpriv.dp.samplers import discrete_gaussian

degrees = st.sampled_from([4096, 8192, 16384])
committees = st.integers(1, 126)
coefficients = st.integers(12, 36).map(lambda bits: 1 << bits)


def ternary_sums(rng: np.random.Generator, degree: int, subsets: int, times: int) -> np.ndarray:
    return rng.integers(-1, 2, size=(times, subsets, degree)).sum(axis=1)


@pytest.mark.parametrize(("degree", "subsets"), [(4096, 1), (4096, 10), (16384, 3)])
def test_the_norm_of_a_key_stays_below_its_bound_and_not_far_below(degree: int, subsets: int) -> None:
    keys = ternary_sums(np.random.default_rng(7), degree, subsets, 40)
    norms = (keys**2).sum(axis=1)
    bound = security.secret_square_norm(degree, subsets)
    assert norms.max() < bound
    assert bound < 1.25 * norms.mean()


def test_the_tail_of_the_norm_is_that_of_the_theorem() -> None:
    for degree in (4096, 8192, 16384):
        x = 29.0
        assert math.exp(-x) < 2.0**-41
        proxy = 2.0 / 3.0
        exact = proxy * (degree + 2 * math.sqrt(degree * x) + 2 * x)
        assert exact <= security.secret_square_norm(degree, 1) <= exact + 3


def test_the_noise_of_a_sum_has_at_most_the_deviation_that_is_counted() -> None:
    """⟨r, s⟩ rounded to an integer, for a client; products in Z[X]/(X^N + 1) by the FFT of a 2N-th root."""
    rng, degree, clients = np.random.default_rng(8), 4096, 12
    twist = np.exp(1j * np.pi * np.arange(degree) / degree)
    for subsets in (1, 10):
        secret = np.fft.fft(ternary_sums(rng, degree, subsets, 1)[0] * twist)
        remainders = rng.random((clients, degree)) - 0.5
        products = (np.fft.ifft(np.fft.fft(remainders * twist) * secret) / twist).real
        deviation = math.sqrt(security.sum_variance(degree, subsets, clients) / clients)
        # 12 * 4096 coefficients: the empirical deviation errs by 1 % at one standard error, taken six times.
        assert np.rint(products).std() < deviation
        assert deviation < 1.25 * np.rint(products).std()


def test_what_the_special_prime_leaves_is_at_most_a_half() -> None:
    """The worst case of e u + e_0 + e_1 s, with |e| <= 45 a subset, |e_0|, |e_1| <= 21, |s| <= subsets."""
    for degree in (4096, 8192, 16384):
        for subsets in (1, 10, 126):
            worst = degree * 45 * subsets + 21 + degree * 21 * subsets
            least = security.least_special_prime(degree, subsets)
            assert worst / least <= 0.5
            assert least < 1 << (security.LEAST_SPECIAL_BITS - 1)


def test_errors_of_keys_stay_within_what_the_special_prime_is_counted_for() -> None:
    tail = 2 * math.exp(-(46**2) / (2 * security.ERROR_VARIANCE))
    assert tail < 2.0**-128
    draws = discrete_gaussian(security.ERROR_VARIANCE, 1 << 16, Keystream(bytes(32)).words)
    assert abs(draws).max() < 45


@given(degree=degrees, subsets=committees, total=coefficients, bits=st.integers(20, 64))
def test_flooding_keeps_the_advantage_below_what_was_asked(
    degree: int, subsets: int, total: int, bits: int
) -> None:
    variance = security.sum_variance(degree, subsets, 10)
    flood = security.flood_variance(variance, total, bits)
    advantage = math.sqrt(variance / flood) / 2 * math.sqrt(total)
    assert advantage <= 2.0**-bits / 1.049
    assert advantage >= 2.0**-bits / 1.051


@given(total=coefficients, variance=st.integers(1, 1 << 100))
def test_a_correct_sum_is_refused_with_2_to_the_minus_41_at_most(total: int, variance: int) -> None:
    limit = security.least_noise_prime(variance, total) >> security.ROOM_BITS
    log2_failure = 1 + math.log2(total) - limit * limit / (2 * variance) / math.log(2)
    assert log2_failure <= -41
    assert limit * limit >= security.tail_square(total) * variance > (limit - 1) ** 2


@given(degree=degrees, subsets=committees, clients=st.integers(1, 1000), total=coefficients)
def test_more_of_anything_never_takes_less_noise(degree: int, subsets: int, clients: int, total: int) -> None:
    variance = security.sum_variance(degree, subsets, clients)
    assert variance < security.sum_variance(degree, subsets, clients + 1)
    assert variance <= security.sum_variance(degree, subsets + 1, clients)
    assert variance < security.sum_variance(2 * degree, subsets, clients)
    flood = security.flood_variance(variance, total, 30)
    assert flood < security.flood_variance(variance, total, 31)
    assert flood < security.flood_variance(variance, total + 1, 30)
    assert security.least_noise_prime(flood, total) <= security.least_noise_prime(flood + 1, total)
    assert security.least_noise_prime(flood, total) <= security.least_noise_prime(flood, 2 * total)


def test_the_subsets_of_a_committee_are_counted() -> None:
    assert [security.subsets_of(*of) for of in ((5, 4), (9, 6), (3, 2), (10, 1))] == [10, 126, 3, 1]
