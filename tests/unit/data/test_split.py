"""Held-out records."""

from __future__ import annotations

import numpy as np
import pytest

from fedpriv.data import Table, align_test, split_test
from fedpriv.errors import DataError, UsageError


def films(count: int = 400, groups: int = 40) -> Table:
    rng = np.random.default_rng(5)
    film = rng.integers(0, groups, count)
    return Table(
        [f"text {i}" for i in range(count)],
        rng.integers(0, 2, count),
        ("rotten", "fresh"),
        {"film": [f"film {f}" for f in film]},
    )


@pytest.mark.parametrize("by", [None, "film"])
def test_both_sides_together_are_everything_once(by: str | None) -> None:
    train, test = split_test(films(), fraction=0.25, by=by, seed=1)
    assert sorted([*train, *test]) == list(range(400))
    assert 95 <= len(test) <= 125
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(test) > 0)


def test_a_film_is_on_one_side_only() -> None:
    table = films()
    train, test = split_test(table, fraction=0.25, by="film", seed=1)
    assert not {table.columns["film"][i] for i in train} & {table.columns["film"][i] for i in test}


def test_the_seed_decides() -> None:
    def held_out(seed: int) -> list[int]:
        return split_test(films(), fraction=0.25, by="film", seed=seed)[1].tolist()

    assert held_out(1) == held_out(1)
    assert held_out(1) != held_out(2)


def test_a_label_seen_only_in_test() -> None:
    table = Table(["a", "b", "c", "d"], np.array([0, 0, 0, 1]), ("x", "rare"), {"g": ["1", "1", "2", "3"]})
    seed = next(s for s in range(50) if _rare_held_out(table, s))
    with pytest.raises(DataError, match="the label 'rare' occurs only in the test records"):
        split_test(table, fraction=0.2, by="g", seed=seed)


def _rare_held_out(table: Table, seed: int) -> bool:
    try:
        split_test(table, fraction=0.2, by="g", seed=seed)
    except DataError:
        return True
    return False


@pytest.mark.parametrize("fraction", [0.001, 0.9999])
def test_a_side_without_records(fraction: float) -> None:
    with pytest.raises(DataError, match=r"leaves no (test|training) record"):
        split_test(films(), fraction=fraction, seed=1)


def test_one_group_cannot_be_split() -> None:
    table = Table(["a", "b"], np.array([0, 1]), ("x", "y"), {"g": ["1", "1"]})
    with pytest.raises(DataError, match="leaves no training record"):
        split_test(table, fraction=0.5, by="g", seed=1)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_a_fraction_that_is_none(fraction: float) -> None:
    with pytest.raises(UsageError):
        split_test(films(), fraction=fraction, seed=1)


def test_a_test_source_takes_the_labels_of_the_training_source() -> None:
    train = Table(["a", "b"], np.array([0, 1]), ("fresh", "rotten"))
    test = Table(["b", "c", "d"], np.array([0, 0, 1]), ("rotten", "fresh"))
    aligned = align_test(test, train)
    assert aligned.texts == ["c", "d"]
    assert aligned.label_names == ("fresh", "rotten")
    assert aligned.labels.tolist() == [1, 0]
    assert aligned.left_out.duplicates == 1


def test_a_test_source_with_a_label_of_its_own() -> None:
    train = Table(["a", "b"], np.array([0, 1]), ("fresh", "rotten"))
    with pytest.raises(DataError, match="the label 'story' occurs only in the test records"):
        align_test(Table(["c", "d"], np.array([0, 1]), ("fresh", "story")), train)
    with pytest.raises(DataError, match="every test record is also a training record"):
        align_test(train, train)
