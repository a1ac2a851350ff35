"""The ledgers of one run, the server's and the clients': what is written in them, and in which order.

A round is reserved in the server's ledger before any client is shown it, in each client's own before its
upload leaves, and its release stands in the server's before the sum is used and before a client signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fedpriv.errors import BudgetExceeded
from fedpriv.federation.checkpoint import CHECKPOINTS, append_line
from fedpriv.federation.outcome import RoundLost, RoundOutcome
from fedpriv.federation.planning.plan import Plan
from fedpriv.ledger import Checkpoint, Ledger

__all__ = ["Books", "ClientAccounts", "Reserved"]


class ClientAccounts(Protocol):
    """The clients' own ledgers, wherever they are."""

    @property
    def accounted(self) -> bool:
        """Whether the clients keep ledgers of their own."""

    def roster_digest(self) -> str:
        """What the PLAN row holds of the clients' keys (`fedpriv.ledger.countersigned.roster_digest`)."""

    def follow(self, server: Ledger, dataset: str, *, among: Iterable[int] | None = None) -> None:
        """Show the clients (of ``among``) the server's chain, now or before they next sign or reserve.

        Raises:
            IntegrityError: a client remembers a row that is not there; it is named.
        """

    def check(self, plan: Plan, *, epsilon: float, name: str) -> None:
        """Ask each client whether it may and will take part; nothing is spent.

        Clients without a budget are given ``epsilon``, where they have no word of their own, at the plan's δ.

        Raises:
            BudgetExceeded: so many have no room that no round could succeed.
        """

    def join(self, run_id: str, plan: Plan) -> None:
        """Let every client that has room commit to the run that the server's chain holds."""

    def refusals(self, run_id: str, members: Iterable[int]) -> Mapping[int, str]:
        """Why clients among ``members`` take no part in another round, as far as is known."""

    def signed(self, present: Iterable[int]) -> Checkpoint | None:
        """The last released round's head with the signatures of clients, once those that are ``present`` have
        given them; ``None`` before, and where there is nothing new."""

    def sign_last(self) -> Checkpoint | None:
        """What is left to sign when the last round is over."""

    def withdrawals(self, run_id: str, round_: int, members: Iterable[int]) -> Mapping[int, bytes] | None:
        """Each member's word that nothing of a round left it; ``None`` if one of them does not give it."""

    def settle(self) -> None:
        """Let every client write down what became of its rounds and runs."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """A round that may begin: the head that it is bound to, and who takes no part, and why."""

    head: bytes
    refused: dict[int, str]


@dataclass(frozen=True, slots=True)
class Books:
    """The ledgers of the run ``run_id``; what clients sign goes into ``run_dir``."""

    ledger: Ledger
    clients: ClientAccounts
    plan: Plan
    run_id: str
    run_dir: Path

    def open(self) -> None:
        """Let the clients join the run, and sign what a round gave before an earlier process died."""
        self.clients.follow(self.ledger, self.plan.dataset)
        self.clients.join(self.run_id, self.plan)
        self._sign(self.clients.signed(self.plan.everyone))

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
        return Reserved(row.hash, dict(refused))

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
        present = [client for client in self.plan.members(round_) if client not in gone]
        self.clients.follow(self.ledger, self.plan.dataset, among=present)
        self._sign(self.clients.signed(present))
        return row.hash.hex()

    def void(self, round_: int, lost: RoundLost) -> None:
        """Take a lost round back where every client that was to take part vouches that it sent nothing.

        Where clients take turns, rounds are counted by their place: to take one back would shift the rest.
        """
        if lost.uploaded or self.plan.cohorts is not None:
            return
        evidence: dict[str, Any] = {"stage": lost.stage, "reason": lost.reason}
        if self.clients.accounted:
            words = self.clients.withdrawals(self.run_id, round_, self.plan.members(round_))
            if words is None:
                return
            evidence["withdrawals"] = {str(client): word.hex() for client, word in words.items()}
        self.ledger.void(self.run_id, round_, evidence)

    def end(self) -> None:
        """Keep what the clients have still to sign of the rounds, which are over."""
        self._sign(self.clients.sign_last())

    def close(self) -> None:
        """Let the clients write down that the run is finished."""
        self.clients.follow(self.ledger, self.plan.dataset)
        self.clients.settle()

    def _sign(self, signed: Checkpoint | None) -> None:
        if signed is not None:
            append_line(self.run_dir / CHECKPOINTS, signed.to_dict())
