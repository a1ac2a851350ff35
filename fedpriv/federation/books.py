"""The ledgers of one run, the server's and the clients': what is written in them, and in which order.

A round is reserved in the server's ledger before any client is shown it, in each client's own before its
upload leaves, and its release stands in the server's before the sum is used and before a client signs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpriv.errors import BudgetExceeded
from fedpriv.federation.checkpoint import CHECKPOINTS, append_line
from fedpriv.federation.client_ledgers import ClientLedgers
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round import RoundLost, RoundOutcome
from fedpriv.ledger import Ledger

__all__ = ["Books", "Reserved"]


@dataclass(frozen=True, slots=True)
class Reserved:
    """A round that may begin: the head that it is bound to, and who takes no part, and why."""

    head: bytes
    refused: dict[int, str]


@dataclass(frozen=True, slots=True)
class Books:
    """The ledgers of the run ``run_id``; what clients sign goes into ``run_dir``."""

    ledger: Ledger
    clients: ClientLedgers
    plan: Plan
    run_id: str
    run_dir: Path

    def open(self) -> None:
        """Let the clients join the run, and sign what a round gave before an earlier process died."""
        self.clients.follow(self.ledger, self.plan.dataset)
        self.clients.join(self.run_id, self.plan)
        self._countersign(self.clients.clients)

    def reserve(self, round_: int) -> Reserved:
        """Count a round as spent, and show it to the clients.

        Raises:
            BudgetExceeded: the server's ledger, or so many clients' own, do not allow it; nothing was spent.
        """
        members = self.plan.members(round_)
        refused = self.clients.refusals(self.run_id, members)
        if refused and len(members) - len(refused) < self.plan.noise.min_survivors:
            client, reason = min(refused.items())
            raise BudgetExceeded(
                f"{len(refused)} of {len(members)} clients refuse another round, which needs "
                f"{self.plan.noise.min_survivors}. Client {client}: {reason}",
                hint="Let these clients raise their own caps, or end here.",
            )
        row = self.ledger.reserve(self.run_id, round_, self.plan.unit_details)
        self.clients.follow(self.ledger, self.plan.dataset, among=members)
        return Reserved(row.hash, refused)

    def release(self, round_: int, outcome: RoundOutcome) -> str:
        """Record a round's release, and keep what the clients that are there sign of it.

        Returns:
            the ledger's new head, hex.
        """
        row = self.ledger.release(
            self.run_id,
            round_,
            {
                "survivors": list(outcome.survivors),
                "realised_multiplier": self.plan.noise.realised_multiplier(len(outcome.survivors)),
                "aggregate": outcome.aggregate_digest,
            },
        )
        gone = {client for client, _ in outcome.dropped}
        self._countersign([client for client in self.plan.members(round_) if client not in gone])
        return row.hash.hex()

    def void(self, round_: int, lost: RoundLost) -> None:
        """Take a lost round back where every client that was to take part vouches that it sent nothing.

        A matrix mechanism counts rounds by their place: to take one back would shift the rest.
        """
        if lost.uploaded or self.plan.bands is not None:
            return
        evidence: dict[str, Any] = {"stage": lost.stage, "reason": lost.reason}
        if self.clients.clients:
            words = self.clients.withdrawals(self.run_id, round_, self.plan.members(round_))
            if words is None:
                return
            evidence["withdrawals"] = {str(client): word.hex() for client, word in words.items()}
        self.ledger.void(self.run_id, round_, evidence)

    def close(self) -> None:
        """Let the clients write down that the run is finished."""
        self.clients.follow(self.ledger, self.plan.dataset)
        self.clients.settle()

    def _countersign(self, present: Iterable[int]) -> None:
        """Show the clients that are there the ledger, and keep what they sign of it."""
        present = list(present)
        self.clients.follow(self.ledger, self.plan.dataset, among=present)
        signed = self.clients.countersign(present)
        if signed is not None:
            append_line(self.run_dir / CHECKPOINTS, signed.to_dict())
