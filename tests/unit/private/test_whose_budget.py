"""A loop on data that the ledger knows: grown, cut, declared another version, named by hand."""

from __future__ import annotations

import pytest
import torch

import fedpriv
from fedpriv.errors import BudgetExceeded, UsageError
from fedpriv.ledger.home import open_ledger

from .conftest import COST

BUDGET = fedpriv.Budget(COST, 1e-4)


def used_up(private, **options):
    loop, _ = private(**options)
    for batch in loop:
        loop.step(batch)
    return loop


def more(points, count):
    generator = torch.Generator().manual_seed(8)
    return [
        *points,
        *({"x": torch.randn(5, generator=generator), "y": 0, "name": f"{k}"} for k in range(count)),
    ]


def test_one_record_more_or_half_of_them_less_is_no_fresh_budget(private, points):
    used_up(private, budget=BUDGET)
    for data in (more(points, 1), points[:100]):
        loop, _ = private(data=data, budget=BUDGET)
        with pytest.raises(BudgetExceeded):
            next(iter(loop))


def test_a_declared_version_has_a_budget_of_its_own_and_says_what_adds_up(private, points):
    used_up(private, budget=BUDGET)
    newer = more(points, 40)
    version = fedpriv.Budget(COST, 1e-4, data="points", version="2026")
    with pytest.warns(UserWarning, match=r"200 of the 240 records .* spent epsilon = 0\.92.* add up"):
        loop = used_up(private, data=newer, budget=version)
    assert 0.5 < loop.epsilon < COST
    with pytest.warns(UserWarning, match="also in the data set"):
        again, _ = private(data=newer, budget=version)
    with pytest.raises(BudgetExceeded):
        next(iter(again))
    with open_ledger() as ledger:
        (named,) = [entry for entry in ledger.datasets() if entry.name == "points (2026)"]
        plan = next(row for row in ledger.rows(named.dataset) if row.kind == "PLAN")
    (other,) = plan.body["details"]["records"]["others"]
    assert other["shared"] == 200


def test_a_name_given_by_hand_gets_known_records_no_second_budget(private, points):
    used_up(private, budget=BUDGET)
    with pytest.raises(UsageError, match="would get a second budget"):
        private(budget=fedpriv.Budget(COST, 1e-4, fingerprint="0f" * 16))


def test_a_run_is_not_taken_up_on_other_records(private, points):
    loop, _ = private()
    loop.step(next(iter(loop)))
    state = loop.state_dict()
    replaced = more(points[:-1], 1)
    again, _ = private(data=replaced)
    with pytest.raises(UsageError, match="not those that the run was begun with"):
        again.load_state_dict(state)
    right, _ = private(data=points[::-1])
    right.load_state_dict(state)
    right.step(next(iter(right)))
