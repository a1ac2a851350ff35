"""Whether the budget of a data set has room for a plan, asked before anything is spent or written."""

from __future__ import annotations

from fedpriv.errors import BudgetExceeded
from fedpriv.federation.config import Config
from fedpriv.federation.home import ledger_path
from fedpriv.federation.planning.plan import Plan
from fedpriv.ledger import Ledger, check_unit
from fedpriv.ledger.home import open_ledger

__all__ = ["check_allowance", "first_budget"]


def first_budget(config: Config) -> float:
    """The ε that a data set without a budget is given by the first run on it."""
    return config.budget.epsilon or config.privacy.epsilon


def check_allowance(config: Config, plan: Plan, ledger: Ledger | None = None) -> None:
    """Compare ``plan`` with what its data set may still spend.

    Args:
        config: names the ledger, and the budget of a data set that has none yet.
        plan: of a run.
        ledger: the ledger, where it is open already.

    Raises:
        BudgetExceeded: the ledger, or the budget that the first run would set, does not allow the plan.
    """
    if ledger is None and (path := ledger_path(config)).exists():
        with open_ledger(path) as found:
            _check(config, plan, found)
    else:
        _check(config, plan, ledger)


def _check(config: Config, plan: Plan, ledger: Ledger | None) -> None:
    if ledger is not None:
        check_unit(ledger, plan.dataset, plan.unit_key)
        if ledger.budget(plan.dataset) is not None:
            ledger.check(plan.dataset, event=plan.event, rounds=plan.rounds, unit=plan.unit_key)
            return
    if plan.epsilon_pld > first_budget(config):
        raise BudgetExceeded(
            f"The plan costs ε = {plan.epsilon_pld:.4g}, and the budget that the configuration gives the "
            f"data set is {first_budget(config):g}.",
            hint="Raise budget.epsilon, or plan fewer rounds, more noise or a smaller batch.",
        )
