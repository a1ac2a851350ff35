"""The ledger: what a caller asks, checked against chain and budget, and written before it is answered."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from fedpriv.crypto import SigningKey
from fedpriv.dp import Event, event_to_dict
from fedpriv.errors import FedprivError, IntegrityError, UsageError
from fedpriv.ledger.body import (
    MAX_ROUNDS,
    MAX_SEQ,
    Body,
    Details,
    Kind,
    check_body,
    check_dataset,
    check_run,
    plain,
)
from fedpriv.ledger.budget import Spent, admit_plan, admit_reserve, check_budget, spent, warm
from fedpriv.ledger.bundle import make_bundle
from fedpriv.ledger.chain import RECORD, Budget, Chain
from fedpriv.ledger.countersigned import Head
from fedpriv.ledger.record import RunRecord
from fedpriv.ledger.rows import Row, seal
from fedpriv.ledger.store import Store

__all__ = ["Ledger"]

MIN_DELTA: Final = 1e-12  # the accountant's tight figure is not reliable below
_CHANGED: Final = "Restore the ledger from a copy, and find out who or what changed the file."


class Ledger:
    """The durable record of what every data set has spent (protocols/ledger/spec.md).

    Every method that writes returns the row after it is on the disk. Every refusal leaves the file as it was.
    A ledger may be open in several processes at once; within one, its methods may be called from any thread.

    Args:
        path: the file; created with mode 0600 if it does not exist. Its folder must exist, on a local disk.
        signer: the identity that signs every row; one ledger has one signer.
        clock: gives the UTC time of a row in RFC 3339 form, as ``2026-01-31T12:00:00Z``.

    Raises:
        IntegrityError: the file is no ledger, is damaged, was changed, or is of a newer version.
        UsageError: the file cannot be created or written, or belongs to another signer.
    """

    def __init__(self, path: str | os.PathLike[str], signer: SigningKey, clock: Callable[[], str]) -> None:
        self._signer = signer
        self._clock = clock
        self._chains: dict[str, Chain] = {}
        self._lock = threading.RLock()
        self._store = Store(path)
        try:
            for dataset in self._store.datasets():
                self._chain(dataset)
        except BaseException:
            self._store.close()
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str], signer: SigningKey, clock: Callable[[], str]) -> Ledger:
        """Open the ledger at ``path``, or create it; the same as calling the class."""
        return cls(path, signer, clock)

    def close(self) -> None:
        """Release the file; every later call raises `UsageError`."""
        with self._lock:
            self._store.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self._store.path

    @property
    def public(self) -> bytes:
        """The public key (32 bytes) that every row of this ledger is signed under."""
        return self._signer.public

    @property
    def key(self) -> SigningKey:
        """The identity that signs every row."""
        return self._signer

    # Budgets

    def set_budget(self, dataset: str, name: str, epsilon: str | float, delta: str | float) -> Row:
        """Set, raise or lower what ``dataset`` may lose over all runs; each change stays visible as a row.

        A budget below what is spent already is taken: nothing more is reserved then. ``delta`` is one for the
        data set and cannot change once a run was planned on it (spec 6.4).

        Raises:
            UsageError: no fingerprint, ε negative or not finite, δ not in [1e-12, 1), another δ than earlier
                runs were accounted at, or so large an ε that the filter of a shared data set cannot keep it.
        """
        check_dataset(dataset)
        body: Body = {
            "name": name,
            "epsilon": _decimal("epsilon", epsilon, lambda value: value >= 0.0, "a finite number, 0 or more"),
            "delta": _decimal(
                "delta", delta, lambda value: MIN_DELTA <= value < 1.0, f"from {MIN_DELTA} to below 1"
            ),
        }
        if not isinstance(name, str) or not 1 <= len(name) <= 256:
            raise UsageError("The name of a data set is a text of 1 to 256 characters.")
        with self._writing(dataset) as chain:
            check_budget(chain, float(epsilon), float(delta))
            return self._write(chain, Kind.BUDGET, body)

    def budget(self, dataset: str) -> Budget | None:
        """The budget in force, ``None`` where none was ever set."""
        with self._lock:
            return self._chain(check_dataset(dataset)).budget

    # Runs

    def plan(self, run_id: str, dataset: str, *, event: Event, rounds: int, details: Details) -> Row:
        """Commit a run to ``rounds`` rounds of one event; nothing is spent until the first RESERVE.

        Args:
            run_id: a name never used before in this ledger.
            dataset: the fingerprint of the data set, which must have a budget.
            event: what one round does at most; the same for every round.
            rounds: how many rounds the run may reserve.
            details: facts of the run for its readers (digests, base model, …); floats become text.

        Raises:
            BudgetExceeded: the budget does not admit the plan; nothing was written.
            UsageError: a name already used, no budget, rounds out of range.
        """
        check_run(run_id)
        check_dataset(dataset)
        if type(rounds) is not int or not 1 <= rounds <= MAX_ROUNDS:
            raise UsageError(f"A plan has between 1 and {MAX_ROUNDS} rounds, not {rounds!r}.")
        body: Body = {
            "run": run_id,
            "event": event_to_dict(event),
            "rounds": rounds,
            "details": _mapping(details),
        }
        with self._lock:
            known = self._chain(dataset)
        if known.budget is not None and known.unused():
            warm(event, rounds, known.budget.delta)  # the slow part, before other writers are kept waiting
        with self._writing(dataset) as chain:
            if self._store.dataset_of(run_id) not in (None, dataset):
                raise UsageError(
                    f"The run {run_id} was already planned on another data set; a run's name is used once.",
                    hint="Give the new run a name of its own.",
                )
            chain.check(Kind.PLAN, body)
            admission = admit_plan(chain, event, rounds)
            body |= {"rule": admission.rule, "epsilon": repr(admission.epsilon)}
            return self._write(chain, Kind.PLAN, body)

    def check(self, dataset: str, *, event: Event, rounds: int, unit: str = RECORD) -> None:
        """Say whether the budget would admit ``rounds`` rounds of ``event``; nothing is written.

        ``unit`` is what their RESERVE rows will name.

        Raises:
            BudgetExceeded: it would not, with the reason that `plan` or `reserve` would give.
            UsageError: the data set has no budget.
        """
        with self._lock:
            chain = self._chain(check_dataset(dataset))
            chain.check_unit({"unit": unit})
            admit_plan(chain, event, rounds)

    def reserve(self, run_id: str, round: int, details: Details | None = None) -> Row:  # noqa: A002
        """Count a round as spent, durably, before anything of it may leave a client.

        Raises:
            BudgetExceeded: the plan's rounds are used up, or the data set's budget does not allow one more.
            UsageError: an unknown or finished run, or a round number that was used before.
        """
        body: Body = {"run": run_id, "round": _round(round), "details": _mapping(details or {})}
        with self._writing(self._dataset(run_id)) as chain:
            chain.check(Kind.RESERVE, body)
            admit_reserve(chain, chain.runs[run_id])
            return self._write(chain, Kind.RESERVE, body)

    def check_round(self, run_id: str) -> None:
        """Say whether one more round of a run could be reserved; nothing is written.

        Raises:
            BudgetExceeded, UsageError: it could not, with the reason that `reserve` would give.
        """
        with self._lock:
            chain = self._chain(self._dataset(run_id))
            run = chain.runs[run_id]
            if run.finished:
                raise UsageError(f"The run {run_id} is finished.", hint="Plan a new run on the data set.")
            admit_reserve(chain, run)

    def release(self, run_id: str, round: int, details: Details) -> Row:  # noqa: A002
        """Record that a reserved round gave its sum: survivors, realised noise, digest of the aggregate.

        Raises:
            UsageError: the round is not reserved, or already released or voided.
        """
        body: Body = {"run": run_id, "round": _round(round), "details": _mapping(details)}
        with self._writing(self._dataset(run_id)) as chain:
            return self._write(chain, Kind.RELEASE, body)

    def void(self, run_id: str, round: int, evidence: str | Details) -> Row:  # noqa: A002
        """Take a reserved round back, with evidence that no upload of it left any client.

        The round no longer counts as spent; its number stays used.

        Raises:
            UsageError: no evidence, or the round is not reserved, or already released or voided.
        """
        if not isinstance(evidence, str | Mapping) or not evidence:
            raise UsageError(
                f"Round {round} of run {run_id} cannot be voided without evidence.",
                hint="Say how it is known that no upload left a client; otherwise the round stays spent.",
            )
        body: Body = {"run": run_id, "round": _round(round), "evidence": plain(evidence)}
        with self._writing(self._dataset(run_id)) as chain:
            return self._write(chain, Kind.VOID, body)

    def finish(self, run_id: str, details: Details) -> Row:
        """Close a run: no round of it can be reserved again. ``details`` carries the digest of the adapter.

        A run that is given up before its first round is finished too, so that it no longer counts as planned.

        Raises:
            UsageError: an unknown run, or one that is finished already.
        """
        body: Body = {"run": run_id, "details": _mapping(details)}
        with self._writing(self._dataset(run_id)) as chain:
            return self._write(chain, Kind.FINISH, body)

    # Reading

    def spent(self, dataset: str) -> Spent:
        """What a data set has lost, recomputed from its reserved rounds (a few tenths of a second).

        Raises:
            UsageError: the data set has no budget in this ledger.
        """
        with self._lock:
            return spent(self._chain(check_dataset(dataset)))

    def datasets(self) -> list[Budget]:
        """The budget in force of every data set of the ledger, in the order of their fingerprints."""
        with self._lock:
            budgets = (self._chain(dataset).budget for dataset in self._store.datasets())
            return [budget for budget in budgets if budget is not None]

    def rows(self, dataset: str, start: int = 0) -> list[Row]:
        """The rows of a data set from number ``start`` on, oldest first; checked against the chain."""
        with self._lock:
            chain = self._chain(check_dataset(dataset))
            return self._store.rows(dataset, start)[: max(chain.length - start, 0)]

    def head(self, dataset: str) -> bytes:
        """The hash of the last row (32 bytes): kept elsewhere, it tells whether rows were taken away."""
        with self._lock:
            return self._chain(check_dataset(dataset)).head

    def holds(self, head: Head) -> bool:
        """Whether the chain of the head's data set has that row; if not, it is older, or another one."""
        rows = self.rows(head.dataset, head.seq)[:1]
        return bool(rows) and rows[0].hash == head.hash

    def runs(self, dataset: str) -> list[RunRecord]:
        """The runs planned on a data set, oldest first."""
        with self._lock:
            chain = self._chain(check_dataset(dataset))
            return [RunRecord.of(chain, run_id) for run_id in chain.runs]

    def has_run(self, dataset: str, run_id: str) -> bool:
        """Whether a run of that name was planned on a data set."""
        with self._lock:
            return run_id in self._chain(check_dataset(dataset)).runs

    def run(self, run_id: str) -> RunRecord:
        """What is known of a run, for resuming it.

        Raises:
            UsageError: the ledger knows no such run.
        """
        with self._lock:
            return RunRecord.of(self._chain(self._dataset(run_id)), run_id)

    def reserved_rounds(self, run_id: str) -> tuple[int, ...]:
        """The rounds of a run that count as spent: reserved and not voided, ascending."""
        record = self.run(run_id)
        return tuple(sorted(record.pending + record.released))

    def last_round(self, run_id: str) -> int | None:
        """The highest round number that a run ever reserved, ``None`` before the first."""
        return self.run(run_id).last_round

    def export(self, dataset: str) -> dict[str, object]:
        """The chain of a data set as a bundle that `verify_bundle` checks without the ledger (spec 7)."""
        with self._lock:
            rows = self.rows(dataset)
            if not rows:
                raise UsageError(f"The ledger knows no data set {dataset}.")
            return make_bundle(dataset, rows, signer=self._signer.public)

    # Inside

    def _dataset(self, run_id: str) -> str:
        """The data set of a run that the ledger knows."""
        with self._lock:
            dataset = self._store.dataset_of(check_run(run_id))
        if dataset is None:
            raise UsageError(
                f"The ledger knows no run {run_id}.", hint="Plan the run before its first round."
            )
        return dataset

    def _chain(self, dataset: str) -> Chain:
        """The state of a data set after every committed row; rows new to this process are checked."""
        chain = self._chains.get(dataset) or Chain(dataset)
        try:
            rows = self._store.rows(dataset, max(chain.length - 1, 0))
            if chain.length:
                if not rows or rows[0].hash != chain.head:
                    raise IntegrityError(
                        f"Row {chain.length - 1} of data set {dataset} changed while the ledger was open."
                    )
                rows = rows[1:]
            for row in rows:
                chain.extend(row)  # first: a signer that was damaged is no other signer
                self._check_signer(row)
            # Each hash covers the one before it, so the last signature speaks for all rows.
            if rows and not rows[-1].signature_holds():
                raise IntegrityError(
                    f"The signature of row {rows[-1].seq} of data set {dataset} does not hold."
                )
        except FedprivError as error:
            self._chains.pop(dataset, None)
            if isinstance(error, IntegrityError) and str(self._store.path) not in str(error):
                raise IntegrityError(
                    f"The ledger {self._store.path} is not as it was written: {error}",
                    hint=error.hint or _CHANGED,
                ) from error
            raise
        if chain.length:
            self._chains[dataset] = chain
        return chain

    def _check_signer(self, row: Row) -> None:
        if row.signer != self._signer.public:
            raise UsageError(
                f"The ledger {self._store.path} belongs to the signer {row.signer.hex()[:16]}…, not to "
                f"{self._signer.public.hex()[:16]}….",
                hint="Open it with the key that it was begun with.",
            )

    @contextmanager
    def _writing(self, dataset: str) -> Iterator[Chain]:
        """The up-to-date chain under the write lock; what is written is durable when this returns."""
        with self._lock:
            chain: Chain | None = None
            try:
                with self._store.transaction():
                    chain = self._chain(dataset)
                    length = chain.length
                    yield chain
            except BaseException:
                if chain is not None and chain.length != length:
                    self._chains.pop(dataset, None)  # a row was taken that was not committed: read again
                raise
            if chain.length:
                self._chains[dataset] = chain

    def _write(self, chain: Chain, kind: str, body: Body) -> Row:
        """Check, seal and append one row."""
        chain.check(kind, body)
        check_body(kind, body)
        row = seal(
            self._signer,
            seq=chain.length,
            dataset=chain.dataset,
            kind=kind,
            time=self._clock(),
            body=body,
            prev=chain.head,
        )
        self._store.append(row)
        chain.apply(row)
        return row


def _mapping(details: Details) -> dict[str, object]:
    """Details as a row holds them."""
    if not isinstance(details, Mapping):
        raise UsageError("The details of a ledger row are a mapping with text keys.")
    result = plain(details)
    assert isinstance(result, dict)  # noqa: S101 -- plain keeps mappings
    return result


def _round(value: int) -> int:
    if type(value) is not int or not 0 <= value <= MAX_SEQ:
        raise UsageError(f"{value!r} is not a round number.", hint="Rounds are numbered 0, 1, 2, …")
    return value


def _decimal(name: str, value: str | float, allowed: Callable[[float], bool], wanted: str) -> str:
    """A parameter in the one decimal form of the ledger; NaN fails every ``allowed``."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = float("nan")
    if not allowed(result) or result == float("inf"):
        raise UsageError(f"The {name} of a budget must be {wanted}, not {value!r}.")
    return repr(result + 0.0)  # minus zero is written as zero
