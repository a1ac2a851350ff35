"""One client's own account beside a server's, with a cap of its own (protocols/ledger/spec.md, 12)."""

from __future__ import annotations

from collections.abc import Sequence

from fedpriv.crypto import SigningKey
from fedpriv.dp import Event, of_one_client
from fedpriv.errors import BudgetExceeded, IntegrityError, UsageError
from fedpriv.ledger.body import Details, Kind
from fedpriv.ledger.chain import RECORD, Chain, RoundState
from fedpriv.ledger.countersigned import Head, sign_withdrawal
from fedpriv.ledger.ledger import Ledger
from fedpriv.ledger.rows import Row

__all__ = ["ClientLedger"]


class ClientLedger:
    """What a client knows and insists on: its own ledger, and the server's chain as far as it was shown.

    Every row that is written here is on the client's disk before the method returns.

    Args:
        ledger: the client's own; its key is the client's identity.
        dataset: fingerprint of the client's records in ``ledger``.
        server: the server's public key, 32 bytes, known from outside the protocol.
        server_dataset: the data set of all clients together, as the server's ledger calls it.
    """

    def __init__(self, ledger: Ledger, dataset: str, *, server: bytes, server_dataset: str) -> None:
        self.dataset = dataset
        self._ledger = ledger
        self._server = server
        self._shown = Chain(server_dataset)
        self._last: Row | None = None
        self._remembered = self._recall()

    @property
    def key(self) -> SigningKey:
        """The client's identity."""
        return self._ledger.key

    @property
    def remembered(self) -> Head | None:
        """The last head of the server's chain that this client wrote down, over all runs."""
        return self._remembered

    def close(self) -> None:
        """Release the client's ledger."""
        self._ledger.close()

    # The server's chain

    def follow(self, rows: Sequence[Row]) -> None:
        """Take the rows that come after those shown before, from row 0 on (spec 12.1).

        Raises:
            IntegrityError: they do not follow, are not the server's, or a head that the client remembers is
                not among them: an older copy of the server's ledger was put back, or it is another ledger.
        """
        for row in rows:
            if row.signer != self._server:
                raise IntegrityError(
                    f"Row {row.seq} of the server's ledger is signed by another key than the server's."
                )
        if rows and not rows[-1].signature_holds():
            raise IntegrityError(f"The signature of row {rows[-1].seq} of the server's ledger does not hold.")
        for row in rows:
            self._shown.extend(row)
            self._last = row
            if self._remembered is not None and row.seq == self._remembered.seq:
                self._compare(row.hash)
        if self._remembered is not None and self._shown.length <= self._remembered.seq:
            raise _older(f"it ends at row {self._shown.length - 1}", self._remembered)

    @property
    def length(self) -> int:
        """How many rows of the server's chain the client was shown."""
        return self._shown.length

    def _compare(self, found: bytes) -> None:
        assert self._remembered is not None  # noqa: S101 -- asked only then
        if self._remembered.signer != self._server:
            raise IntegrityError(
                "This client has followed a ledger of another server for the same data set.",
                hint="Use the ledger and the key that earlier runs on the data set were accounted in.",
            )
        if found != self._remembered.hash:
            raise _older("that row is another one", self._remembered)

    def _recall(self) -> Head | None:
        """The latest head of this server's chain that stands in the client's own rows."""
        latest: Head | None = None
        for row in self._ledger.rows(self.dataset):
            details = row.body.get("details")
            stated = details.get("server") if isinstance(details, dict) else None
            if stated is None:
                continue
            head = Head.from_dict(stated)
            if head.dataset == self._shown.dataset and (latest is None or head.seq >= latest.seq):
                latest = head
        return latest

    # Runs

    def willing(
        self, *, event: Event, rounds: int, epsilon: float, name: str, delta: float, unit: str = RECORD
    ) -> None:
        """Say whether the client's own budget admits a plan, giving the client a budget where it has none.

        Where clients take turns, the client counts its own rounds alone (`fedpriv.dp.of_one_client`).
        ``epsilon`` and ``delta`` are that first budget; later ones only the client's owner sets.

        Raises:
            BudgetExceeded: it does not.
        """
        if self._ledger.budget(self.dataset) is None:
            self._ledger.set_budget(self.dataset, name, epsilon, delta)
        own, most = of_one_client(event, rounds)
        self._ledger.check(self.dataset, event=own, rounds=most, unit=unit)

    def join(self, run_id: str, *, event: Event, rounds: int, details: Details | None = None) -> None:
        """Commit to a run that the server's chain holds; a second call for the same run changes nothing.

        Args:
            run_id: of the run.
            event, rounds: what the client was told that it does, and how often at most.
            details: facts for the client's own PLAN row.

        Raises:
            IntegrityError: the server's chain holds no such plan.
            BudgetExceeded: the client's budget does not admit it.
        """
        planned = self._shown.runs.get(run_id)
        if planned is None or (planned.event, planned.rounds) != (event, rounds):
            raise IntegrityError(
                f"The server's ledger holds no plan of run {run_id} with the event and the rounds that this "
                "client was told."
            )
        if not self._ledger.has_run(self.dataset, run_id):
            stated = self._details(details)
            own, most = of_one_client(event, rounds)
            self._ledger.plan(run_id, self.dataset, event=own, rounds=most, details=stated)

    def ready(self, run_id: str) -> None:
        """Say whether the client's own budget allows one more round; nothing is written.

        Raises:
            BudgetExceeded: it does not.
            UsageError: the client never joined the run.
        """
        self._ledger.check_round(run_id)

    def reserve(self, run_id: str, round_: int, details: Details | None = None) -> None:
        """Count a round as spent, before anything of it leaves the client (spec 12.2).

        Raises:
            IntegrityError: the last row that the client was shown is not the round's RESERVE row.
            BudgetExceeded: the client's own budget does not allow it.
        """
        self._reserve_row(run_id, round_)
        self._ledger.reserve(run_id, round_, self._details(details))

    def countersign(self) -> bytes | None:
        """Write down which reserved rounds were released by now, then sign the server's head (spec 12.3).

        Returns:
            the countersignature, 64 bytes; ``None`` where there was nothing to write down.
        """
        if not self.settle():
            return None
        self._remembered = self._head()
        return self._remembered.countersign(self.key)

    def settle(self) -> bool:
        """Write down which reserved rounds were released by now, and which runs are finished.

        Returns:
            whether there was a round to write down.
        """
        wrote = False
        for run in self._ledger.runs(self.dataset):
            shown = self._shown.runs.get(run.run_id)
            if shown is None or run.finished:
                continue
            for round_ in run.pending:
                if shown.states.get(round_) is RoundState.RELEASED:
                    self._ledger.release(run.run_id, round_, self._details())
                    wrote = True
            if shown.finished:
                self._ledger.finish(run.run_id, self._details())
        return wrote

    def withdraw(self, run_id: str, round_: int, details: Details | None = None) -> bytes | None:
        """A signed word that nothing of a reserved round left this client, and nothing ever will (spec 12.5).

        Returns:
            the withdrawal, 64 bytes; ``None`` where the client has reserved the round, so that something may
            have left it, or cannot write down that nothing will.
        """
        row = self._reserve_row(run_id, round_)
        try:
            if round_ in self._ledger.reserved_rounds(run_id):
                return None
            self._ledger.reserve(run_id, round_, self._details(details))
            self._ledger.void(run_id, round_, {"withdrawn": True, "server": self._head().to_dict()})
        except (BudgetExceeded, UsageError):
            return None
        return sign_withdrawal(self.key, row)

    def _reserve_row(self, run_id: str, round_: int) -> Row:
        row = self._last
        if row is None or (row.kind, row.run, row.round) != (Kind.RESERVE, run_id, round_):
            raise IntegrityError(
                f"The server's ledger, as far as this client was shown, does not end with the RESERVE row of "
                f"round {round_} of run {run_id}."
            )
        return row

    @property
    def last(self) -> Row:
        """The last row of the server's chain that the client was shown."""
        if self._last is None:
            raise UsageError("The client was shown nothing of the server's ledger.")
        return self._last

    def _head(self) -> Head:
        return Head.of(self.last)

    def _details(self, more: Details | None = None) -> dict[str, object]:
        """What the client's own rows say, and by which it remembers the server's head."""
        return {**(more or {}), "server": self._head().to_dict()}


def _older(why: str, remembered: Head) -> IntegrityError:
    return IntegrityError(
        f"This client has written down row {remembered.seq} ({remembered.hash.hex()[:12]}…) of the server's "
        f"ledger, which does not hold it ({why}): an older copy was put back, or it is another ledger.",
        hint="Restore the newest copy of the ledger; no run is begun on an older one.",
    )
