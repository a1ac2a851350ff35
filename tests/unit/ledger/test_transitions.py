"""Every pair of a state and a row kind: the legal ones of the table, and the refusal of all others."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpriv.dp import PoissonGaussian
from fedpriv.errors import BudgetExceeded, UsageError
from fedpriv.ledger import TRANSITIONS, Kind, Ledger, RoundState, RunState

KINDS = [Kind.PLAN, Kind.RESERVE, Kind.RELEASE, Kind.VOID, Kind.FINISH]
SPEC = Path(__file__).parents[3] / "protocols" / "ledger" / "spec.md"


def bring_to(ledger: Ledger, dataset: str, event: PoissonGaussian, run: RunState, round_: RoundState) -> None:
    """Lead run "a" and its round 3 to the given states by legal rows only."""
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    if run is RunState.UNKNOWN:
        return
    ledger.plan("a", dataset, event=event, rounds=10, details={})
    if round_ is not RoundState.NONE:
        ledger.reserve("a", 3)
    if round_ is RoundState.RELEASED:
        ledger.release("a", 3, {})
    if round_ is RoundState.VOIDED:
        ledger.void("a", 3, "no client was asked")
    if run is RunState.FINISHED:
        ledger.finish("a", {})


def attempt(ledger: Ledger, dataset: str, event: PoissonGaussian, kind: str) -> None:
    calls: dict[str, Callable[[], object]] = {
        Kind.PLAN: lambda: ledger.plan("a", dataset, event=event, rounds=10, details={}),
        Kind.RESERVE: lambda: ledger.reserve("a", 3),
        Kind.RELEASE: lambda: ledger.release("a", 3, {}),
        Kind.VOID: lambda: ledger.void("a", 3, "no client was asked"),
        Kind.FINISH: lambda: ledger.finish("a", {}),
    }
    calls[kind]()


def reachable() -> list[tuple[RunState, RoundState]]:
    states = [(RunState.UNKNOWN, RoundState.NONE)]
    return states + list(itertools.product([RunState.OPEN, RunState.FINISHED], RoundState))


def legal(run: RunState, round_: RoundState, kind: str) -> bool:
    # PLAN and FINISH name no round, so the state of round 3 is nothing to them.
    seen = RoundState.NONE if kind in (Kind.PLAN, Kind.FINISH) else round_
    return (run, seen, kind) in TRANSITIONS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("run", "round_"), reachable())
def test_every_state_takes_what_the_table_says_and_nothing_else(
    ledger: Ledger, dataset: str, event: PoissonGaussian, run: RunState, round_: RoundState, kind: str
) -> None:
    bring_to(ledger, dataset, event, run, round_)
    before = ledger.rows(dataset)
    if legal(run, round_, kind):
        attempt(ledger, dataset, event, kind)
        assert [row.kind for row in ledger.rows(dataset)[len(before) :]] == [kind]
    else:
        with pytest.raises(UsageError):
            attempt(ledger, dataset, event, kind)
        assert ledger.rows(dataset) == before


def test_the_table_of_the_spec_is_the_table_of_the_code() -> None:
    section = SPEC.read_text(encoding="utf-8").split("## 5.")[1].split("## 6.")[0]
    cells = [
        tuple(cell.strip().strip("`") for cell in line.strip("|").split("|"))
        for line in section.splitlines()
        if re.match(r"\| `", line)
    ]
    coded = {
        (str(run), str(round_), kind, str(after_run), str(after_round))
        for (run, round_, kind), (after_run, after_round) in TRANSITIONS.items()
    }
    assert set(cells) == coded


def test_the_record_follows_the_rounds(ledger: Ledger, dataset: str, event: PoissonGaussian) -> None:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    ledger.plan("a", dataset, event=event, rounds=4, details={})
    assert ledger.last_round("a") is None
    for number in (0, 1, 2):
        ledger.reserve("a", number, {"clients": [1, 2]})
    ledger.release("a", 0, {"survivors": (1, 2), "realised": 1.5})
    ledger.void("a", 1, {"reason": "no client was asked"})
    record = ledger.run("a")
    assert (record.pending, record.released, record.voided) == ((2,), (0,), (1,))
    assert (record.counted, record.remaining, record.last_round) == (2, 2, 2)
    assert ledger.reserved_rounds("a") == (0, 2)
    assert ledger.rows(dataset)[5].body["details"] == {"survivors": [1, 2], "realised": "1.5"}
    ledger.finish("a", {"adapter": "00" * 32})
    assert ledger.run("a").finished
    assert ledger.run("a").remaining == 0
    assert [run.run_id for run in ledger.runs(dataset)] == ["a"]


def test_a_voided_round_gives_its_place_back_but_not_its_number(
    ledger: Ledger, dataset: str, event: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    ledger.plan("a", dataset, event=event, rounds=2, details={})
    ledger.reserve("a", 0)
    ledger.reserve("a", 1)
    with pytest.raises(BudgetExceeded, match="committed to 2 rounds"):
        ledger.reserve("a", 2)
    ledger.void("a", 1, "no client was asked")
    with pytest.raises(UsageError, match="already voided"):
        ledger.reserve("a", 1)
    ledger.reserve("a", 2)
    assert ledger.reserved_rounds("a") == (0, 2)


@pytest.mark.parametrize("evidence", ["", {}, None])
def test_a_void_without_evidence_is_refused(
    ledger: Ledger, dataset: str, event: PoissonGaussian, evidence: str
) -> None:
    bring_to(ledger, dataset, event, RunState.OPEN, RoundState.RESERVED)
    with pytest.raises(UsageError, match="evidence"):
        ledger.void("a", 3, evidence)
    assert ledger.run("a").pending == (3,)


def test_a_runs_name_is_used_once_over_all_data_sets(
    ledger: Ledger, dataset: str, event: PoissonGaussian
) -> None:
    other = "0a" * 32
    for name in (dataset, other):
        ledger.set_budget(name, "reviews", 3.0, 1e-5)
    ledger.plan("a", dataset, event=event, rounds=1, details={})
    with pytest.raises(UsageError, match="another data set"):
        ledger.plan("a", other, event=event, rounds=1, details={})
    assert ledger.runs(other) == []


@pytest.mark.parametrize("run_id", ["", "-a", "a b", "a/b", "é", "x" * 129, 7])
def test_names_that_cannot_name_a_run(
    ledger: Ledger, dataset: str, event: PoissonGaussian, run_id: str
) -> None:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    with pytest.raises(UsageError, match="cannot name a run"):
        ledger.plan(run_id, dataset, event=event, rounds=1, details={})


@pytest.mark.parametrize("number", [-1, 1.0, True, "1", 2**60])
def test_numbers_that_cannot_number_a_round(
    ledger: Ledger, dataset: str, event: PoissonGaussian, number: int
) -> None:
    bring_to(ledger, dataset, event, RunState.OPEN, RoundState.NONE)
    with pytest.raises(UsageError, match="not a round number"):
        ledger.reserve("a", number)


@pytest.mark.parametrize("rounds", [0, -1, 2.5, True, 10**8])
def test_plans_of_impossible_length(
    ledger: Ledger, dataset: str, event: PoissonGaussian, rounds: int
) -> None:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    with pytest.raises(UsageError, match="A plan has between"):
        ledger.plan("a", dataset, event=event, rounds=rounds, details={})
    assert len(ledger.rows(dataset)) == 1


def test_an_unknown_run_is_named(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="no run ghost"):
        ledger.run("ghost")
