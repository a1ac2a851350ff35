"""What an exported ledger says about one run and about its data set; read leniently, judged elsewhere.

A row that is not well formed is passed over here: :func:`fedpriv.ledger.verify_bundle` is what names it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedpriv import dp
from fedpriv.errors import FedprivError, IntegrityError

__all__ = ["Entry", "History"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger: its place in the chain, its kind, and what it says."""

    seq: int
    kind: str
    time: str
    body: Mapping[str, Any]
    hash: str
    signer: str

    @property
    def details(self) -> Mapping[str, Any]:
        """The details that the run wrote into the row; empty where it has none."""
        details = self.body.get("details")
        return details if isinstance(details, dict) else {}

    @property
    def name(self) -> str:
        """How a failed check names the row."""
        return f"ledger.json, row {self.seq} ({self.kind})"


@dataclass(frozen=True, slots=True)
class History:
    """One run in the chain of its data set.

    ``reserved``, ``released`` and ``voided`` map a round to its row.  ``others`` holds
    ``(event, spent rounds)`` of the other runs on the same data.  ``epsilon`` is what the ledger says that
    all of them together cost, by its rule; ``None`` where that is no finite number.
    """

    dataset: str
    rows: int
    head: str
    plans: tuple[Entry, ...]
    reserved: Mapping[int, Entry]
    released: Mapping[int, Entry]
    voided: Mapping[int, Entry]
    finish: Entry | None
    budget: Entry | None
    others: tuple[tuple[dp.Event, int], ...]
    epsilon: float | None

    @classmethod
    def of(cls, bundle: Mapping[str, Any], run_id: str) -> History:
        """Read ``run_id``'s rows out of an exported bundle."""
        entries = tuple(_entries(bundle))
        mine = [e for e in entries if e.body.get("run") == run_id]
        by_round = {kind: _by_round(mine, kind) for kind in ("RESERVE", "RELEASE", "VOID")}
        return cls(
            dataset=str(bundle.get("dataset", "")),
            rows=len(entries),
            head=entries[-1].hash if entries else "",
            plans=tuple(e for e in mine if e.kind == "PLAN"),
            reserved=by_round["RESERVE"],
            released=by_round["RELEASE"],
            voided=by_round["VOID"],
            finish=next((e for e in reversed(mine) if e.kind == "FINISH"), None),
            budget=next((e for e in reversed(entries) if e.kind == "BUDGET"), None),
            others=_others(entries, run_id),
            epsilon=_claimed(bundle),
        )

    @property
    def plan(self) -> Entry:
        """The run's PLAN row; :class:`IntegrityError` where the ledger has none."""
        if not self.plans:
            raise IntegrityError(
                "ledger.json has no PLAN row of this run, so there is nothing to account for",
                hint="check that ledger.json belongs to this run directory",
            )
        return self.plans[0]

    @property
    def event(self) -> dp.Event:
        """The privacy event that every round of this run was planned as."""
        event = self.plan.body.get("event")
        if not isinstance(event, dict):
            raise IntegrityError(f"{self.plan.name} holds no event")
        return dp.event_from_dict(event)

    @property
    def planned(self) -> int:
        """Rounds that the plan committed to."""
        rounds = self.plan.body.get("rounds")
        if type(rounds) is not int or rounds < 1:
            raise IntegrityError(f"{self.plan.name} holds no number of rounds")
        return rounds

    @property
    def spent(self) -> int:
        """Rounds that count as spent: reserved and not void, whether or not a sum was released."""
        return len(self.reserved.keys() - self.voided.keys())

    @property
    def planned_before_spending(self) -> bool:
        """Whether one plan stands before every reserved round and covers them all."""
        first = min((e.seq for e in self.reserved.values()), default=None)
        before = first is None or self.plan.seq < first
        return len(self.plans) == 1 and before and self.spent <= self.planned


def _entries(bundle: Mapping[str, Any]) -> Iterator[Entry]:
    rows = bundle.get("rows")
    for row in rows if isinstance(rows, list) else ():
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("body"), dict)
            or type(row.get("seq")) is not int
        ):
            continue
        yield Entry(
            seq=row["seq"],
            kind=str(row.get("kind", "")),
            time=str(row.get("time", "")),
            body=row["body"],
            hash=str(row.get("hash", "")),
            signer=str(row.get("signer", "")),
        )


def _by_round(entries: list[Entry], kind: str) -> dict[int, Entry]:
    return {e.body["round"]: e for e in entries if e.kind == kind and type(e.body.get("round")) is int}


def _claimed(bundle: Mapping[str, Any]) -> float | None:
    claims = bundle.get("claims")
    try:
        epsilon = float(str(claims["epsilon"])) if isinstance(claims, Mapping) else math.inf
    except (KeyError, ValueError):
        return None
    return epsilon if math.isfinite(epsilon) else None


def _others(entries: tuple[Entry, ...], run_id: str) -> tuple[tuple[dp.Event, int], ...]:
    found = []
    for plan in entries:
        other = plan.body.get("run")
        if plan.kind != "PLAN" or other == run_id or not isinstance(plan.body.get("event"), dict):
            continue
        rows = [e for e in entries if e.body.get("run") == other]
        spent = len(_by_round(rows, "RESERVE").keys() - _by_round(rows, "VOID").keys())
        try:
            found.append((dp.event_from_dict(plan.body["event"]), spent))
        except FedprivError:
            continue
    return tuple(found)
