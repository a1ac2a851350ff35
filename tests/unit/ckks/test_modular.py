"""Arithmetic on rows of residues against Python's integers."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.ckks import modular
from fedpriv.ckks.primes import ring_primes
from fedpriv.errors import UsageError

PRIMES = (3, 12289, 114689, *islice(ring_primes(60, 2048), 2))
COUNT = 400


def _rows(seed: int) -> NDArray[np.uint64]:
    """Random residues, with the extremes in front in every combination of two rows of other seeds."""
    generator = np.random.default_rng(seed)
    rows = np.stack([generator.integers(0, p, COUNT, dtype=np.uint64) for p in PRIMES])
    for row, prime in zip(rows, PRIMES, strict=True):
        extremes = [0, 1, prime // 2, prime // 2 + 1, prime - 1]
        row[:25] = [extremes[(i // 5 if seed % 2 else i) % 5] for i in range(25)]
    return rows


def _lists(rows: NDArray[np.uint64]) -> list[list[int]]:
    assert rows.dtype == np.uint64
    result: list[list[int]] = rows.tolist()
    return result


def test_sums_differences_and_opposites_are_exact() -> None:
    a, b = _rows(1), _rows(2)
    pairs = [list(zip(x, y, strict=True)) for x, y in zip(_lists(a), _lists(b), strict=True)]
    before = a.copy(), b.copy()
    expected = [[(x + y) % p for x, y in row] for row, p in zip(pairs, PRIMES, strict=True)]
    assert _lists(modular.add(a, b, PRIMES)) == expected
    expected = [[(x - y) % p for x, y in row] for row, p in zip(pairs, PRIMES, strict=True)]
    assert _lists(modular.subtract(a, b, PRIMES)) == expected
    assert _lists(modular.negate(a, PRIMES)) == [
        [-x % p for x in row] for row, p in zip(_lists(a), PRIMES, strict=True)
    ]
    assert np.array_equal(a, before[0])
    assert np.array_equal(b, before[1])


@pytest.mark.parametrize("seed", range(20))
def test_products_with_a_constant_are_exact_up_to_primes_of_60_bits(seed: int) -> None:
    generator = np.random.default_rng(seed)
    choices = ([p - 1 for p in PRIMES], [0] * 5, [1] * 5, [p // 2 for p in PRIMES], [-(2**90)] * 5)
    factors = [int(x) for x in generator.integers(-(2**62), 2**62, 5)] if seed >= 5 else choices[seed]
    rows = _rows(seed)
    expected = [[x * w % p for x in row] for row, w, p in zip(_lists(rows), factors, PRIMES, strict=True)]
    assert _lists(modular.scale(rows, factors, PRIMES)) == expected


def test_residues_of_any_signed_integers() -> None:
    small = np.arange(-2, 3)
    wide = np.array([-(2**63), 2**63 - 1, -(2**60), 114689, -114689, 0, -1], dtype=np.int64)
    for values in (small, wide, wide[:0], np.arange(40)[::3]):
        rows = modular.residues(values, PRIMES)
        assert _lists(rows) == [[v % p for v in values.tolist()] for p in PRIMES]


@pytest.mark.parametrize("prime", PRIMES)
def test_residues_of_integers_as_large_as_the_prime(prime: int) -> None:
    for value in (prime - 1, 1 - prime, prime, -prime, prime + 1, -prime - 1):
        assert _lists(modular.residues(np.array([value]), (prime,))) == [[value % prime]]


def test_centred_undoes_residues() -> None:
    for prime in PRIMES:
        half = (prime - 1) // 2
        values = np.array([-half, -1, 0, 1, half], dtype=np.int64)
        assert modular.centred(modular.residues(values, (prime,))[0], prime).tolist() == values.tolist()


def test_arrays_of_another_kind_are_refused() -> None:
    rows = _rows(1)
    for wrong in (rows[:2], rows.astype(np.int64), rows[0]):
        with pytest.raises(UsageError, match="Residues modulo 5 primes"):
            modular.add(wrong, wrong, PRIMES)
    with pytest.raises(UsageError, match="as many factors"):
        modular.scale(rows, [1], PRIMES)
    for wrong in (rows[0], np.zeros((2, 2), np.int64)):
        with pytest.raises(UsageError, match="int64"):
            modular.residues(wrong, PRIMES)  # type: ignore[arg-type]
