"""The server's ledger beside a session: its plan, each round before it is asked for, each sum that came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fedpriv.crypto import digest
from fedpriv.flower.plan import PrivateSumPlan, PrivateTotal
from fedpriv.keystore import Roster
from fedpriv.ledger import Ledger, check_unit

__all__ = ["Account"]

_SUM_DOMAIN: Final = "fedpriv flower sum v1"


@dataclass(frozen=True, slots=True)
class Account:
    """A session's rows in a ledger, where ``dataset`` has a budget.

    Attributes:
        ledger: the server's, open.
        dataset: fingerprint of all clients' data together, 16 to 128 lower-case hexadecimal digits.
    """

    ledger: Ledger
    dataset: str

    def commit(self, plan: PrivateSumPlan, roster: Roster) -> None:
        """Commit the session to its plan, unless that was done before; nothing is spent yet.

        Raises:
            BudgetExceeded: the budget does not admit the plan, or is spent in another unit than clients
                of this roster.
        """
        check_unit(self.ledger, self.dataset, _unit(roster))
        run = plan.run_id.hex()
        if not self.ledger.has_run(self.dataset, run):
            details = {"session": plan.session, "roster": roster.fingerprint}
            self.ledger.plan(run, self.dataset, event=plan.noise.event(), rounds=plan.rounds, details=details)

    def reserve(self, plan: PrivateSumPlan, roster: Roster, round_: int) -> None:
        """Count a round as spent, durably, before any node is asked.

        Raises:
            BudgetExceeded: the budget does not allow it; nothing was written.
            UsageError: a round number that was used before.
        """
        self.ledger.reserve(plan.run_id.hex(), round_, {"unit": _unit(roster)})

    def release(self, plan: PrivateSumPlan, round_: int, total: PrivateTotal) -> None:
        """Record that the round gave its sum, before anybody uses it."""
        details = {
            "survivors": list(total.survivors),
            "noise_multiplier": total.noise_multiplier,
            "sum": digest(_SUM_DOMAIN, total.integers.astype("<i8").tobytes()).hex(),
        }
        self.ledger.release(plan.run_id.hex(), round_, details)


def _unit(roster: Roster) -> str:
    """Whose vectors are protected: the clients of this roster."""
    return f"client:{digest('fedpriv flower unit v1', roster.fingerprint.encode()).hex()}"
