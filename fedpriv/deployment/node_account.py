"""A node's own ledger beside the server's: what it is shown, what it signs, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fedpriv.crypto import SigningKey
from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.node_records import NodeRecords
from fedpriv.deployment.policy import RunPolicy
from fedpriv.dp import of_one_client
from fedpriv.ledger import ClientLedger, Ledger
from fedpriv.ledger.home import now
from fedpriv.ledger.records import check_resumed, remember
from fedpriv.ledger.rows import Row

__all__ = ["NodeAccount", "open_account"]


@dataclass(frozen=True, slots=True)
class NodeAccount:
    """One client's books, open.

    Attributes:
        ledger: its own.
        book: what it follows of the server's, and insists on.
        records: its records, as its own ledger knows them.
        bundle: of the run.
    """

    ledger: Ledger
    book: ClientLedger
    records: NodeRecords
    bundle: Bundle

    def willing(self, policy: RunPolicy) -> None:
        """Say whether the client's own budget admits the plan; its cap is its policy's from now on.

        Raises:
            BudgetExceeded: it does not.
        """
        self._set_cap(policy)
        plan = self.bundle.plan
        event, rounds = of_one_client(plan.event, plan.rounds)
        self.ledger.check(self.book.dataset, event=event, rounds=rounds, unit=plan.unit_key)

    def follow(self, rows: Sequence[Row]) -> bytes:
        """Take the server's chain, write down what became of the client's rounds, and sign where it ends.

        Returns:
            the countersignature of the last row (spec 12.3); nothing where no round was released since.

        Raises:
            IntegrityError: the chain is not the one that the client remembers.
        """
        self.book.follow(rows)
        return self.book.countersign() or b""

    def reserve(self, run: str, round_: int, policy: RunPolicy) -> None:
        """Count a round as spent, before anything of it leaves the client; the first time, join the run.

        Raises:
            BudgetExceeded: the client's own budget does not allow it.
            UsageError: the records are not those that the run was begun with, or the round was spent before.
            IntegrityError: the server's chain does not end with the round's reservation.
        """
        self._join(run, policy)
        self.book.reserve(run, round_, self.bundle.plan.unit_details)

    def withdraw(self, run: str, round_: int, policy: RunPolicy) -> bytes:
        """The client's word that nothing of a round left it and nothing will, or nothing.

        Raises:
            IntegrityError: the server's chain does not end with the round's reservation.
        """
        self._join(run, policy)
        return self.book.withdraw(run, round_, self.bundle.plan.unit_details) or b""

    def _join(self, run: str, policy: RunPolicy) -> None:
        """Commit to the run, or see that the records are still those of that day."""
        dataset, plan = self.book.dataset, self.bundle.plan
        self._set_cap(policy)  # also of a run that was joined under another one
        if self.ledger.has_run(dataset, run):
            check_resumed(self.ledger, dataset, run, self.records.recognised.marks)
            return
        with remember(self.ledger, self.records.recognised) as kept:
            details = {"config": self.bundle.agreement.config, "records": kept}
            self.book.join(run, event=plan.event, rounds=plan.rounds, details=details)

    def _set_cap(self, policy: RunPolicy) -> None:
        """Bring the ledger's cap to what the owner's policy says."""
        budget, dataset = self.ledger.budget(self.book.dataset), self.book.dataset
        if budget is None or (budget.epsilon, budget.delta) != (policy.max_epsilon, policy.delta):
            name = self.records.recognised.called(policy.data.name if policy.data else dataset)
            self.ledger.set_budget(dataset, name, policy.max_epsilon, policy.delta)


@contextmanager
def open_account(policy: RunPolicy, bundle: Bundle, key: SigningKey) -> Iterator[NodeAccount]:
    """Open a client's books; its ledger is made where it is missing, and signed with its identity.

    Raises:
        DataError, UsageError: the records, or the ledger, cannot be used.
        IntegrityError: the ledger is damaged.
    """
    assert policy.ledger is not None  # noqa: S101 -- a client's policy names one
    policy.ledger.parent.mkdir(parents=True, exist_ok=True)
    agreement = bundle.agreement
    with Ledger.open(policy.ledger, key, now) as ledger:
        records = NodeRecords.read(policy, bundle, ledger)
        book = ClientLedger(
            ledger,
            records.recognised.dataset,
            server=agreement.server,
            server_dataset=agreement.dataset,
        )
        yield NodeAccount(ledger, book, records, bundle)
