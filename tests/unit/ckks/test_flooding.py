"""The law of the flooding noise, what it is a function of, and how wide it is beside what it hides."""

from __future__ import annotations

import hashlib
import math
from itertools import combinations

import numpy as np
import pytest
from reference import ckks as reference
from reference import ckks_primitives as slow
from scipy import stats

from fedpriv.ckks import modular
from fedpriv.ckks.committee import combine, subsets
from fedpriv.ckks.flooding import MAX_VARIANCE, flood, gauss, subset_flood
from fedpriv.ckks.key import common, part, public_key, share_of
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.ring_params import RingParams
from fedpriv.ckks.security import coefficients_of_key, flood_variance, sum_variance
from fedpriv.errors import UnsafeParameters, UsageError

RING = RingParams.of_bits(8192, 54, 48, 2, 58)
HOLDERS = (1, 3, 4, 7, 9)
SECRETS = {subset: hashlib.sha256(bytes(subset)).digest() for subset in subsets(HOLDERS, 3)}
VARIANCE = 2**88 + 12345
SUM = hashlib.sha256(b"the second half of a sum").digest()


def _own(holder: int) -> dict[tuple[int, ...], bytes]:
    return {subset: secret for subset, secret in SECRETS.items() if holder in subset}


def _flood(holder: int, *, round_: int = 1, second: bytes = SUM, chunk: int = 0) -> np.ndarray:
    return flood(
        RING, HOLDERS, holder, _own(holder), round_=round_, second=second, chunk=chunk, variance=VARIANCE
    )


# Seeds are fixed.  Each bound is one that a correct sampler misses with probability 10^-6 for a random seed.


@pytest.mark.parametrize("variance", [11, 2**56, 2**56 + 1, 5 * 2**66, 2**88 + 12345, MAX_VARIANCE])
def test_a_wide_gaussian_has_its_law(variance: int) -> None:
    count = 200_000
    draws = gauss(b"wide gaussian".ljust(32, b"."), variance, count)
    scaled = draws / math.sqrt(variance)
    assert abs(scaled.mean()) < 4.9 / math.sqrt(count)
    assert abs(np.square(scaled).mean() - 1) < 4.9 * math.sqrt(2 / count)
    assert abs((scaled**4).mean() - 3) < 4.9 * math.sqrt(96 / count)
    assert 3.9 < np.abs(scaled).max() < 6.9
    if variance > 2**20:
        assert stats.kstest(scaled, "norm").pvalue > 1e-6


@pytest.mark.parametrize("variance", [2**60, 5 * 2**66, 2**88 + 12345, MAX_VARIANCE])
def test_no_step_of_the_convolution_shows(variance: int) -> None:
    # 2^h G alone has its lowest h bits zero; G' must hide the steps: every window of six bits below one
    # deviation is uniform (its own error is below e^-(2 pi^2 sigma^2 / 4^width), nothing at these widths).
    draws = gauss(b"steps".ljust(32, b"."), variance, 200_000)
    width = variance.bit_length() // 2
    for low in range(0, width - 6, 4):
        counts = np.bincount((draws >> low) & 63, minlength=64)
        assert stats.chisquare(counts).pvalue > 1e-6, low


def test_the_law_is_the_specifications_word_for_word() -> None:
    for variance in (11, 2**30, 2**56, 2**56 + 1, 2**93 + 7):
        assert gauss(b"w" * 32, variance, 3000).tolist() == slow.gauss(b"w" * 32, variance, 3000)


def test_variances_beyond_reach_are_refused() -> None:
    for variance in (0, -1, MAX_VARIANCE + 1):
        with pytest.raises(UsageError):
            gauss(bytes(32), variance, 4)


def test_the_flood_is_the_same_whoever_answers() -> None:
    floods = {holder: _flood(holder) for holder in HOLDERS}
    total = sum(
        subset_flood(secret, RING.degree, round_=1, second=SUM, chunk=0, variance=VARIANCE)
        for secret in SECRETS.values()
    )
    expected = modular.residues(total, RING.primes)
    for answering in combinations(HOLDERS, 3):
        found = combine(HOLDERS, {holder: floods[holder] for holder in answering}, RING.primes)
        assert np.array_equal(found, expected)
    deviation = math.sqrt(len(SECRETS) * VARIANCE)
    assert abs(float(np.square(total / deviation).mean()) - 1) < 4.9 * math.sqrt(2 / RING.degree)


def test_the_flood_is_a_function_of_round_sum_and_chunk() -> None:
    own = _flood(3)
    assert np.array_equal(own, _flood(3))
    for other in (_flood(3, round_=2), _flood(3, second=SUM[::-1]), _flood(3, chunk=1), _flood(4)):
        assert np.count_nonzero(own[1] == other[1]) == 0
    expected = reference.flood(SECRETS[1, 3, 4], 1, SUM, 0, VARIANCE, reference.Ring(8192, RING.primes, 0))
    found = subset_flood(SECRETS[1, 3, 4], 8192, round_=1, second=SUM, chunk=0, variance=VARIANCE)
    assert found.tolist() == expected


def test_there_is_no_answer_without_a_flood() -> None:
    with pytest.raises(UnsafeParameters, match="gives its key away"):
        flood(RING, HOLDERS, 3, _own(3), round_=1, second=SUM, chunk=0, variance=0)
    for secrets in ({}, SECRETS):
        with pytest.raises(UsageError):
            flood(RING, HOLDERS, 3, secrets, round_=1, second=SUM, chunk=0, variance=VARIANCE)


def test_the_flood_hides_the_measured_noise_of_encryption() -> None:
    # Section 7: what a key opens is within (sigma_e / (2 sigma_f)) sqrt(N T) of what follows from the sums.
    clients, chunks, sums, statistical_bits = 8, 3, 16, 30
    ring = Ring(RING)
    a = common(bytes(32), 1, RING)
    b = public_key([part(ring, a, secret) for secret in SECRETS.values()], RING)
    encryptor = ring.encryptor(np.stack([b, a]))
    first, second = encryptor.zero()
    for _ in range(clients - 1):
        more = encryptor.zero()
        first = modular.add(first, more[0], RING.primes)
        second = modular.add(second, more[1], RING.primes)
    answers = {holder: share_of(ring, HOLDERS, holder, _own(holder)).times(second) for holder in (1, 4, 9)}
    x = modular.add(first, combine(HOLDERS, answers, RING.primes), RING.primes)
    noise = modular.centred(x[0], RING.noise_prime)
    assert np.array_equal(x, modular.residues(noise, RING.primes))

    coefficients = coefficients_of_key(RING.degree, chunks, sums)
    variance = flood_variance(
        sum_variance(RING.degree, len(SECRETS), clients), coefficients, statistical_bits
    )
    measured = float(np.sqrt(np.square(noise).mean()))
    distance = measured / (2 * math.sqrt(variance)) * math.sqrt(coefficients)
    assert 2.0**-32 < distance < 2.0**-statistical_bits
