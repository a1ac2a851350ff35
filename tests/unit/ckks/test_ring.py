"""SEAL's ring against Python's integers, and the noise of an encryption against its law."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.ckks import modular
from fedpriv.ckks.ring import Encryptor, Ring
from fedpriv.ckks.ring_params import RingParams
from fedpriv.errors import UsageError

SMALL = RingParams.of_bits(4096, 17, 45, 1, 47)
MIDDLE = RingParams.of_bits(8192, 17, 48, 3, 57)
LARGE = RingParams.of_bits(16384, 55, 48, 7, 47)

Rows = NDArray[np.uint64]


@cache
def _ring(params: RingParams) -> Ring:
    return Ring(params)


def _uniform(primes: tuple[int, ...], degree: int, seed: int) -> Rows:
    generator = np.random.default_rng(seed)
    return np.stack([generator.integers(0, p, degree, dtype=np.uint64) for p in primes])


@cache
def _secret(params: RingParams) -> NDArray[np.int64]:
    return np.random.default_rng(3).integers(-1, 2, params.degree)


@cache
def _public(params: RingParams) -> Rows:
    a = _uniform(params.key_primes, params.degree, 4)
    error = np.random.default_rng(5).integers(-8, 9, params.degree)
    return np.stack((_ring(params).public_part(a, _secret(params), error), a))


@cache
def _encryptor(params: RingParams) -> Encryptor:
    return _ring(params).encryptor(_public(params))


def _decrypted(params: RingParams, ciphertext: Rows) -> Rows:
    ring = _ring(params)
    secret = ring.factor(modular.residues(_secret(params), params.primes))
    return modular.add(ciphertext[0], ring.times(ciphertext[1:], secret)[0], params.primes)


def _noise(params: RingParams, ciphertext: Rows) -> NDArray[np.int64]:
    """The noise, once every residue is found to be of the same small integers."""
    x = _decrypted(params, ciphertext)
    noise = modular.centred(x[0], params.noise_prime)
    assert np.array_equal(x, modular.residues(noise, params.primes))
    return noise


def _product(a: Rows, b: Rows, primes: tuple[int, ...]) -> Rows:
    """a b modulo X^N + 1 by Kronecker substitution: one product of long integers a row."""
    width, degree = 17, a.shape[1]  # bytes: N p^2 is below 2^134

    def joined(row: Rows) -> int:
        return int.from_bytes(b"".join(x.to_bytes(width, "little") for x in row.tolist()), "little")

    rows = []
    for x, y, prime in zip(a, b, primes, strict=True):
        data = (joined(x) * joined(y)).to_bytes(2 * degree * width, "little")
        c = [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]
        rows.append([(low - high) % prime for low, high in zip(c[:degree], c[degree:], strict=True)])
    return np.array(rows, dtype=np.uint64)


@pytest.mark.parametrize("params", [SMALL, RingParams.of_bits(8192, 17, 60, 2, 60)])
def test_products_are_those_of_long_integers(params: RingParams) -> None:
    a, b = (_uniform(params.primes, params.degree, seed) for seed in (1, 2))
    for row, prime in zip(a, params.primes, strict=True):
        row[:100] = prime - 1
    ring = _ring(params)
    product = ring.times(np.stack((a, b)), ring.factor(b))
    assert np.array_equal(product[0], _product(a, b, params.primes))
    assert np.array_equal(product[1], _product(b, b, params.primes))


@pytest.mark.parametrize("params", [SMALL, MIDDLE])
def test_a_public_part_is_minus_a_s_plus_e_modulo_the_key_modulus(params: RingParams) -> None:
    primes = params.key_primes
    a = _uniform(primes, params.degree, 6)
    secret, error = _secret(params), np.random.default_rng(7).integers(-(2**40), 2**40, params.degree)
    product = _product(a, modular.residues(secret, primes), primes)
    expected = modular.negate(modular.add(product, modular.residues(error, primes), primes), primes)
    assert np.array_equal(_ring(params).public_part(a, secret, error), expected)


@pytest.mark.parametrize("params", [SMALL, MIDDLE, LARGE])
def test_an_encryption_of_zero_is_small_noise_of_the_law_that_is_claimed(params: RingParams) -> None:
    trials = {4096: 40, 8192: 20, 16384: 6}[params.degree]
    noise = np.stack([_noise(params, _encryptor(params).zero()) for _ in range(trials)])
    # Rounding away the special prime leaves r_0 + r_1 s, both uniform in [-1/2, 1/2].
    variance = (np.square(_secret(params)).sum() + 1) / 12
    # Coefficients of one ciphertext correlate as s does with its rotations, which doubles the variance of the
    # estimate: relative deviation sqrt(4 / values).  Six of them: wrong once in 10^8 runs.
    assert abs(np.square(noise).mean() / variance - 1) < 6 * np.sqrt(4 / noise.size)
    assert abs(noise.mean()) < 6 * np.sqrt(2 * variance / noise.size)
    assert abs(noise).max() < 12 * np.sqrt(variance)


@pytest.mark.parametrize("params", [SMALL, MIDDLE, LARGE])
def test_the_noise_residue_takes_the_noise_out_of_a_sum(params: RingParams) -> None:
    clients = 5
    generator = np.random.default_rng(8)
    half = [prime // (2 * clients) - 1 for prime in params.message_primes]
    total: Rows = np.zeros((2, len(params.primes), params.degree), dtype=np.uint64)
    expected = np.zeros((len(half), params.degree), dtype=np.int64)
    for _ in range(clients):
        values = np.stack([generator.integers(-h, h, params.degree, endpoint=True) for h in half])
        ciphertext = _encryptor(params).zero().copy()
        for row, word, prime in zip(ciphertext[0][1:], values, params.message_primes, strict=True):
            row[:] = modular.add(row[None], modular.residues(word, (prime,)), (prime,))[0]
        total = np.stack([modular.add(t, c, params.primes) for t, c in zip(total, ciphertext, strict=True)])
        expected += values
    x = _decrypted(params, total)
    noise = modular.centred(x[0], params.noise_prime)
    variance = clients * (np.square(_secret(params)).sum() + 1) / 12
    assert abs(np.square(noise).mean() / variance - 1) < 6 * np.sqrt(4 / noise.size)
    clean = modular.subtract(x, modular.residues(noise, params.primes), params.primes)[1:]
    for row, sums, prime in zip(clean, expected, params.message_primes, strict=True):
        assert np.array_equal(modular.centred(row, prime), sums)


def test_two_encryptions_have_nothing_in_common() -> None:
    first, second = (_encryptor(SMALL).zero() for _ in range(2))
    assert not first.flags.writeable
    for c, other, prime in zip(first[1], second[1], SMALL.primes, strict=True):
        for row in (c, other, modular.subtract(c[None], other[None], (prime,))[0]):
            counts = np.bincount((row * np.uint64(16) // np.uint64(prime)).astype(np.int64), minlength=16)
            # Chi-square with 15 degrees of freedom: 70 is exceeded once in 10^8 times.
            assert (np.square(counts - 256) / 256).sum() < 70


def test_any_number_of_polynomials_and_zeros_among_them() -> None:
    ring = _ring(SMALL)
    f = _uniform(SMALL.primes, 4096, 9)
    factor = ring.factor(f)
    many = np.stack([_uniform(SMALL.primes, 4096, seed) for seed in range(17)])
    many[[0, 5, 16]] = 0
    products = ring.times(many, factor)
    assert not products[[0, 5, 16]].any()
    for i in (1, 6, 7, 15):
        assert np.array_equal(products[i], ring.times(many[i : i + 1], factor)[0])
    assert np.array_equal(products[1], _product(many[1], f, SMALL.primes))
    zero = np.zeros_like(many[:1])
    assert not ring.times(zero, factor).any()
    assert not ring.times(many, ring.factor(zero[0])).any()
    assert ring.times(many[:0], factor).shape == (0, 2, 4096)
    strided = many[::2, :, ::-1]
    assert np.array_equal(ring.times(strided, factor), ring.times(strided.copy(), factor))


def test_x_to_the_n_is_minus_one() -> None:
    x: Rows = np.zeros((1, 8, 16384), dtype=np.uint64)
    x[:, :, 16383] = 3
    last = x[0].copy()
    last[:, 16383], last[:, 5] = 0, 1
    product = _ring(LARGE).times(x, _ring(LARGE).factor(last))[0]
    assert [row.nonzero()[0].tolist() for row in product] == [[4]] * 8
    assert product[:, 4].tolist() == [p - 3 for p in LARGE.primes]


def test_residues_and_shapes_of_another_ring_do_not_reach_native_code() -> None:
    ring, public = _ring(SMALL), _public(SMALL)
    good = np.zeros((1, 2, 4096), dtype=np.uint64)
    factor = ring.factor(good[0])
    for row, prime in enumerate(SMALL.primes):
        bad = good.copy()
        bad[0, row, 4095] = prime
        with pytest.raises(UsageError, match="not below its prime"):
            ring.times(bad, factor)
        with pytest.raises(UsageError, match="not below its prime"):
            ring.factor(bad[0])
    for wrong in (good[0], good[:, :1], good[:, :, :-1], good.astype(np.int64), good[0, 0], good[:, :, :0]):
        with pytest.raises(UsageError, match="Polynomials of this ring"):
            ring.times(wrong, factor)
    for wrong in (good, good[0, :1], good[0, :, :-1], good[0].astype(np.int64), good[0, 0]):
        with pytest.raises(UsageError, match="Polynomials of this ring"):
            ring.factor(wrong)
    beyond = public.copy()
    beyond[0, 2, 0] = SMALL.special_prime
    nothing = public.copy()
    nothing[1] = 0
    for wrong in (beyond, nothing, public[:1], public[0], public[:, :2], np.concatenate((public, public))):
        with pytest.raises(UsageError):
            ring.encryptor(wrong)
    with pytest.raises(UsageError, match="hides nothing"):
        ring.encryptor(np.ones_like(public)).zero()
    secret = _secret(SMALL)
    for a, s, e in (
        (public[1][:2], secret, secret),
        (public[1], secret[1:], secret),
        (public[1], secret, secret[None]),
        (public[1], secret.astype(float), secret),
        (beyond[0], secret, secret),
    ):
        with pytest.raises(UsageError):
            ring.public_part(a, s, e)
    with pytest.raises(UsageError, match="ring that made it"):
        ring.times(good, _ring(MIDDLE).factor(np.zeros((4, 8192), dtype=np.uint64)))


def test_a_seed_makes_encryptions_repeat_and_its_absence_does_not() -> None:
    def zero(seed: bytes | None) -> Rows:
        return Ring(SMALL, insecure_seed=seed).encryptor(_public(SMALL)).zero()

    seeds = (bytes(64), bytes(range(64)))
    assert np.array_equal(zero(seeds[0]), zero(seeds[0]))
    assert not np.array_equal(zero(seeds[0]), zero(seeds[1]))
    assert not np.array_equal(zero(None), zero(None))
    _noise(SMALL, zero(seeds[1]))
    with pytest.raises(UsageError, match="64 bytes"):
        Ring(SMALL, insecure_seed=bytes(63))


def test_secrets_do_not_print() -> None:
    assert repr(_ring(SMALL).factor(modular.residues(_secret(SMALL), SMALL.primes))) == "Factor()"


def test_a_system_without_files_in_memory_leaves_none_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    polynomial = _uniform(SMALL.primes, 4096, 1)[np.newaxis]
    expected = _ring(SMALL).times(polynomial, _ring(SMALL).factor(polynomial[0]))
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ring = Ring(SMALL)
    assert np.array_equal(ring.times(polynomial, ring.factor(polynomial[0])), expected)
    _noise(SMALL, ring.encryptor(_public(SMALL)).zero())
    assert list(tmp_path.iterdir()) == []


def test_files_in_memory_are_closed() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        _encryptor(SMALL).zero()
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


def test_tenseal_is_not_imported_before_a_ring_is_made() -> None:
    code = "import sys, fedpriv.ckks.ring, fedpriv.ckks.workers; sys.exit('tenseal' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
