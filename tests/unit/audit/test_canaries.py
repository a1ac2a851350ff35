"""Canaries as rows, as records, and in the scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.audit import LOUDNESS, Canaries, CanaryGradients
from fedpriv.crypto import Keystream
from fedpriv.encoding import FixedPoint
from fedpriv.errors import UsageError


def drawn(count: int = 200, dimension: int = 4096, clip: float = 0.7) -> Canaries:
    return Canaries.draw(count, dimension, clip, Keystream(b"canaries" * 4).words)


def test_a_row_has_the_norm_of_the_clip_and_the_grid_keeps_it() -> None:
    canaries = drawn()
    rows = canaries.rows(np.arange(200))
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows.astype(np.float64), axis=1) == pytest.approx(0.7, rel=1e-6)
    grid = FixedPoint.plan(
        bits=32, clients=5, clip=0.7, expected_contributions=100, noise_multiplier=1.0, share_excess=1.5,
        dimension=4096,
    )  # fmt: skip
    norms = [float(np.linalg.norm(grid.quantise(row[None, :]).astype(np.float64))) for row in rows[:20]]
    assert max(norms) <= grid.sensitivity
    assert min(norms) > 0.999 * grid.sensitivity  # as much of the sensitivity as the grid lets a row use


def test_directions_and_coins_are_fair() -> None:
    # Each mean is over N fair bits: five standard deviations are passed with probability below 6e-7.
    canaries = drawn()
    assert abs(canaries.signs.mean()) < 5 / np.sqrt(canaries.signs.size)
    assert set(np.unique(canaries.signs)) == {-1, 1}
    many = drawn(count=20_000, dimension=1)
    assert abs(many.included.mean() - 0.5) < 2.5 / np.sqrt(20_000)
    cross = canaries.signs[:100].astype(float) @ canaries.signs[100:].astype(float).T / 4096
    assert abs(cross.var() * 4096 - 1.0) < 5 * np.sqrt(2 / cross.size)
    assert abs(np.corrcoef(canaries.included, canaries.signs[:, 0])[0, 1]) < 0.4


def test_the_included_ones_become_records_of_the_shards_once_each() -> None:
    canaries = drawn()
    shards = [np.arange(0, 40), np.arange(40, 41), np.arange(41, 90)]
    joined = canaries.join(shards, records=90)
    for shard, whole in zip(shards, joined, strict=True):
        assert np.array_equal(whole[: shard.size], shard)
    added = np.concatenate([whole[shard.size :] for shard, whole in zip(shards, joined, strict=True)])
    assert sorted(added - 90) == np.flatnonzero(canaries.included).tolist()
    assert (
        max(len(whole) - len(shard) for shard, whole in zip(shards, joined, strict=True))
        <= 1 + added.size // 3
    )


def test_a_score_counts_how_often_a_canary_took_part() -> None:
    canaries = drawn()
    times = np.zeros(200)
    times[[3, 70, 199]] = (1, 2, 5)
    total = times @ canaries.rows(np.arange(200)).astype(np.float64)
    # The three others add at most 8 directions' worth of 1 / sqrt(d) in standard deviation: 6 of them.
    assert np.abs(canaries.scores(total) - times).max() < 6 * np.sqrt(30 / 4096)


class _Records:
    """Stands for a model: record k's gradient is k + 1 in every coordinate."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def clipped(self, encoded: Any, indices: NDArray[np.int64], within: Any) -> Iterator[NDArray[np.float32]]:
        self.asked += indices.tolist()
        for k in indices:
            yield np.full((1, 4096), k + 1, dtype=np.float32)


def test_records_are_left_to_the_model_and_canaries_are_not() -> None:
    canaries, records = drawn(), _Records()
    gradients = CanaryGradients(records, canaries, records=90)
    rows = np.concatenate(list(gradients.clipped(None, [5, 90 + 7, 2, 90 + 150])))
    assert records.asked == [5, 2]
    assert np.array_equal(rows[:2, 0], [6.0, 3.0])
    assert np.array_equal(rows[2:], canaries.rows([7, 150]))
    assert gradients.taken == 2
    assert np.array_equal(gradients.background, np.full(4096, 9.0))
    many = np.concatenate(list(gradients.clipped(None, np.arange(90, 90 + 200))))
    assert np.array_equal(many, canaries.rows(np.arange(200)))


@pytest.mark.parametrize(("count", "dimension", "clip"), [(0, 10, 1.0), (10, 0, 1.0), (10, 10, 0.0)])
def test_canaries_that_cannot_be_are_refused(count: int, dimension: int, clip: float) -> None:
    with pytest.raises(UsageError):
        Canaries.draw(count, dimension, clip, Keystream(bytes(32)).words)


def test_a_sum_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError, match="coordinates"):
        drawn().scores(np.zeros(4095))


def test_a_loud_row_is_clipped_by_the_runs_own_clip() -> None:
    class Nobody:
        def clipped(
            self, encoded: Any, indices: NDArray[np.int64], within: Any
        ) -> Iterator[NDArray[np.float32]]:
            return iter(())

    canaries = drawn(count=3)
    seen: list[float] = []

    def clip_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.extend(np.linalg.norm(rows.astype(np.float64), axis=1))
        return rows / np.float32(LOUDNESS)

    rows = list(CanaryGradients(Nobody(), canaries, 10, clip_rows=clip_rows).clipped(None, [10, 12]))
    assert seen == pytest.approx([LOUDNESS * 0.7] * 2, rel=1e-6)
    assert np.concatenate(rows) == pytest.approx(canaries.rows([0, 2]), rel=1e-6)


def test_canaries_are_told_apart_exactly_where_there_is_room() -> None:
    canaries = drawn(count=200, dimension=4096)
    counts = np.vstack([canaries.included * 3.0, canaries.included * 1.0])
    sums = [row @ canaries.rows(np.arange(200)).astype(np.float64) for row in counts]
    scores = np.array([canaries.scores(total) for total in sums])
    assert np.abs(scores - counts).max() > 0.1  # what the neighbours have in one's direction
    assert np.abs(canaries.separated(scores) - counts).max() < 1e-5
    crowded = drawn(count=200, dimension=400)
    few = np.ones((1, 200))
    assert crowded.separated(few) is few
