"""Whether the budget of a data set has room for a plan, asked before anything is spent or written."""

from __future__ import annotations

from fedpriv.errors import BudgetExceeded
from fedpriv.federation.config import Config
from fedpriv.federation.home import ledger_path, open_ledger
from fedpriv.federation.plan import Plan
from fedpriv.ledger import Kind, Ledger

__all__ = ["check_allowance", "check_unit", "first_budget"]


def first_budget(config: Config) -> float:
    """The ε that a data set without a budget is given by the first run on it."""
    return config.budget.epsilon or config.privacy.epsilon


def check_allowance(config: Config, plan: Plan) -> None:
    """Compare ``plan`` with what its data set may still spend.

    Raises:
        BudgetExceeded: the ledger, or the budget that the first run would set, does not allow the plan.
    """
    path = ledger_path(config)
    if path.exists():
        with open_ledger(path) as ledger:
            check_unit(plan, ledger)
            if ledger.budget(plan.dataset) is not None:
                ledger.check(plan.dataset, event=plan.event, rounds=plan.rounds)
                return
    if plan.epsilon_pld > first_budget(config):
        raise BudgetExceeded(
            f"The plan costs ε = {plan.epsilon_pld:.4g}, and the budget that the configuration gives the "
            f"data set is {first_budget(config):g}.",
            hint="Raise budget.epsilon, or plan fewer rounds, more noise or a smaller batch.",
        )


def check_unit(plan: Plan, ledger: Ledger) -> None:
    """Refuse a plan whose unit is not the one that the data set's budget is spent in (spec 11.7).

    An ε for records and an ε for clients do not add up, and neither do those of two ways to make clients of
    the same records.

    Raises:
        BudgetExceeded: rounds of another unit were reserved on the data set.
    """
    for row in ledger.rows(plan.dataset):
        details = row.body.get("details")
        if row.kind != Kind.RESERVE or not isinstance(details, dict):
            continue
        earlier = str(details.get("unit", "record"))
        if earlier != plan.unit_key:
            raise BudgetExceeded(
                f"The budget of this data set is spent in another unit ({_short(earlier)}) than the plan's "
                f"({_short(plan.unit_key)}), and the two do not add up to one guarantee.",
                hint="Keep to one unit and one partition into clients for one data set, or name another "
                "ledger in budget.ledger and answer for the sum yourself.",
            )


def _short(unit_key: str) -> str:
    unit, _, digest = unit_key.partition(":")
    return f"{unit} {digest[:8]}" if digest else unit
