"""Which simulated clients are missing in which round: known beforehand, from the public seed.

A client that vanishes is given up at one stage of a round and not asked any more in it.  Stragglers send
their upload too late; clients that are away are not there at all; and ``dropout`` lets one client of a round
vanish anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fedpriv.aggregation import Ckks, Masked
from fedpriv.federation.config import Config
from fedpriv.federation.outcome import UPLOAD
from fedpriv.federation.planning.plan import Plan

__all__ = ["Absences"]

_MISSES: Final = 0.5
_AWAY_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Absences:
    """Who is missing in the rounds of a plan."""

    config: Config
    plan: Plan

    def in_round(self, round_: int) -> dict[int, str]:
        """The stage from which on a client does not answer in ``round_``, by client.

        Where several things happen to one, the earliest stage counts.
        """
        stages = self.plan.aggregator.stages
        members = self.plan.members(round_)
        found: dict[int, str] = {}
        for gone in (self._away(round_), self._late(round_), self._dropped(round_, members)):
            for client, stage in gone.items():
                if client in members and stages.index(stage) <= stages.index(found.get(client, stages[-1])):
                    found[client] = stage
        return found

    def lost_rounds(self) -> list[int]:
        """The rounds that have too few clients for a sum.

        A client whose own budget ends is not foreseen, nor, on a sparse graph, a neighbourhood that is hit
        harder than the whole.
        """
        return [round_ for round_ in range(1, self.plan.rounds + 1) if not self._enough(round_)]

    def _away(self, round_: int) -> dict[int, str]:
        """Clients that left in this round or in one of the last few."""
        options = self.config.simulation
        first = max(1, round_ - (options.away_rounds or _AWAY_ROUNDS) + 1)
        left = {
            client
            for earlier in range(first, round_ + 1)
            for client in self._struck(options.away, 0xA3A1, earlier)
        }
        return dict.fromkeys(sorted(left), self.plan.aggregator.stages[0])

    def _late(self, round_: int) -> dict[int, str]:
        """Stragglers whose upload does not come in time."""
        options, clients = self.config.simulation, len(self.plan.everyone)
        slow = np.random.default_rng([self.config.run.seed, 0x510F]).permutation(clients) + 1
        chosen = {int(client) for client in slow[: round(options.stragglers * clients)]}
        misses = _MISSES if options.straggler_misses is None else options.straggler_misses
        struck = self._struck(misses, 0x1A7E, round_) if chosen else []
        return {client: UPLOAD for client in struck if client in chosen}

    def _dropped(self, round_: int, members: tuple[int, ...]) -> dict[int, str]:
        """At most one client, and any stage."""
        rng = np.random.default_rng((self.config.run.seed, round_))
        if rng.random() >= self.config.simulation.dropout:
            return {}
        client = members[int(rng.integers(0, len(members)))]
        return {client: str(rng.choice(self.plan.aggregator.stages))}

    def _struck(self, chance: float, purpose: int, round_: int) -> list[int]:
        """The clients that something happens to in a round, each with this chance and on its own."""
        if not chance:
            return []
        rng = np.random.default_rng([self.config.run.seed, purpose, round_])
        return [int(place) + 1 for place in np.flatnonzero(rng.random(len(self.plan.everyone)) < chance)]

    def _enough(self, round_: int) -> bool:
        """Whether the clients that stay are as many as the aggregator needs."""
        members, gone = self.plan.members(round_), self.in_round(round_)
        aggregator = self.plan.aggregator_of(len(members))
        before = aggregator.stages[: aggregator.stages.index(UPLOAD) + 1]
        lacking = [client for client, stage in gone.items() if stage in before]
        if isinstance(aggregator, Masked):
            lacking = list(gone)  # masks are taken off by those who stay to the end
        if isinstance(aggregator, Ckks) and not aggregator.has_authority:
            holders = [members[place - 1] for place in aggregator.params.holders]
            if sum(holder not in gone for holder in holders) < aggregator.params.threshold:
                return False
        return len(members) - len(lacking) >= aggregator.threshold
