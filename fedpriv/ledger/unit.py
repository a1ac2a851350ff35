"""One budget, one unit: what is spent for records and what is spent for clients do not add up."""

from __future__ import annotations

from fedpriv.errors import BudgetExceeded
from fedpriv.ledger.body import Kind
from fedpriv.ledger.chain import RECORD
from fedpriv.ledger.ledger import Ledger

__all__ = ["RECORD", "check_unit"]


def check_unit(ledger: Ledger, dataset: str, unit_key: str) -> None:
    """Refuse a unit that is not the one that the data set's budget is spent in (protocols/dp/spec.md, 11.7).

    An ε for records and an ε for clients do not add up, and neither do those of two ways to make clients of
    the same records.

    Args:
        ledger: where the data set is accounted.
        dataset: its fingerprint.
        unit_key: ``record``, or ``client:`` and a digest of who has which records.

    Raises:
        BudgetExceeded: rounds of another unit were reserved on the data set.
    """
    for row in ledger.rows(dataset):
        details = row.body.get("details")
        if row.kind != Kind.RESERVE or not isinstance(details, dict):
            continue
        earlier = str(details.get("unit", RECORD))
        if earlier != unit_key:
            raise BudgetExceeded(
                f"The budget of this data set is spent in another unit ({_short(earlier)}) than the plan's "
                f"({_short(unit_key)}), and the two do not add up to one guarantee.",
                hint="Keep to one unit and one partition into clients for one data set, or name another "
                "ledger in budget.ledger and answer for the sum yourself.",
            )


def _short(unit_key: str) -> str:
    unit, _, digest = unit_key.partition(":")
    return f"{unit} {digest[:8]}" if digest else unit
