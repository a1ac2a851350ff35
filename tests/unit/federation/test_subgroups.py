"""Figures by group of held-out records add up to those of all of them."""

from __future__ import annotations

import numpy as np
import pytest

from fedpriv.data import LeftOut, Table
from fedpriv.federation.subgroups import LARGEST, by_value, subgroups
from fedpriv.federation.workplace import DataSet
from fedpriv.training import Judgement


def table(films: list[str]) -> Table:
    return Table([f"t{k}" for k in range(len(films))], np.arange(len(films)) % 2, ("a", "b"), {"film": films})


def judged(right: list[int], *, guesses: list[int] | None = None, classes: int = 2) -> Judgement:
    count = len(right)
    each = np.ones(count, dtype=np.int64) if guesses is None else np.array(guesses)
    return Judgement(np.linspace(0.1, 2.0, count), np.array(right), each, np.arange(count) % 2, classes)


def test_rows_cover_every_record_once_and_the_rest_is_one_row() -> None:
    rng = np.random.default_rng(1)
    films = [f"f{k}" for k in rng.zipf(1.3, 600) % 90]
    marks = rng.integers(0, 2, 600).tolist()
    rows = by_value(judged(marks), films)
    assert len(rows) == LARGEST + 1
    assert rows[-1]["value"] is None
    assert sum(row["n"] for row in rows) == 600
    assert sum(row["n"] * row["accuracy"] for row in rows) == pytest.approx(sum(marks))
    assert [row["n"] for row in rows[:-1]] == sorted((row["n"] for row in rows[:-1]), reverse=True)
    for row in rows[:-1]:
        own = [mark for mark, film in zip(marks, films, strict=True) if film == row["value"]]
        assert (row["n"], row["accuracy"]) == (len(own), pytest.approx(np.mean(own)))


def test_worst_and_best_and_each_clients_own_films() -> None:
    train, test = table(["x", "x", "y", "z", "z"]), table(["x", "y", "y", "z", "new"])
    dataset = DataSet(
        train, test, LeftOut(), (np.array([0, 1]), np.array([2, 3, 4])), name="films", fingerprint="0" * 64
    )
    found = subgroups(judged([1, 0, 1, 0, 1]), dataset, column="film", partition="film")
    assert (found["values"], found["worst"], found["best"]) == (4, "z", "new")
    assert found["clients"] == [
        {"client": 1, "n": 1, "accuracy": 1.0},
        {"client": 2, "n": 3, "accuracy": pytest.approx(1 / 3)},
    ]
    assert "clients" not in subgroups(judged([1] * 5), dataset, column="film", partition=None)


def test_a_language_models_perplexity_is_given_by_group() -> None:
    rows = by_value(judged([3, 1, 2], guesses=[4, 4, 2], classes=0), ["a", "b", "a"])
    assert rows[0]["accuracy"] == pytest.approx(5 / 6)
    assert rows[0]["perplexity"] == pytest.approx(np.exp((0.1 + 2.0) / 6))
