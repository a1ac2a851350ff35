"""The search for degree and threshold, against whole-number arithmetic and the documents' tables."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from reference import graph as reference

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.secagg.graph_parameters import (
    Adversary,
    GraphParameters,
    corrupt_neighbours,
    graph_parameters,
)

DOCUMENT = Path(__file__).resolve().parents[3] / "protocols" / "secagg" / "graph.md"

RATES = ["0", "0.01", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3", "0.35", "0.45", "0.6", "0.9"]


def found(clients: int, corrupt: str, dropout: str, *, curious: bool, **bits: int) -> Any:
    """(k, t, a*), or None where the request is refused."""
    adversary: Adversary = "curious" if curious else "semi-malicious"
    try:
        it = graph_parameters(
            clients, corrupt=float(corrupt), dropout=float(dropout), adversary=adversary, **bits
        )
    except UnsafeParameters:
        return None
    assert it.complete == (it.degree == clients - 1)
    return it.degree, it.threshold, it.corrupt_neighbours


def assert_as_by_trying_all(clients: int, corrupt: str, dropout: str, *, curious: bool) -> None:
    for bits in ({}, {"security_bits": 20, "correctness_bits": 6}, {"grinding_bits": 30}):
        expected = reference.parameters(
            clients,
            corrupt,
            dropout,
            curious=curious,
            sigma=bits.get("security_bits", 40),
            eta=bits.get("correctness_bits", 20),
            g=bits.get("grinding_bits", 0),
        )
        assert found(clients, corrupt, dropout, curious=curious, **bits) == expected, (corrupt, dropout, bits)


@pytest.mark.parametrize(
    ("rate", "adversary", "expected"),
    [
        (0.05, "curious", [(12, 6), (30, 17), (34, 20), (36, 21)]),
        (0.05, "semi-malicious", [(16, 11), (52, 37), (62, 44), (68, 48)]),
        (0.10, "semi-malicious", [(32, 22), (96, 67), (122, 85), (134, 93)]),
    ],
)
def test_known_degrees_and_thresholds(
    rate: float, adversary: Adversary, expected: list[tuple[int, int]]
) -> None:
    for clients, (degree, threshold) in zip((100, 1000, 10_000, 100_000), expected, strict=True):
        it = graph_parameters(clients, corrupt=rate, dropout=rate, adversary=adversary)
        assert (it.degree, it.threshold) == (degree, threshold)


@pytest.mark.parametrize("curious", [True, False])
@pytest.mark.parametrize("clients", [1, 2, 3, 4, 5, 10, 31, 32, 33, 47, 64, 101, 150])
def test_no_smaller_degree_or_threshold_meets_the_conditions(clients: int, curious: bool) -> None:
    chosen = random.Random(clients).sample([(c, d) for c in RATES for d in RATES], 12)
    for corrupt, dropout in chosen:
        assert_as_by_trying_all(clients, corrupt, dropout, curious=curious)


@pytest.mark.slow
@pytest.mark.parametrize("clients", range(3, 201))
def test_no_smaller_degree_or_threshold_meets_the_conditions_for_any_small_cohort(clients: int) -> None:
    for corrupt in RATES[::2]:
        for dropout in RATES[1::2]:
            for curious in (True, False):
                assert_as_by_trying_all(clients, corrupt, dropout, curious=curious)


@pytest.mark.parametrize("curious", [True, False])
@pytest.mark.parametrize(
    ("clients", "corrupt", "dropout"),
    [(1000, "0.1", "0.2"), (10_000, "0.05", "0.1"), (1_000_000, "0.02", "0.05")],
)
def test_large_cohorts_agree_with_whole_number_arithmetic(
    clients: int, corrupt: str, dropout: str, curious: bool
) -> None:
    A, D = reference.counts(clients, corrupt, dropout)
    expected = reference.sparse(clients, A, D, curious=curious, sigma=40, eta=20, g=0)
    assert found(clients, corrupt, dropout, curious=curious) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("corrupt", "dropout", "curious"), [("0.3", "0.2", False), ("0.32", "0.3", False), ("0.45", "0.4", True)]
)
def test_degrees_are_not_skipped_where_the_margin_is_thin(corrupt: str, dropout: str, curious: bool) -> None:
    for clients in (400, 700, 1100):
        assert_as_by_trying_all(clients, corrupt, dropout, curious=curious)


def log2(ways: int, all_ways: int) -> float:
    return math.log2(ways) - math.log2(all_ways) if ways else -math.inf


@pytest.mark.parametrize("adversary", ["curious", "semi-malicious"])
@pytest.mark.parametrize("bits", [0, 64, 400])
def test_the_failures_are_those_of_exact_arithmetic_far_into_the_tail(
    adversary: Adversary, bits: int
) -> None:
    for clients, rate in ((1000, "0.05"), (20_000, "0.1"), (1_000_000, "0.1")):
        it = graph_parameters(
            clients,
            corrupt=float(rate),
            dropout=float(rate),
            adversary=adversary,
            grinding_bits=bits,
            correctness_bits=20 + bits // 8,
        )
        n, k, drawn = clients, it.degree, reference.ways(clients, it.degree)
        assert it.log2_disconnected == pytest.approx(
            log2(reference.disconnected(n, it.max_corrupt + it.max_dropped, k), 2 * drawn), abs=1e-6
        )
        exposed = reference.exceeds(n, it.max_corrupt, k)
        assert it.log2_exposed == pytest.approx(log2(exposed[it.corrupt_neighbours], drawn), abs=1e-6)
        assert log2(exposed[it.corrupt_neighbours - 1], drawn) > -(41 + bits)
        unfinished = reference.exceeds(n, it.max_dropped, k)[k - it.threshold]
        assert it.log2_unfinished == pytest.approx(log2(unfinished, drawn), abs=1e-6)
        assert it.log2_disconnected < -(41 + bits)
        assert it.log2_exposed <= -(41 + bits)
        assert it.log2_unfinished <= -(20 + bits // 8)


@pytest.mark.parametrize(
    ("clients", "corrupt", "degree"), [(100, 5, 16), (100, 60, 30), (1000, 0, 9), (50, 50, 49)]
)
@pytest.mark.parametrize("bits", [1, 3, 40, 200])
def test_the_most_corrupt_neighbours_are_those_of_exact_arithmetic(
    clients: int, corrupt: int, degree: int, bits: int
) -> None:
    exact = reference.corrupt_neighbours(clients, corrupt, degree, bits + 1)
    assert corrupt_neighbours(clients, corrupt, degree, security_bits=bits) == exact


def test_a_tiny_cohort_gets_the_complete_graph() -> None:
    for clients in range(3, 32):
        it = graph_parameters(clients, corrupt=0.05, dropout=0.05)
        assert (it.complete, it.degree, it.holders) == (True, clients - 1, clients)
        assert it.threshold == (clients + it.max_corrupt) // 2 + 1
        assert it.log2_disconnected == it.log2_exposed == it.log2_unfinished == -math.inf
    curious = graph_parameters(10, corrupt=0.3, dropout=0.2, adversary="curious")
    assert (curious.degree, curious.threshold) == (9, 4)
    assert graph_parameters(10, corrupt=0.0, dropout=0.0, adversary="curious").threshold == 2


def test_a_rate_below_one_client_does_not_make_a_graph_that_withstands_nobody() -> None:
    assert graph_parameters(90, corrupt=0.01, dropout=0.1).complete
    assert graph_parameters(90, corrupt=0.1, dropout=0.01).complete
    assert graph_parameters(90, corrupt=0.0, dropout=0.1).complete is False


def test_a_rate_means_the_decimal_number_that_is_written() -> None:
    assert 0.29 * 100 < 29
    it = graph_parameters(100, corrupt=0.29, dropout=0.07)
    assert (it.max_corrupt, it.max_dropped) == (29, 7)


@pytest.mark.parametrize(
    ("clients", "corrupt", "dropout", "adversary", "words"),
    [
        (2, 0.0, 0.0, "curious", "2 clients protects nobody"),
        (0, 0.0, 0.0, "semi-malicious", "protects nobody"),
        (10, 0.5, 0.4, "curious", "hides nobody that is alone"),
        (1000, 0.9, 0.5, "curious", "0 honest ones"),
        (10, 0.4, 0.3, "semi-malicious", "must be 8 or more, and 7 clients remain\\."),
        (1_000_000, 0.5, 0.25, "semi-malicious", "500000 corrupt and 250000 dropped"),
    ],
)
def test_what_cannot_be_safe_and_finish_is_refused(
    clients: int, corrupt: float, dropout: float, adversary: Adversary, words: str
) -> None:
    with pytest.raises(UnsafeParameters, match=words) as refusal:
        graph_parameters(clients, corrupt=corrupt, dropout=dropout, adversary=adversary)
    assert refusal.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": 1_000_001},
        {"clients": 100.0},
        {"clients": True},
        {"clients": -1},
        {"corrupt": 1.0},
        {"corrupt": -0.1},
        {"corrupt": math.nan},
        {"corrupt": "0.1"},
        {"dropout": 1},
        {"dropout": True},
        {"adversary": "malicious"},
        {"security_bits": 0},
        {"correctness_bits": 0},
        {"grinding_bits": -1},
        {"grinding_bits": 513},
    ],
)
def test_arguments_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"clients": 100, "corrupt": 0.05, "dropout": 0.05, **changes}
    with pytest.raises(UsageError) as refusal:
        graph_parameters(**arguments)
    assert not isinstance(refusal.value, UnsafeParameters)


@pytest.mark.parametrize("arguments", [(1, 0, 1), (10, 11, 2), (10, -1, 2), (10, 3, 0), (10, 3, 10)])
def test_no_corrupt_neighbours_of_what_is_no_graph(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError):
        corrupt_neighbours(*arguments)


def cell(it: GraphParameters) -> str:
    return f"{it.degree} ({it.threshold})"


def test_the_table_of_the_specification_is_what_the_function_gives() -> None:
    rows = re.findall(
        r"^\| (0\.\d+), (0\.\d+) \| (curious|semi-malicious) \| (\d+) \| (.*) \|$", DOCUMENT.read_text(), re.M
    )
    assert len(rows) == len(set(rows)) == 8
    for corrupt, dropout, adversary, grinding, cells in rows:
        expected = [
            cell(
                graph_parameters(
                    clients,
                    corrupt=float(corrupt),
                    dropout=float(dropout),
                    adversary=adversary,
                    grinding_bits=int(grinding),
                )
            )
            for clients in (100, 1000, 10_000, 100_000, 1_000_000)
        ]
        assert cells.split(" | ") == expected


def parts(safe: int, joined: list[int]) -> list[int]:
    """The connected parts of a set of positions; sets are bits."""
    found = []
    while safe:
        part, fresh = 0, safe & -safe
        while fresh:
            part |= fresh
            reached = 0
            for p in range(fresh.bit_length()):
                if fresh >> p & 1:
                    reached |= joined[p]
            fresh = reached & safe & ~part
        found.append(part)
        safe &= ~part
    return found


@pytest.mark.parametrize(("members", "degree"), [(9, 4), (10, 4), (11, 6)])
def test_who_parts_the_clients_after_the_graph_is_known_needs_two_runs_with_corrupt_ones(
    members: int, degree: int
) -> None:
    """Section 2.6 of the specification, for all sets of corrupt clients and of safe ones on small rings."""
    half, everybody = degree // 2, (1 << members) - 1
    run = [sum(1 << (p + step) % members for step in range(half)) for p in range(members)]
    joined = [run[(p + 1) % members] | run[p - half] for p in range(members)]
    parted = 0
    for corrupt in range(1, 1 << members, 2):  # position 0 is corrupt: the others are turns of these
        honest = everybody & ~corrupt
        worst = max(((joined[p] & corrupt).bit_count() for p in range(members) if honest >> p & 1), default=0)
        threshold = (degree + worst) // 2 + 1
        if threshold > degree:
            continue
        full = [p for p in range(members) if (run[p] & corrupt).bit_count() >= threshold - half]
        apart = any((q - p) % members > half and (p - q) % members > half for p in full for q in full)
        safe = honest
        while safe:
            known = sum(
                1 << p
                for p in range(members)
                if safe >> p & 1 and (joined[p] & (safe | corrupt)).bit_count() >= threshold
            )
            summed = [part for part in parts(safe, joined) if part & ~known == 0 and part != safe]
            parted += bool(summed)
            assert apart or not summed
            if safe & ~known == 0:  # one sum over all safe clients: the rest was dropped by holders in it
                lost = [p for p in range(members) if (honest & ~safe) >> p & 1]
                droppable = all((joined[p] & (safe | corrupt)).bit_count() >= threshold for p in lost)
                if droppable:
                    assert 2 * safe.bit_count() > honest.bit_count()
            safe = (safe - 1) & honest
    assert parted or degree > 4  # the claim is about something that happens
