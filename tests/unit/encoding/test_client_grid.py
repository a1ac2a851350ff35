"""One vector a client: its integers are within the sensitivity, the sum decodes, and nothing wraps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedpriv.crypto import Keystream
from fedpriv.dp import skellam
from fedpriv.encoding import ClientGrid, Rotation
from fedpriv.errors import UnsafeParameters, UsageError

KINDS = [(rotated, rounding) for rotated in (False, True) for rounding in ("nearest", "stochastic")]
every_kind = pytest.mark.parametrize(("rotated", "rounding"), KINDS)


def stream(seed: int) -> Callable[[int], np.ndarray]:
    return Keystream(seed.to_bytes(32, "little")).words


def planned(**changes: object) -> ClientGrid:
    parameters: dict[str, object] = {
        "bits": 26, "clients": 50, "clip": 0.7391, "noise_multiplier": 1.0, "share_excess": 1.3,
        "dimension": 3000,
    }  # fmt: skip
    return ClientGrid.plan(**(parameters | changes))  # type: ignore[arg-type]


def parts(grid: ClientGrid, seed: int) -> dict[str, object]:
    return {
        "rotation": Rotation.draw(grid.dimension, stream(7)) if grid.rotated else None,
        "words": stream(seed) if grid.rounding == "stochastic" else None,
    }


def vectors(clients: int, dimension: int, norm: float) -> np.ndarray:
    raw = np.random.default_rng(1).normal(size=(clients, dimension))
    raw[::3, dimension // 10 :] = 0.0  # some of them far from flat
    return raw * (norm / np.linalg.norm(raw, axis=1, keepdims=True))


@every_kind
def test_a_noisy_sum_modulo_the_modulus_decodes_to_the_sum(rotated: bool, rounding: str) -> None:
    grid = planned(rotated=rotated, rounding=rounding)
    rows = vectors(50, 3000, 0.7391 * 0.9999)
    rows[1:] = rows[0]  # all point the same way: the largest sum there is
    share = round(1.3 * grid.sensitivity**2 / 50)
    total = np.zeros(3000, dtype=np.uint64)
    noise = np.zeros(3000, dtype=np.int64)
    for i, row in enumerate(rows):
        mine = skellam(share, 3000, stream(1000 + i))
        noise += mine
        integers = grid.encode(row, **parts(grid, i))  # type: ignore[arg-type]
        total = (total + grid.fixed.to_residues(integers + mine)) & np.uint64(2**26 - 1)
    rotation = parts(grid, 0)["rotation"]
    got = grid.decode(grid.fixed.centre(total), rotation=rotation)  # type: ignore[arg-type]
    unit = 2.0**-grid.fixed.scale_log2
    noisy = noise * unit if rotation is None else rotation.inverse(noise * unit)  # type: ignore[attr-defined]
    # Rounding moves each vector by at most sqrt(d) grid units; a wrap or a clamp would move it by thousands.
    assert np.linalg.norm(got - noisy - rows.sum(axis=0)) < 50 * math.sqrt(3000) * unit


@every_kind
def test_one_client_is_within_the_sensitivity_and_the_clamp_whatever_it_sends(
    rotated: bool, rounding: str
) -> None:
    grid = planned(rotated=rotated, rounding=rounding)
    spike = np.zeros(3000)
    spike[17] = 1.0
    # Chosen against the rotation: all of it lands on one coordinate, which the clamp cuts.
    aimed = Rotation.draw(3000, stream(7)).inverse(spike)
    for vector in (spike, aimed, np.full(3000, 1e9), vectors(1, 3000, 0.7391)[0]):
        out = grid.encode(vector, **parts(grid, 3))  # type: ignore[arg-type]
        assert sum(int(v) ** 2 for v in out) <= grid.sensitivity**2
        assert np.abs(out).max() <= grid.fixed.client_bound
    cut = np.abs(grid.encode(aimed, **parts(grid, 3))).max() == grid.fixed.client_bound  # type: ignore[arg-type]
    assert cut == rotated


def test_nothing_is_clamped_for_a_vector_that_does_not_know_the_signs() -> None:
    grid = planned()
    for seed in range(30):
        row = vectors(31, 3000, 0.7391)[seed]
        turn = Rotation.draw(3000, stream(seed))
        assert np.abs(grid.encode(row, rotation=turn)).max() < grid.fixed.client_bound


def test_rotation_buys_what_the_specification_says() -> None:
    common = {"clients": 338, "clip": 1.0, "dimension": 131_072}
    turned, plain = planned(bits=26, **common), planned(bits=30, rotated=False, **common)
    assert turned.sensitivity == plain.sensitivity == 2**20
    assert planned(bits=26, rotated=False, **common).sensitivity < 2**17


@every_kind
def test_the_plan_is_the_finest_that_cannot_wrap(rotated: bool, rounding: str) -> None:
    grid = planned(rotated=rotated, rounding=rounding)
    tail = math.sqrt(2 * math.log(4 * 3000 * 2.0**40)) * math.sqrt(1.3)
    reach = 50 * grid.fixed.client_bound + tail * grid.sensitivity
    assert reach < 2**25
    assert 2 * (50 * grid.fixed.client_bound + (tail + 3) * grid.sensitivity) >= 2**25
    if (
        rotated
    ):  # Hoeffding over 50 clients and 3000 coordinates, transforms of 2048, half of the chance 2^-40
        largest = math.sqrt(2 * math.log(4 * 50 * 3000 * 2.0**40) / 2048)
        assert 0 <= grid.fixed.client_bound - largest * grid.fixed.sensitivity <= 4
    else:
        assert grid.fixed.client_bound == grid.sensitivity
    if rounding == "stochastic":
        assert grid.sensitivity > grid.fixed.sensitivity


def test_a_modulus_that_is_too_small_names_the_bits_needed() -> None:
    with pytest.raises(UnsafeParameters, match="12 bits") as caught:
        planned(bits=12)
    needed = int(caught.value.hint.removeprefix("use bits = "))
    planned(bits=needed)
    with pytest.raises(UnsafeParameters):
        planned(bits=needed - 1)


floats = st.floats(min_value=-(2.0**40), max_value=2.0**40, width=32, allow_nan=False)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32))
def test_leaving_out_one_client_moves_the_sum_by_at_most_the_sensitivity(
    data: st.DataObject, kind: tuple[bool, str], seed: int
) -> None:
    dimension = data.draw(st.integers(1, 12))
    grid = planned(dimension=dimension, bits=24, clients=4, rotated=kind[0], rounding=kind[1])
    rows = data.draw(hnp.arrays(np.float32, (3, dimension), elements=floats))

    def total(clients: int) -> np.ndarray:
        encoded = [grid.encode(rows[i], **parts(grid, seed + i)) for i in range(clients)]  # type: ignore[arg-type]
        return np.sum(encoded, axis=0)

    moved = [int(a) - int(b) for a, b in zip(total(3), total(2), strict=True)]
    assert sum(m * m for m in moved) <= grid.sensitivity**2


def test_what_does_not_belong_to_the_grid_is_refused() -> None:
    turned, plain = planned(), planned(rotated=False)
    coins = planned(rotated=False, rounding="stochastic")
    turn = Rotation.draw(3000, stream(1))
    zero = np.zeros(3000)
    for grid, arguments, message in (
        (turned, {}, "needs a rotation"),
        (plain, {"rotation": turn}, "no rotation"),
        (turned, {"rotation": Rotation.draw(2999, stream(1))}, "2999"),
        (plain, {"words": stream(1)}, "random words"),
        (coins, {}, "random words"),
    ):
        with pytest.raises(UsageError, match=message):
            grid.encode(zero, **arguments)  # type: ignore[arg-type]
    for grid, arguments in ((turned, {"rotation": turn}), (plain, {})):
        with pytest.raises(UsageError, match="shape"):
            grid.encode(np.zeros(5), **arguments)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="shape"):
            grid.decode(np.zeros(5, np.int64), **arguments)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="NaN"):
            grid.encode(np.full(3000, np.nan), **arguments)  # type: ignore[arg-type]
    for changes in (
        {"clip": 0.0}, {"clients": 0}, {"bits": 63}, {"dimension": 0}, {"noise_multiplier": -1.0},
        {"failure": 0.0}, {"rounding": "down"},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            planned(**changes)
