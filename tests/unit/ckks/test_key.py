"""What follows from a subset's secret, against the specification's words and against ring arithmetic."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from reference import ckks as reference
from reference import ckks_primitives as slow

from fedpriv.ckks import modular
from fedpriv.ckks.committee import combine, subsets
from fedpriv.ckks.key import (
    Share,
    common,
    key_name,
    part,
    public_key,
    renewed_secret,
    secret_polynomial,
    share_of,
    subset_secret,
    ternary,
    uniform,
)
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.ring_params import RingParams
from fedpriv.errors import UsageError

PARAMS = RingParams.of_bits(4096, 17, 45, 1, 47)
SLOW = reference.Ring(PARAMS.degree, PARAMS.primes, PARAMS.special_prime)
SESSION = b"session".ljust(32, b"-")
HOLDERS = (1, 4, 6)
SECRETS = {subset: hashlib.sha256(bytes(subset)).digest() for subset in subsets(HOLDERS, 2)}


def _own(holder: int) -> dict[tuple[int, ...], bytes]:
    return {subset: secret for subset, secret in SECRETS.items() if holder in subset}


@pytest.fixture(scope="module")
def ring() -> Ring:
    return Ring(PARAMS)


def test_ternary_is_the_stream_without_its_255s_modulo_three() -> None:
    for seed in (bytes(32), b"t" * 32):
        assert ternary(seed, 20_000).tolist() == slow.ternary(seed, 20_000)
        assert ternary(seed, 100).tolist() == ternary(seed, 20_000)[:100].tolist()


def test_ternary_has_each_value_a_third_of_the_time() -> None:
    counts = Counter(ternary(b"u" * 32, 300_000).tolist())
    assert set(counts) == {-1, 0, 1}
    assert all(abs(count - 100_000) < 6 * 258.2 for count in counts.values())  # 6 sigma: fails once in 10^8


def test_uniform_is_as_specified_and_covers_the_range() -> None:
    primes = [PARAMS.noise_prime, 40961, *PARAMS.key_primes[1:]]  # 40961: a third is left out
    rows = uniform(b"s" * 32, primes, 4096)
    for row, prime, expected in zip(rows, primes, slow.uniform(b"s" * 32, primes, 4096), strict=True):
        assert row.tolist() == expected
        assert 0 <= int(row.min()) < prime // 100
        assert prime - prime // 100 < int(row.max()) < prime


def test_the_common_half_differs_by_key_number_and_session() -> None:
    a = common(SESSION, 1, PARAMS)
    assert a.shape == (3, 4096)
    assert a.dtype == np.uint64
    assert a.tolist() == reference.common(SESSION, 1, SLOW)
    for other in (common(SESSION, 2, PARAMS), common(b"x" * 32, 1, PARAMS)):
        assert np.count_nonzero(a[1] == other[1]) == 0


def test_a_subsets_secret_needs_each_contribution() -> None:
    dealt = {1: b"1" * 32, 4: b"4" * 32}
    secret = subset_secret(SESSION, 7, (1, 4), dealt)
    assert secret == reference.subset_secret(SESSION, 7, (1, 4), dealt)
    assert secret == subset_secret(SESSION, 7, (1, 4), {4: dealt[4], 1: dealt[1]})
    others = [
        subset_secret(SESSION, 8, (1, 4), dealt),
        subset_secret(SESSION, 7, (1, 4, 6), dealt),
        subset_secret(SESSION, 7, (1, 4), {1: dealt[1]}),
        subset_secret(SESSION, 7, (1, 4), {1: dealt[4], 4: dealt[1]}),
        renewed_secret(secret, 8),
        renewed_secret(secret, 9),
    ]
    assert len({secret, *others}) == 7
    assert renewed_secret(secret, 8) == reference.again(secret, 8)


def test_contributions_that_cannot_be_are_refused() -> None:
    for dealt in ({}, {6: bytes(32)}, {1: bytes(31)}):
        with pytest.raises(UsageError):
            subset_secret(SESSION, 1, (1, 4), dealt)


def test_a_part_of_the_public_key_is_an_rlwe_sample_of_its_secret(ring: Ring) -> None:
    secret = SECRETS[1, 4]
    a = common(SESSION, 1, PARAMS)
    b = part(ring, a, secret)
    assert b.tolist() == reference.part(a.tolist(), secret, SLOW)
    assert secret_polynomial(secret, 4096).tolist() == reference.secret_of(secret, SLOW)


def test_the_public_key_and_its_name(ring: Ring) -> None:
    a = common(SESSION, 3, PARAMS)
    parts = [part(ring, a, secret) for secret in SECRETS.values()]
    b = public_key(parts, PARAMS)
    total = sum(part_.astype(object) for part_ in parts)
    assert np.array_equal(b, (total % np.array(PARAMS.key_primes, dtype=object)[:, None]).astype(np.uint64))
    name = key_name(SESSION, 3, HOLDERS, b, PARAMS)
    packed = slow.pack_rows(b.tolist(), list(PARAMS.key_primes))
    assert name == reference.key_name(SESSION, 3, HOLDERS, packed)
    changed = b.copy()
    changed[0, 0] ^= np.uint64(1)
    names = {name, key_name(SESSION, 4, HOLDERS, b, PARAMS), key_name(SESSION, 3, (1, 4), b, PARAMS)}
    assert len(names | {key_name(SESSION, 3, HOLDERS, changed, PARAMS)}) == 4


def test_shares_of_any_t_holders_decrypt_and_agree_with_the_reference(ring: Ring) -> None:
    a = common(SESSION, 1, PARAMS)
    b = public_key([part(ring, a, secret) for secret in SECRETS.values()], PARAMS)
    first, second = ring.encryptor(np.stack([b, a])).zero()
    shares = {holder: share_of(ring, HOLDERS, holder, _own(holder)) for holder in HOLDERS}
    own = reference.share(HOLDERS, SECRETS, 4, SLOW)
    assert shares[4].times(second).tolist() == slow.times(second.tolist(), own, SLOW.q)
    opened = []
    for answering in ((1, 4), (6, 4)):
        answers = {holder: shares[holder].times(second) for holder in answering}
        opened.append(modular.add(first, combine(HOLDERS, answers, PARAMS.primes), PARAMS.primes))
    assert np.array_equal(*opened)
    noise = modular.centred(opened[0][0], PARAMS.noise_prime)
    assert np.array_equal(opened[0], modular.residues(noise, PARAMS.primes))
    # <r, s> with r uniform in a unit interval: variance (|s|^2 + 1) / 12; 4096 draws, 6 sigma: once in 10^8
    norm = sum(secret_polynomial(secret, 4096) for secret in SECRETS.values())
    expected = (float(np.square(norm).sum()) + 1) / 12
    assert abs(float(np.square(noise).mean()) / expected - 1) < 6 * (2 / 4096) ** 0.5


def test_a_sole_holder_has_the_whole_key(ring: Ring) -> None:
    secret = SECRETS[4, 6]
    a = common(SESSION, 1, PARAMS)
    first, second = ring.encryptor(np.stack([part(ring, a, secret), a])).zero()
    for holders in ((0,), (2, 5, 9)):
        share = share_of(ring, holders, holders[-1], {holders: secret})
        x = modular.add(first, share.times(second), PARAMS.primes)
        assert np.array_equal(x, modular.residues(modular.centred(x[0], PARAMS.noise_prime), PARAMS.primes))


def test_a_share_takes_its_own_subsets_only(ring: Ring) -> None:
    with pytest.raises(UsageError, match="no others"):
        share_of(ring, HOLDERS, 1, SECRETS)
    with pytest.raises(UsageError, match="no others"):
        share_of(ring, HOLDERS, 1, {})


def test_a_share_does_not_print(ring: Ring) -> None:
    assert repr(share_of(ring, HOLDERS, 1, _own(1))) == "Share()"
    assert isinstance(share_of(ring, HOLDERS, 1, _own(1)), Share)
