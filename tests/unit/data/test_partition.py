"""Records to clients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedpriv.data import (
    Table,
    by_column,
    by_group,
    by_shards,
    client_names,
    dirichlet,
    iid,
    partition,
    quantity,
)
from fedpriv.errors import DataError, UsageError


def films(count: int = 2000, groups: int = 100, labels: int = 2, seed: int = 5) -> Table:
    rng = np.random.default_rng(seed)
    film = rng.integers(0, groups, count)
    taste = rng.random(groups)
    return Table(
        [f"text {i}" for i in range(count)],
        (rng.random(count) < taste[film]).astype(np.int64) * rng.integers(1, labels, count),
        tuple(f"label {k}" for k in range(labels)),
        {"film": [f"film {f}" for f in film], "site": [f"site {f % 4}" for f in film]},
    )


METHODS = ["groups", "column", "iid", "dirichlet", "shards", "quantity"]


@pytest.mark.parametrize("method", METHODS)
def test_every_record_has_exactly_one_client(method: str) -> None:
    table, indices = films(), np.arange(0, 2000, 2)
    column = {"groups": "film", "column": "site"}.get(method)
    parts = partition(table, indices, method=method, clients=4, column=column, alpha=0.3, seed=1)
    assert len(parts) == 4
    assert all(len(part) and part.dtype == np.int64 and np.all(np.diff(part) > 0) for part in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), indices)


@pytest.mark.parametrize("method", ["groups", "iid", "dirichlet", "shards", "quantity"])
def test_the_public_seed_decides(method: str) -> None:
    table, indices = films(), np.arange(2000)
    column = "film" if method == "groups" else None

    def parts(seed: int) -> list[list[int]]:
        made = partition(table, indices, method=method, clients=8, column=column, seed=seed)
        return [part.tolist() for part in made]

    assert parts(1) == parts(1)
    assert parts(1) != parts(2)


def test_groups_stay_whole_and_silos_are_of_about_equal_size() -> None:
    table = films()
    parts = by_group(table, np.arange(2000), column="film", clients=8, skew=0.5, seed=1)
    owners = [{table.columns["film"][i] for i in part} for part in parts]
    assert sum(len(owner) for owner in owners) == len(set().union(*owners))
    assert max(map(len, parts)) - min(map(len, parts)) < 60


def test_skew_makes_the_silos_differ() -> None:
    table = films()

    def spread(skew: float) -> float:
        parts = by_group(table, np.arange(2000), column="film", clients=8, skew=skew, seed=1)
        return float(np.ptp([table.labels[part].mean() for part in parts]))

    assert spread(0.0) < 0.3 < spread(0.5) < spread(1.0)
    assert spread(1.0) > 0.7


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 50), min_size=3, max_size=30),
    clients=st.integers(3, 30),
    skew=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_no_silo_is_empty_however_uneven_the_groups(
    sizes: list[int], clients: int, skew: float, seed: int
) -> None:
    names = [f"g{k}" for k, size in enumerate(sizes) for _ in range(size)]
    table = Table(names, np.arange(len(names)) % 2, ("a", "b"), {"g": names})
    indices = np.arange(len(names))
    if clients > len(sizes):
        with pytest.raises(DataError, match="would have no record"):
            by_group(table, indices, column="g", clients=clients, skew=skew, seed=seed)
    else:
        parts = by_group(table, indices, column="g", clients=clients, skew=skew, seed=seed)
        assert len(parts) == clients
        assert all(len(part) for part in parts)
        assert np.array_equal(np.sort(np.concatenate(parts)), indices)


def test_iid_parts_differ_by_at_most_one_record() -> None:
    assert sorted(map(len, iid(np.arange(10), clients=4, seed=1))) == [2, 2, 3, 3]


def test_a_small_alpha_makes_clients_unlike() -> None:
    table, indices = films(labels=5), np.arange(2000)

    def unlikeness(alpha: float) -> float:
        parts = dirichlet(table, indices, clients=10, alpha=alpha, seed=1)
        shares = np.array([np.bincount(table.labels[p], minlength=5) / len(p) for p in parts])
        return float(shares.std(axis=0).mean())

    assert unlikeness(0.1) > 3 * unlikeness(100.0)


def test_a_tiny_alpha_still_gives_every_client_a_record() -> None:
    parts = dirichlet(films(), np.arange(2000), clients=50, alpha=0.01, seed=1)
    assert min(map(len, parts)) >= 1
    assert sum(map(len, parts)) == 2000


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    clients=st.integers(1, 12),
    shards=st.integers(1, 4),
    alpha=st.sampled_from([0.01, 0.3, 5.0]),
    seed=st.integers(0, 2**32),
)
def test_shards_and_sizes_drawn_at_random_divide_all_records_among_all_clients(
    labels: list[int], clients: int, shards: int, alpha: float, seed: int
) -> None:
    table = Table([f"t{k}" for k in range(len(labels))], np.array(labels), tuple("abcde"))
    indices = np.arange(len(labels))
    made: list[tuple[int, Callable[[], list[NDArray[np.int64]]]]] = [
        (clients, lambda: quantity(indices, clients=clients, alpha=alpha, seed=seed)),
        (
            clients * shards,
            lambda: by_shards(table, indices, clients=clients, shards_per_client=shards, seed=seed),
        ),
    ]
    for needed, divide in made:
        if len(labels) < needed:
            with pytest.raises(DataError):
                divide()
            continue
        parts = divide()
        assert len(parts) == clients
        assert all(len(part) for part in parts)
        assert np.array_equal(np.sort(np.concatenate(parts)), indices)


def test_a_client_of_few_shards_has_few_labels() -> None:
    table = films(labels=5)
    indices = np.arange(2000)
    for shards in (1, 2):
        parts = by_shards(table, indices, clients=50, shards_per_client=shards, seed=1)
        seen = [len(np.unique(table.labels[part])) for part in parts]
        # A shard that lies across the border of two labels has both; there are four borders.
        assert sum(seen) <= 50 * shards + 4
        assert max(seen) <= shards + 2
        assert {len(part) for part in parts} == {40}


def test_a_small_alpha_makes_sizes_unlike_and_leaves_labels_alike() -> None:
    table, indices = films(labels=5), np.arange(2000)

    def sizes(alpha: float) -> list[int]:
        return sorted(map(len, quantity(indices, clients=8, alpha=alpha, seed=3)))

    assert sizes(0.3)[-1] > 2 * sizes(100.0)[-1]
    largest = max(quantity(indices, clients=8, alpha=0.3, seed=3), key=len)
    share = np.bincount(table.labels[largest], minlength=5) / len(largest)
    assert np.abs(share - np.bincount(table.labels, minlength=5) / 2000).max() < 0.05


def test_one_client_for_each_value() -> None:
    table = films()
    parts = by_column(table, np.arange(2000), column="site")
    names = client_names(table, np.arange(2000), method="column", clients=4, column="site")
    assert names == ["site 0", "site 1", "site 2", "site 3"]
    for name, part in zip(names, parts, strict=True):
        assert {table.columns["site"][i] for i in part} == {name}


@pytest.mark.parametrize(
    ("method", "clients", "column", "words"),
    [
        ("iid", 6, None, "1 of 6 clients would have no record"),
        ("dirichlet", 6, None, "1 of 6 clients would have no record"),
        ("quantity", 6, None, "1 of 6 clients would have no record"),
        ("shards", 6, None, "1 of 6 clients would have no record"),
        ("shards", 3, None, "5 records make no 6 shards"),
        ("groups", 4, "g", "2 of 4 clients would have no record"),
        ("column", 4, "g", "2 of 4 clients would have no record"),
        ("column", 1, "g", "has 2 values for 1 clients"),
        ("column", None, "one", "has the one value"),
        ("column", None, "gap", "2 of 5 records have no value in the column 'gap'"),
        ("groups", 2, "gap", "2 of 5 records have no value in the column 'gap'"),
    ],
)
def test_an_empty_client_is_refused(method: str, clients: int | None, column: str | None, words: str) -> None:
    table = Table(
        list("abcde"),
        np.array([0, 1, 0, 1, 0]),
        ("x", "y"),
        {"g": list("uuvvv"), "one": list("zzzzz"), "gap": ["u", "", "v", " ", "w"]},
    )
    with pytest.raises(DataError, match=words) as caught:
        partition(table, np.arange(5), method=method, clients=clients, column=column, seed=1)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("method", "clients", "column"), [("groups", 3, None), ("iid", None, None), ("nearest", 3, None)]
)
def test_an_incomplete_partition(method: str, clients: int | None, column: str | None) -> None:
    with pytest.raises(UsageError):
        partition(films(), np.arange(9), method=method, clients=clients, column=column, seed=1)


def test_parameters_out_of_range() -> None:
    with pytest.raises(UsageError):
        dirichlet(films(), np.arange(9), clients=3, alpha=0.0, seed=1)
    with pytest.raises(UsageError):
        quantity(np.arange(9), clients=3, alpha=-1.0, seed=1)
    with pytest.raises(UsageError):
        by_shards(films(), np.arange(9), clients=3, shards_per_client=0, seed=1)
    with pytest.raises(UsageError):
        by_group(films(), np.arange(9), column="film", clients=3, skew=1.5, seed=1)
    with pytest.raises(UsageError):
        iid(np.arange(9), clients=0, seed=1)
