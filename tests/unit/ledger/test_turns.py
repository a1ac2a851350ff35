"""Rounds that clients take in turns: charged by their place, in the server's ledger and in each client's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedpriv.crypto import SigningKey
from fedpriv.dp import BandedMatrixRound, Event, InTurns, PoissonGaussian, epsilon_pld, epsilon_rdp
from fedpriv.errors import BudgetExceeded, UsageError
from fedpriv.ledger import ClientLedger, Ledger

DELTA = 1e-5
ONE = PoissonGaussian(6.0, 1.0)
IN_PLACE = [InTurns(ONE, 4), BandedMatrixRound(6.0, bands=4)]


@pytest.mark.parametrize("event", IN_PLACE)
def test_a_run_pays_for_each_turn_that_it_began(ledger: Ledger, dataset: str, event: Event) -> None:
    ledger.set_budget(dataset, "reviews", epsilon_pld([(ONE, 2)], DELTA) + 1e-6, DELTA)
    with pytest.raises(BudgetExceeded):
        ledger.plan("a", dataset, event=event, rounds=9, details={})
    ledger.plan("a", dataset, event=event, rounds=8, details={})
    for number in range(1, 9):
        ledger.reserve("a", number)
        ledger.release("a", number, {})
        assert ledger.spent(dataset).epsilon_rdp == epsilon_rdp([(ONE, (number + 3) // 4)], DELTA)


@pytest.mark.parametrize("event", IN_PLACE)
def test_a_server_cannot_take_one_cohorts_rounds_for_those_of_all(
    ledger: Ledger, dataset: str, event: Event
) -> None:
    # Four rounds of one cohort, 1, 5, 9 and 13, would else cost what one of them costs.
    ledger.set_budget(dataset, "reviews", 10.0, DELTA)
    ledger.plan("a", dataset, event=event, rounds=8, details={})
    ledger.reserve("a", 1)
    with pytest.raises(UsageError, match="does not follow round 1"):
        ledger.reserve("a", 5)
    ledger.reserve("a", 2)
    with pytest.raises(UsageError, match="cannot be taken back"):
        ledger.void("a", 2, {"stage": "advertise", "reason": "too few"})
    spent = ledger.spent(dataset).epsilon_rdp
    assert spent == epsilon_rdp([(ONE, 1)], DELTA)


@pytest.mark.parametrize("event", IN_PLACE)
def test_a_clients_own_ledger_counts_each_of_its_turns(
    ledger: Ledger, dataset: str, event: Event, tmp_path: Path, clock: Callable[[], str]
) -> None:
    ledger.set_budget(dataset, "films", 10.0, DELTA)
    ledger.plan("r", dataset, event=event, rounds=8, details={})
    mine = "c1" * 32
    with Ledger.open(tmp_path / "client.db", SigningKey.from_seed(bytes([7]) * 32), clock) as own:
        client = ClientLedger(own, mine, server=ledger.public, server_dataset=dataset)
        client.follow(ledger.rows(dataset))
        with pytest.raises(BudgetExceeded):  # two of its rounds do not fit, though eight of all cost no more
            client.willing(event=event, rounds=8, epsilon=0.5, name="mine", delta=DELTA)
        own.set_budget(mine, "mine", epsilon_pld([(ONE, 2)], DELTA) + 1e-6, DELTA)
        client.willing(event=event, rounds=8, epsilon=0.5, name="mine", delta=DELTA)
        client.join("r", event=event, rounds=8)
        for number in range(1, 9):
            ledger.reserve("r", number)
            client.follow(ledger.rows(dataset, client.length))
            if number in (2, 6):
                client.reserve("r", number)
        assert own.spent(mine).epsilon_rdp == epsilon_rdp([(ONE, 2)], DELTA)
        assert own.run("r").rounds == 2
