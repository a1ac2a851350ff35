"""Whatever ring, bound, number of clients and digits: sums of placed values are read exactly."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.ckks import modular
from fedpriv.ckks.layout import Layout
from fedpriv.ckks.ring_params import RingParams


@cache
def _ring(degree: int, message_bits: int, messages: int) -> RingParams:
    return RingParams.of_bits(degree, 20, message_bits, messages, 30)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    degree, bits, messages = draw(
        st.sampled_from([(4096, 59, 1), (4096, 20, 2), (8192, 55, 3), (8192, 36, 4), (16384, 60, 6)])
    )
    ring = _ring(degree, bits, messages)
    digits = draw(st.integers(1, 4))
    largest = int(min(ring.message_primes) ** (1 / digits))
    while largest**digits > min(ring.message_primes):
        largest -= 1
    clients = draw(st.integers(1, max(min(12, (largest - 1) // 2), 1)))
    most = (largest - 1) // (2 * clients)
    bound = draw(st.one_of(st.just(most), st.integers(1, most)))
    dimension = draw(st.integers(1, 3 * degree * messages * digits))
    return Layout(ring, bound, clients, digits, dimension)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layouts(), st.integers(0, 2**32 - 1), st.sampled_from(["uniform", "extremes", "all high", "all low"]))
def test_sums_of_placed_values_are_read_exactly(layout: Layout, seed: int, kind: str) -> None:
    generator = np.random.default_rng(seed)
    chunk = int(generator.integers(layout.chunks))
    count, bound, primes = layout.values_in(chunk), layout.bound, layout.ring.message_primes
    total = np.zeros((len(primes), layout.used(chunk)), dtype=np.uint64)
    expected = np.zeros(count, dtype=np.int64)
    for _ in range(int(generator.integers(1, layout.clients + 1))):
        if kind == "uniform":
            values = generator.integers(-bound, bound + 1, count)
        elif kind == "extremes":
            values = bound * generator.choice([-1, 0, 1], count)
        else:
            values = np.full(count, bound if kind == "all high" else -bound, dtype=np.int64)
        rows = layout.place(values)
        assert (rows.max(axis=1) < np.array(primes, dtype=np.uint64)).all()
        total = modular.add(total, rows, primes)
        expected += values
    assert np.array_equal(layout.read(total, count), expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layouts())
def test_chunks_hold_every_value_once(layout: Layout) -> None:
    held = [layout.values_in(chunk) for chunk in range(layout.chunks)]
    assert sum(held) == layout.dimension
    assert all(count == layout.values_per_chunk for count in held[:-1])
    used = [layout.used(chunk) for chunk in range(layout.chunks)]
    assert all(coefficients <= layout.ring.degree for coefficients in used)
    assert layout.used(0) == layout.ring.degree or layout.chunks == 1
