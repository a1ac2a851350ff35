"""A server that tells every client another story opens nothing but what section 8 of the spec allows."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parties.secagg import sparse_params
from parties.secagg_adversary import Coalition
from parties.secagg_deviation import Deviation, World

from fedpriv.secagg import SecAggParams, Vector
from fedpriv.secagg.graph_parameters import corrupt_neighbours

VECTORS = (Vector("update", 20, 2),)

COMPLETE = (
    SecAggParams.for_cohort(4, vectors=VECTORS),
    SecAggParams.for_cohort(4, vectors=VECTORS, max_colluders=1),
    SecAggParams.for_cohort(5, vectors=VECTORS, max_colluders=1),
    SecAggParams.for_cohort(6, vectors=VECTORS, max_colluders=2),
)
LEVELS = (
    SecAggParams.for_cohort(4, vectors=VECTORS, levels=(4,)),
    SecAggParams.for_cohort(5, vectors=VECTORS, max_colluders=1, levels=(5,)),
    SecAggParams.for_cohort(6, vectors=VECTORS, levels=(5, 6)),
    SecAggParams.for_cohort(7, vectors=VECTORS, max_colluders=1, levels=(6, 7)),
)
SPARSE = (
    sparse_params(8, degree=4, threshold=3, min_survivors=5, vectors=VECTORS),
    sparse_params(9, degree=6, threshold=4, min_survivors=7, max_colluders=1, vectors=VECTORS),
    sparse_params(9, degree=6, threshold=5, min_survivors=7, max_colluders=2, vectors=VECTORS),
)


@st.composite
def deviations(draw: st.DrawFn, choices: tuple[SecAggParams, ...]) -> Deviation:
    """Two stories of who was there, and for every honest client which of them it is told in which stage."""
    params = draw(st.sampled_from(choices))
    clients = frozenset(range(1, params.clients + 1))
    colluders = draw(st.permutations(sorted(clients)))[: params.max_colluders]
    some = st.frozensets(st.sampled_from(sorted(clients)), max_size=params.max_dropouts)
    worlds = []
    for _ in range(2):
        advertised = clients - draw(st.one_of(st.just(frozenset()), some))
        shared = advertised - draw(some)
        worlds.append(World(advertised, shared, shared - draw(some)))
    story = st.sampled_from([0, 0, 1])
    told = {
        client: (draw(st.sampled_from([0, 0, 0, 0, 1])), draw(story), draw(story))
        for client in sorted(clients.difference(colluders))
    }
    return Deviation(params, colluders, worlds, told, seed=draw(st.integers(0, 2**16)))


def opened(deviation: Deviation) -> list[set[int]]:
    """The sets of honest clients over which the server can open the sum; smallest ones, and disjoint."""
    known = Coalition(deviation.transcript, deviation.colluders)
    sets = []
    for combination in known.determined():
        assert set(combination.values()) == {1}
        clients = {client for _, client in combination}
        columns = zip(*(deviation.seen.vectors[client]["update"].tolist() for client in clients), strict=True)
        assert known.value(combination) == [sum(column) % 2**20 for column in columns]
        sets.append(clients)
    return sets


def levels(deviation: Deviation) -> dict[int, int]:
    """The honest clients of whom the server knows a level secret, and the highest such level."""
    known = Coalition(deviation.transcript, deviation.colluders)
    found = {client: known.level(deviation.parties.round, client) for client in deviation.told}
    return {client: level for client, level in found.items() if level}


def check(choices: tuple[SecAggParams, ...], schedules: int) -> Counter[str]:
    """Let a server deviate so many times; how often it opened something, and was refused."""
    ends: Counter[str] = Counter()

    @settings(max_examples=schedules, deadline=None)
    @given(deviations(choices))
    def run(deviation: Deviation) -> None:
        params, sets = deviation.params, opened(deviation)
        if params.complete:
            assert len(sets) <= 1
            least = params.min_survivors - params.max_colluders
        else:
            corrupt = corrupt_neighbours(
                params.min_survivors, params.max_colluders, params.degree, security_bits=40
            )
            least = params.threshold - corrupt + 1
        assert all(len(clients) >= least for clients in sets), sets
        if params.levels:
            ends["leveled" if check_levels(deviation, sets) else "level"] += 1
        ends["opened" if sets else "closed"] += 1
        ends["refused" if deviation.refused else "taken"] += 1

    run()
    return ends


def check_levels(deviation: Deviation, sets: list[set[int]]) -> dict[int, int]:
    """That one level at most is known, and that every sum is over all its clients, and enough (section 8)."""
    params, known = deviation.params, levels(deviation)
    assert len(set(known.values())) <= 1, known
    for level in set(known.values()):
        least = params.levels[level - 1] - params.max_colluders
        assert all(set(known) <= clients and len(clients) >= least for clients in sets), (known, sets)
    return known


def test_different_stories_where_there_are_levels() -> None:
    check(LEVELS, 40)


def test_different_stories_on_the_complete_graph() -> None:
    check(COMPLETE, 40)


def test_different_stories_on_a_sparse_graph() -> None:
    check(SPARSE, 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "schedules"),
    [(COMPLETE, 400), (SPARSE, 300), (LEVELS, 400)],
    ids=["complete", "sparse", "levels"],
)
def test_many_different_stories(choices: tuple[SecAggParams, ...], schedules: int) -> None:
    ends = check(choices, schedules)
    # Of 300 on a sparse graph some 30 are taken, with a deviation of 6: stories are drawn anew each time.
    assert min(ends["opened"], ends["closed"], ends["refused"], ends["taken"]) >= 5, ends
    assert choices is not LEVELS or ends["leveled"] >= 10, ends


@pytest.mark.parametrize("threshold", [3, 4])
def test_two_lists_with_half_of_the_clients_each(threshold: int) -> None:
    # 2t > n + a is what stops it (SA-9): with one less, two lists of survivors are served, and each client is
    # called dead to half of the others.
    params = SecAggParams.for_cohort(5, vectors=VECTORS, max_colluders=1)
    assert params.threshold == 4
    for name in ("threshold", "min_survivors"):
        object.__setattr__(params, name, threshold)
    clients = frozenset(range(1, 6))
    worlds = [World(clients, clients, frozenset({1, 2, 5})), World(clients, clients, frozenset({3, 4, 5}))]
    told = {1: (0, 0, 0), 2: (0, 0, 0), 3: (0, 0, 1), 4: (0, 0, 1)}
    sets = opened(Deviation(params, {5}, worlds, told))
    assert sets == ([{1}, {2}, {3}, {4}] if threshold == 3 else [])


def test_two_lists_of_which_one_reaches_a_level() -> None:
    # Again with a threshold that is too low: two clients are told that three survived, and two that four did;
    # these give shares of the level that only four reach.  What `check_levels` would see.
    params = SecAggParams.for_cohort(6, vectors=VECTORS, max_colluders=2, levels=(6,))
    assert params.threshold == params.min_survivors == 5
    for name, value in {"threshold": 3, "min_survivors": 3, "levels": (4,)}.items():
        object.__setattr__(params, name, value)
    clients = frozenset(range(1, 7))
    worlds = [World(clients, clients, frozenset({1, 2, 5})), World(clients, clients, frozenset({3, 4, 5, 6}))]
    told = {1: (0, 0, 0), 2: (0, 0, 0), 3: (0, 0, 1), 4: (0, 0, 1)}
    deviation = Deviation(params, {5, 6}, worlds, told)
    assert levels(deviation) == {3: 1, 4: 1}
    sets = opened(deviation)
    assert sets == [{1}, {2}, {3}, {4}]
    with pytest.raises(AssertionError):
        check_levels(deviation, sets)
