"""Values in residues: the places that the spec gives them, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from fedpriv.ckks import modular
from fedpriv.ckks.layout import Layout
from fedpriv.ckks.ring_params import RingParams
from fedpriv.errors import ProtocolViolation, UnsafeParameters, UsageError

RING = RingParams.of_bits(8192, 17, 48, 3, 57)


def test_value_r_goes_where_section_3_says() -> None:
    layout = Layout(RING, bound=100, clients=3, digits=2, dimension=20)
    values = np.random.default_rng(1).integers(-100, 101, 20)
    expected = np.zeros((3, 4), dtype=object)
    g = 6
    for r, x in enumerate(values.tolist()):
        z = r % g
        expected[z // 2, r // g] += 601 ** (z % 2) * x
    for k, prime in enumerate(RING.message_primes):
        expected[k] %= prime
    assert layout.place(values).tolist() == expected.tolist()


@pytest.mark.parametrize("digits", [1, 2, 3, 5])
@pytest.mark.parametrize("clients", [1, 2, 9])
def test_sums_at_the_extremes_are_exact(digits: int, clients: int) -> None:
    smallest = min(RING.message_primes)
    root = next(b for b in range(int(smallest ** (1 / digits)) + 2, 0, -1) if b**digits <= smallest)
    bound = (root - 1) // (2 * clients)  # the largest that CK-2 allows
    count = 1000
    layout = Layout(RING, bound, clients, digits, dimension=count)
    generator = np.random.default_rng(clients)
    signs = generator.choice([-1, 1], (clients, count))
    signs[:, ::3] = 1
    signs[:, 1::3] = -1
    total = np.zeros((3, layout.used(0)), dtype=np.uint64)
    for row in signs:
        total = modular.add(total, layout.place(bound * row), RING.message_primes)
    assert np.array_equal(layout.read(total, count), bound * signs.sum(axis=0))
    with pytest.raises(UnsafeParameters, match="do not fit"):
        Layout(RING, bound + 1, clients, digits, dimension=count)


def test_a_value_beyond_the_bound_is_refused() -> None:  # CK-3
    layout = Layout(RING, bound=100, clients=3, digits=2, dimension=20)
    for value in (101, -101, 2**63 - 1, -(2**63)):
        values = np.zeros(20, dtype=np.int64)
        values[13] = value
        with pytest.raises(UsageError, match="beyond the bound 100") as caught:
            layout.place(values)
        assert caught.value.hint


def test_chunks_share_out_the_vector() -> None:
    layout = Layout(RING, bound=100, clients=3, digits=2, dimension=2 * 49_152 + 7)
    assert (layout.values_per_coefficient, layout.values_per_chunk, layout.chunks) == (6, 49_152, 3)
    assert [layout.values_in(i) for i in range(3)] == [49_152, 49_152, 7]
    assert [layout.used(i) for i in range(3)] == [8192, 8192, 2]
    assert Layout(RING, 100, 3, 2, dimension=49_152).chunks == 1
    for chunk in (-1, 3):
        with pytest.raises(UsageError, match="no chunk"):
            layout.values_in(chunk)
        with pytest.raises(UsageError, match="no chunk"):
            layout.used(chunk)


def test_arrays_of_another_kind_are_refused() -> None:
    layout = Layout(RING, bound=100, clients=3, digits=2, dimension=20)
    values = np.zeros(20, dtype=np.int64)
    for wrong in (values.astype(np.int32), values.astype(float), values[:0], values.reshape(4, 5)):
        with pytest.raises(UsageError, match="A chunk holds"):
            layout.place(wrong)
    with pytest.raises(UsageError, match="A chunk holds"):
        layout.place(np.zeros(layout.values_per_chunk + 1, dtype=np.int64))
    rows = layout.place(values)
    for wrong_rows, count in ((rows[:2], 20), (rows[:, :-1], 20), (rows.astype(np.int64), 20), (rows, 0)):
        with pytest.raises(UsageError, match="sums are read"):
            layout.read(wrong_rows, count)  # type: ignore[arg-type]


def test_numbers_below_one_and_wild_numbers_are_refused() -> None:
    good = {"bound": 100, "clients": 3, "digits": 2, "dimension": 20}
    for name in good:
        with pytest.raises(UsageError, match="at least 1"):
            Layout(RING, **{**good, name: 0})
    for name in ("bound", "clients", "digits"):
        with pytest.raises(UnsafeParameters, match="do not fit"):
            Layout(RING, **{**good, name: 10**9})


def test_residues_that_no_sum_has_are_refused() -> None:
    layout = Layout(RING, bound=100, clients=3, digits=2, dimension=5999)
    generator = np.random.default_rng(5)
    rows = np.stack([generator.integers(0, p, 1000, dtype=np.uint64) for p in RING.message_primes])
    with pytest.raises(ProtocolViolation, match="CK-4"):
        layout.read(rows, 5999)
    highest = (layout.base**2 - 1) // 2
    rows = np.zeros((len(RING.message_primes), 1000), dtype=np.uint64)
    rows[0, 7] = highest
    assert layout.read(rows, 5999)[42:44].tolist() == [300, 300]
    rows[0, 7] += 1
    with pytest.raises(ProtocolViolation, match="CK-4"):
        layout.read(rows, 5999)


def test_a_digit_behind_the_last_value_is_refused() -> None:
    layout = Layout(RING, bound=100, clients=3, digits=2, dimension=5999)
    rows = np.zeros((len(RING.message_primes), 1000), dtype=np.uint64)
    rows[-1, -1] = layout.base
    assert layout.read(rows, 6000)[-1] == 1
    with pytest.raises(ProtocolViolation, match="CK-4"):
        layout.read(rows, 5999)
