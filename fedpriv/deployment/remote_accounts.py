"""The clients' own ledgers on their nodes, as the server's books see them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fedpriv.ckks.mode import AUTHORITY
from fedpriv.deployment.messages import Answer, Sign, Withdraw
from fedpriv.deployment.nodes import Nodes, party_name
from fedpriv.errors import TooFewParties
from fedpriv.federation.planning.plan import Plan
from fedpriv.ledger import Checkpoint, Head, Ledger
from fedpriv.ledger.body import Kind
from fedpriv.ledger.countersigned import roster_digest
from fedpriv.ledger.rows import Row

__all__ = ["RemoteAccounts"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RemoteAccounts:
    """What clients sign comes with their next answers; only the last of it is asked for.

    Attributes:
        nodes: the parties.
        ledger: the server's, open.
        refused: clients whose own budget refused a round of this run, and what they said.
    """

    nodes: Nodes
    ledger: Ledger
    refused: dict[int, str] = field(default_factory=dict)
    _run: str = ""
    _head: Row | None = None
    _signed: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)

    @property
    def accounted(self) -> bool:
        """Whether the clients keep ledgers of their own."""
        return True

    @property
    def rows(self) -> tuple[Row, ...]:
        """The server's ledger, from its first row; clients are shown all of it."""
        return tuple(self.ledger.rows(self.nodes.bundle.agreement.dataset))

    def roster_digest(self) -> str:
        """What the PLAN row holds of the clients' keys."""
        return roster_digest(self.nodes.bundle.agreement.roster)

    def follow(self, server: Ledger, dataset: str, *, among: Iterable[int] | None = None) -> None:
        """Nothing: each request that a client signs or reserves for carries the rows."""

    def check(self, plan: Plan, *, epsilon: float, name: str) -> None:
        """Meet the parties, each with its data, model and budget tried; caps are their owners' alone.

        Raises:
            TooFewParties: fewer take part than a round needs.
        """
        self._meet(plan, len(plan.everyone), begins=True)

    def join(self, run_id: str, plan: Plan) -> None:
        """Meet the parties, where they were not met yet; each joins with its first upload.

        Raises:
            TooFewParties: fewer take part than a round needs.
        """
        self._run = run_id
        if not self.nodes.parties:
            self._meet(plan, len(plan.everyone), begins=False)

    def refusals(self, run_id: str, members: Iterable[int]) -> Mapping[int, str]:
        """Clients whose own budget refused before; first waits for so many nodes as a round needs.

        Raises:
            TooFewParties: they do not come.
        """
        plan = self.nodes.bundle.plan
        self.nodes.look_again(self.rows)
        self._meet(plan, plan.noise.min_survivors, begins=False)
        return {client: self.refused[client] for client in members if client in self.refused}

    def signed(self, present: Iterable[int]) -> Checkpoint | None:
        """What came with the uploads since the last call."""
        head, signed = self._head, self._signed
        self._head, self._signed = None, {}
        if head is None:
            return None
        released = [row for row in self.rows[: head.seq + 1] if row.kind == Kind.RELEASE]
        round_ = max((row.round or 0 for row in released if row.run == self._run), default=0)
        return Checkpoint(Head.of(head), head.signature, self._run, round_, signed)

    def sign_last(self) -> Checkpoint | None:
        """Ask for what is left to sign."""
        rows = self.rows
        self._ask_all(rows)
        return self.signed(())

    def withdrawals(self, run_id: str, round_: int, members: Iterable[int]) -> Mapping[int, bytes] | None:
        """Ask each member; ``None`` where one does not give its word, or is not there to give it."""
        members, agreement = list(members), self.nodes.bundle.agreement
        if not set(members) <= set(self.nodes.parties):
            return None
        asked = Withdraw(agreement.digest(), bytes.fromhex(run_id), round_, self.rows)
        given = {}
        for client, answer in self.nodes.ask(dict.fromkeys(members, asked), self.nodes.settings.timeout):
            if isinstance(answer, Answer) and answer.signature:
                given[client] = answer.signature
        return given if len(given) == len(members) else None

    def settle(self) -> None:
        """Show every client that can be reached how the run ended."""
        self._ask_all(self.rows)

    def note(self, client: int, head: Row, signature: bytes) -> None:
        """Keep a client's signature of ``head``, the last row that it was shown, if it is one."""
        key = self.nodes.bundle.agreement.roster[client]
        if signature and Head.of(head).countersigned(key, signature):
            if self._head is None or self._head.seq != head.seq:
                self._head, self._signed = head, {}
            self._signed[client] = (key, signature)

    def _ask_all(self, rows: tuple[Row, ...]) -> None:
        agreement = self.nodes.bundle.agreement
        asked = Sign(agreement.digest(), bytes.fromhex(self._run), rows)
        clients = [party for party in self.nodes.parties if party]
        for client, answer in self.nodes.ask(dict.fromkeys(clients, asked), self.nodes.settings.timeout):
            if isinstance(answer, Answer):
                self.note(client, rows[-1], answer.signature)
            else:
                _log.warning("%s did not sign the ledger: %s", party_name(client), answer)

    def _meet(self, plan: Plan, clients: int, *, begins: bool) -> None:
        """Wait for so many clients, and for the key authority where there is one."""
        authority = 1 if self.nodes.bundle.agreement.authority is not None else 0
        least = plan.noise.min_survivors + authority
        self.nodes.meet(self.rows, wanted=clients + authority, least=least, begins=begins)
        if authority and AUTHORITY not in self.nodes.parties:
            raise TooFewParties(
                "The key authority takes no part, and without it no sum is opened.",
                hint="Nothing of this round was spent. Start its node, and the run again: it goes on.",
            )
