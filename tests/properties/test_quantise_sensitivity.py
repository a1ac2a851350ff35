"""Adding one record moves the integer sum by at most S, whatever the record and whatever the others."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedpriv.encoding import FixedPoint

floats = st.floats(min_value=-(2.0**60), max_value=2.0**60, width=32, allow_nan=False)


@st.composite
def grids(draw: st.DrawFn) -> FixedPoint:
    clip = draw(st.floats(min_value=1e-3, max_value=1e3))
    scale_log2 = draw(st.integers(min_value=12, max_value=19))
    sensitivity = int(np.floor(clip * 2.0**scale_log2))
    return FixedPoint(
        bits=62,
        clients=3,
        clip=clip,
        scale_log2=scale_log2,
        sensitivity=sensitivity,
        client_bound=4 * sensitivity,
    )


@settings(max_examples=300, deadline=None)
@given(grid=grids(), data=st.data())
def test_one_record_more_moves_the_clamped_sum_by_at_most_s(grid: FixedPoint, data: st.DataObject) -> None:
    dimension = data.draw(st.integers(1, 12))
    rows = data.draw(hnp.arrays(np.float32, (data.draw(st.integers(0, 5)), dimension), elements=floats))
    one = data.draw(hnp.arrays(np.float32, (1, dimension), elements=floats))
    without = grid.clamp(grid.quantise(rows))
    with_it = grid.clamp(grid.quantise(np.concatenate([rows, one])))
    moved = [int(a) - int(b) for a, b in zip(with_it, without, strict=True)]
    assert sum(m * m for m in moved) <= grid.sensitivity**2


@settings(max_examples=200, deadline=None)
@given(grid=grids(), values=hnp.arrays(np.int64, 7, elements=st.integers(-(2**61), 2**61 - 1)))
def test_residues_are_a_ring_homomorphism_and_centre_inverts(grid: FixedPoint, values: np.ndarray) -> None:
    assert np.array_equal(grid.centre(grid.to_residues(values)), values)
    twice = (grid.to_residues(values) + grid.to_residues(values)) & np.uint64(2**62 - 1)
    assert np.array_equal(twice, grid.to_residues(2 * values))
