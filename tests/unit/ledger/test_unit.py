"""One budget, one unit: rounds for records and rounds for clients do not add up to one guarantee."""

from __future__ import annotations

import pytest

from fedpriv.dp import PoissonGaussian
from fedpriv.errors import BudgetExceeded
from fedpriv.ledger import Ledger, verify_bundle
from fedpriv.ledger.chain import Chain

CLIENT = {"unit": f"client:{'cd' * 32}"}
OTHERS = {"unit": f"client:{'ef' * 32}"}


@pytest.mark.parametrize(("first", "second"), [({}, CLIENT), (CLIENT, {})])
def test_two_runs_begin_at_once_and_only_one_unit_is_spent(
    ledger: Ledger, dataset: str, event: PoissonGaussian, first: dict[str, str], second: dict[str, str]
) -> None:
    """Both were planned before either reserved, so that neither saw the other's unit."""
    ledger.set_budget(dataset, "reviews", 6.0, 1e-5)
    for run in "ab":
        ledger.plan(run, dataset, event=event, rounds=3, details={})
    ledger.reserve("a", 1, first)
    before = ledger.rows(dataset)
    with pytest.raises(BudgetExceeded, match=r"spent for each (record|client), and this would be for each"):
        ledger.reserve("b", 1, second)
    assert ledger.rows(dataset) == before
    ledger.reserve("a", 2, first)


def test_a_plan_in_another_unit_is_told_so_before_it_is_written(
    ledger: Ledger, dataset: str, event: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, 1e-5)
    ledger.check(dataset, event=event, rounds=3, unit="client:ab")
    ledger.plan("a", dataset, event=event, rounds=3, details={})
    ledger.reserve("a", 1)
    ledger.check(dataset, event=event, rounds=3)
    with pytest.raises(BudgetExceeded, match="for each record, and this would be for each client"):
        ledger.check(dataset, event=event, rounds=3, unit="client:ab")


def test_a_client_s_own_ledger_takes_several_federations(
    ledger: Ledger, dataset: str, event: PoissonGaussian
) -> None:
    """In it the unit is that one client, with whomever it trains."""
    ledger.set_budget(dataset, "mine", 6.0, 1e-5)
    for run, details in (("a", CLIENT), ("b", OTHERS)):
        ledger.plan(run, dataset, event=event, rounds=1, details={})
        ledger.reserve(run, 1, details)
    assert ledger.spent(dataset).reserved == 2


def test_a_ledger_that_added_both_up_is_refused_by_who_verifies_it(
    ledger: Ledger, dataset: str, event: PoissonGaussian, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.set_budget(dataset, "reviews", 6.0, 1e-5)
    for run, details in (("a", {}), ("b", CLIENT)):
        ledger.plan(run, dataset, event=event, rounds=3, details={})
        with monkeypatch.context() as careless:  # the writer's check taken out
            careless.setattr(Chain, "check_unit", lambda chain, details: None)
            ledger.reserve(run, 1, details)
            bundle = ledger.export(dataset)
    found = verify_bundle(bundle, signer=ledger.public)
    assert any("the two do not add up" in str(mismatch) for mismatch in found), found
