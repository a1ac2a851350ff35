"""A data set's whole life, read from an exported ledger alone."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from sample_run import DATASET, DELTA, signer

from fedpriv import dp
from fedpriv.errors import IntegrityError
from fedpriv.ledger import Ledger
from fedpriv.report import DatasetLife
from fedpriv.report.dataset_life import BudgetChange, RunLife

EVENT = dp.NoisePlan(
    trust="distributed",
    clients=8,
    min_survivors=6,
    max_colluders=1,
    noise_multiplier=1.5,
    sensitivity=2**21,
    dimension=1000,
    sampling_rate=0.05,
).event()


class Clock:
    """A minute a row."""

    def __init__(self) -> None:
        self.minutes = 0

    def __call__(self) -> str:
        self.minutes += 1
        return f"2026-03-01T09:{self.minutes:02}:00Z"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[float]]:
    """A budget, a run with a void and a pending round, a raise, a second run still open; ε as it went."""
    spent = []
    with Ledger(tmp_path_factory.mktemp("life") / "ledger.sqlite", signer(), Clock()) as ledger:
        ledger.set_budget(DATASET, "reviews", 2.5, DELTA)
        ledger.plan("first", DATASET, event=EVENT, rounds=5, details={})
        for round_ in range(1, 6):
            ledger.reserve("first", round_)
            if round_ == 2:
                ledger.void("first", round_, {"stage": "advertise", "reason": "too few clients"})
            elif round_ != 4:
                ledger.release("first", round_, {"survivors": [1, 2]})
        ledger.finish("first", {"adapter": "ab" * 32})
        spent.append(ledger.spent(DATASET).epsilon)
        ledger.set_budget(DATASET, "reviews", 4.0, DELTA)
        ledger.plan("second", DATASET, event=EVENT, rounds=3, details={})
        ledger.reserve("second", 1)
        ledger.release("second", 1, {"survivors": [1, 2, 3]})
        spent.append(ledger.spent(DATASET).epsilon)
        return ledger.export(DATASET), spent


def test_every_budget_and_every_run_stands_there_in_order(lived: tuple[dict[str, Any], list[float]]) -> None:
    life = DatasetLife.of(lived[0])
    kinds = [type(entry) for entry in life.entries]
    assert kinds == [BudgetChange, RunLife, BudgetChange, RunLife]
    assert [entry.seq for entry in life.entries] == sorted(entry.seq for entry in life.entries)
    assert life.signer == signer().public.hex()
    assert life.head == lived[0]["rows"][-1]["hash"]


def test_epsilon_after_each_run_is_what_the_ledger_said_then(
    lived: tuple[dict[str, Any], list[float]],
) -> None:
    bundle, spent = lived
    life = DatasetLife.of(bundle)
    runs = [entry for entry in life.entries if isinstance(entry, RunLife)]
    assert [run.epsilon_after for run in runs] == pytest.approx(spent, rel=1e-9)
    assert [run.rule_after for run in runs] == ["committed-plan PLD", "RDP filter"]
    assert life.spent.epsilon == runs[-1].epsilon_after
    assert runs[0].epsilon == pytest.approx(dp.epsilon_pld([(EVENT, 4)], DELTA), rel=1e-9)


def test_a_void_does_not_count_and_a_pending_round_does(lived: tuple[dict[str, Any], list[float]]) -> None:
    first = DatasetLife.of(lived[0]).entries[1]
    assert isinstance(first, RunLife)
    assert first.voided == ((2, "reason: too few clients; stage: advertise"),)
    assert first.pending == (4,)
    assert (first.counted, first.rounds_planned) == (4, 5)
    assert first.finished is not None
    assert first.adapter == "ab" * 32


def test_a_raise_shows_what_was_spent_when_it_was_made(lived: tuple[dict[str, Any], list[float]]) -> None:
    bundle, spent = lived
    raised = DatasetLife.of(bundle).entries[2]
    assert isinstance(raised, BudgetChange)
    assert (raised.epsilon_before, raised.epsilon) == (2.5, 4.0)
    assert raised.epsilon_spent == pytest.approx(spent[0], rel=1e-9)


def test_the_life_is_plain_json(lived: tuple[dict[str, Any], list[float]]) -> None:
    value = json.loads(json.dumps(DatasetLife.of(lived[0]).to_dict(), allow_nan=False))
    assert [entry["kind"] for entry in value["entries"]] == ["budget", "run", "budget", "run"]
    assert value["rounds"] == {"reserved": 6, "released": 4, "voided": 1, "pending": 1}


def test_a_ledger_that_was_touched_tells_no_story(lived: tuple[dict[str, Any], list[float]]) -> None:
    dropped = copy.deepcopy(lived[0])
    del dropped["rows"][4]
    softened = copy.deepcopy(lived[0])
    softened["claims"]["epsilon"] = "0.1"
    for bundle in (dropped, softened, {}, None, [], {"rows": []}):
        with pytest.raises(IntegrityError, match="does not verify"):
            DatasetLife.of(bundle)


def test_a_budget_without_a_run_is_a_life_too(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", signer(), Clock()) as ledger:
        ledger.set_budget(DATASET, "reviews", 2.5, DELTA)
        life = DatasetLife.of(ledger.export(DATASET))
    assert [type(entry) for entry in life.entries] == [BudgetChange]
    assert life.spent.epsilon == 0.0
