"""What somebody is promised who is behind several units, or behind units at several clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedpriv import dp
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory

__all__ = ["ClientLedger", "People", "people", "rounds_taken"]

GROUP_SIZES = (2, 3, 5)

_BEFORE_THE_UPDATE = frozenset({"refused", "advertise", "share", "deal", "commit", "reveal", "confirm"})
"""Stages of a round at which nothing that depends on records has left a client yet."""


@dataclass(frozen=True, slots=True)
class ClientLedger:
    """What the records of one client have spent: only the rounds that it took part in."""

    client: int
    rounds: int
    epsilon: float | None


@dataclass(frozen=True, slots=True)
class People:
    """Recomputed ε at the run's δ; ``None`` where none is shown, or none is asked for.

    ``groups`` holds ``(units, epsilon)`` of the planned rounds, ``person`` is the ε of the most records that
    the plan says a person has.  Under ``local``, ``everywhere`` is for one unit at every client, planned and
    spent, and ``clients`` has the ledger of each.
    """

    groups: tuple[tuple[int, float | None], ...] = ()
    person: float | None = None
    everywhere_planned: float | None = None
    everywhere_spent: float | None = None
    clients: tuple[ClientLedger, ...] = ()


def people(rundir: RunDirectory, history: History, *, full: bool) -> People:
    """The figures of section 4; without ``full`` only those that the plan states."""
    plan, event, planned = rundir.plan, history.event, history.planned
    delta, local = float(plan["delta"]), plan["trust"] == "local"
    clients, records = int(plan.get("clients_in_all") or plan["clients"]), int(plan.get("person_records", 1))
    apart = clients if local else 1

    def of(units: int) -> float | None:
        return dp.epsilon_of_units(event, planned, units, delta, apart=apart)

    most = clients if plan["unit"] == "client" else max(*GROUP_SIZES, records)
    person = of(min(records, most)) if records > 1 else None
    groups = tuple((size, of(size)) for size in GROUP_SIZES if size <= most) if full else ()
    if not local:
        return People(groups=groups, person=person)
    unknown = plan.get("disjointness", "unknown") == "unknown"
    everybody = range(1, clients + 1)
    everywhere = _everywhere(event, dict.fromkeys(everybody, planned), delta) if unknown else None
    if not full:
        return People(person=person, everywhere_planned=everywhere)
    taken = rounds_taken(rundir, history, clients)
    own = dp.of_one_client(event, planned)[0]
    by_count = {rounds: _everywhere(own, {1: rounds}, delta) for rounds in set(taken.values())}
    return People(
        groups=groups,
        person=person,
        everywhere_planned=everywhere,
        everywhere_spent=_everywhere(own, taken, delta) if unknown else None,
        clients=tuple(ClientLedger(client, rounds, by_count[rounds]) for client, rounds in taken.items()),
    )


def rounds_taken(rundir: RunDirectory, history: History, clients: int) -> dict[int, int]:
    """In how many spent rounds each client took part.

    A round counts for a client unless ``rounds.jsonl`` says that it vanished before it could have sent its
    update, and no survivors' list, there or in the signed RELEASE row, names it.  A spent round without a
    line counts for everybody; where clients take turns, one that its line does not name was not asked.
    """
    lines = {line["round"]: line for line in rundir.rounds}
    taken = dict.fromkeys(range(1, clients + 1), 0)
    for round_ in history.reserved.keys() - history.voided.keys():
        line, row = lines.get(round_), history.released.get(round_)
        signed = row.details.get("survivors") if row else None
        named = [*(line["survivors"] if line else ()), *(signed if isinstance(signed, list) else ())]
        there = {client for client in named if type(client) is int}
        dropped = line["dropped"] if line else ()
        left = {c for c, stage in dropped if stage in _BEFORE_THE_UPDATE}
        if line and rundir.plan.get("cohorts"):
            left |= set(taken) - {c for c, _ in dropped}
        for client in taken:
            taken[client] += client in there or client not in left
    return taken


def _everywhere(event: dp.Event, rounds: Mapping[int, int], delta: float) -> float | None:
    """ε of one unit at each of these clients, each with its own number of rounds."""
    return dp.epsilon_everywhere({str(c): (event, count) for c, count in rounds.items()}, delta)
