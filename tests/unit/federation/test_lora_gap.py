"""The LoRA gap is what two sums over clients give, and zero where one half is the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.federation.lora_gap import Half, lora_gap


@settings(max_examples=30)
@given(
    clients=st.integers(1, 6),
    rank=st.integers(1, 3),
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 2**32),
)
def test_it_is_the_distance_of_the_two_means_in_all_layers(
    clients: int, rank: int, sides: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    out, wide = sides
    up = [rng.normal(size=(clients, out, rank)) for _ in range(2)]
    down = [rng.normal(size=(clients, rank, wide)), np.repeat(rng.normal(size=(1, rank, wide)), clients, 0)]
    models = np.concatenate([part.reshape(clients, -1) for part in (up[0], down[0], up[1])], axis=1)
    products = [
        (Half((out, rank), start=0), Half((rank, wide), start=out * rank)),
        (Half((out, rank), start=out * rank + rank * wide), Half((rank, wide), frozen=down[1][0])),
    ]
    means = [np.mean([b[i] @ a[i] for i in range(clients)], axis=0) for b, a in zip(up, down, strict=True)]
    apart = [m - b.mean(0) @ a.mean(0) for m, b, a in zip(means, up, down, strict=True)]
    gap = lora_gap(products, models)
    norm = np.sqrt(sum(np.square(part).sum() for part in apart))
    assert gap.norm == pytest.approx(norm, abs=1e-12)
    assert gap.relative == pytest.approx(norm / np.sqrt(sum(np.square(m).sum() for m in means)), abs=1e-12)
    assert np.abs(apart[1]).max() < 1e-12  # the half that is frozen makes no gap


def test_before_the_first_step_there_is_no_product_and_no_gap() -> None:
    gap = lora_gap([(Half((2, 1), start=0), Half((1, 2), start=2))], np.array([[0.0, 0.0, 1.0, 2.0]] * 3))
    assert (gap.norm, gap.relative) == (0.0, 0.0)
