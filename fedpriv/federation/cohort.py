"""The clients of one round as parties of its sum: numbered by their place, under a run of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fedpriv.aggregation import AggregationClient, AggregationServer, Ckks, KeyHolder
from fedpriv.ckks.mode import AUTHORITY
from fedpriv.crypto import SigningKey, digest
from fedpriv.entropy import Entropy
from fedpriv.errors import UsageError
from fedpriv.federation.planning.plan import Aggregator, Plan

__all__ = ["Cohort"]

Rand = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Cohort:
    """Who sums together, and under what.

    Attributes:
        members: the clients, ascending; the first has place 1.
        aggregator: how they sum.
        run_id: 16 bytes, of the protocol's run: the federation's, or where cohorts take turns one for each.
        roster: place -> public key; the key authority's at place 0, where there is one.
    """

    members: tuple[int, ...]
    aggregator: Aggregator
    run_id: bytes
    roster: Mapping[int, bytes]

    @classmethod
    def of(cls, plan: Plan, run_id: bytes, roster: Mapping[int, bytes], round_: int) -> Cohort:
        """The cohort of a round; ``roster`` is by client."""
        members = plan.members(round_)
        aggregator = plan.aggregator_of(len(members))
        places = {place: roster[client] for place, client in enumerate(members, start=1)}
        if aggregator.has_authority:
            places[AUTHORITY] = roster[AUTHORITY]
        if plan.cohorts is not None:
            parts = (client.to_bytes(4, "big") for client in members)
            run_id = digest("fedpriv/cohort/v1", run_id, *parts)[:16]
        return cls(members, aggregator, run_id, places)

    def place(self, client: int) -> int:
        """Where a client of the cohort, or the key authority, stands in its sum."""
        return AUTHORITY if client == AUTHORITY else self.members.index(client) + 1

    def client_at(self, place: int) -> int:
        """Whose place it is."""
        return AUTHORITY if place == AUTHORITY else self.members[place - 1]

    def server(self) -> AggregationServer:
        """The server of the cohort's sums."""
        return self.aggregator.server(self.run_id, self.roster)

    def client(self, client: int, key: SigningKey, entropy: Entropy, rand: Rand) -> AggregationClient:
        """One client's party.

        Args:
            client: its number.
            key: its identity.
            entropy: where the secrets of noise that may be removed come from.
            rand: gives so many fresh bytes, for all other secrets.
        """

        def draw_level(round_: int) -> bytes:
            """The secret of the client's highest level of noise removal in a round."""
            return entropy.stream("noise-levels", round_, client).read(32)

        return self.aggregator.client(
            self.place(client),
            self.run_id,
            key,
            self.roster,
            rand,
            draw_level=draw_level,
        )

    def authority(self, key: SigningKey, rand: Rand) -> KeyHolder:
        """The key authority's party.

        Raises:
            UsageError: the sum has none.
        """
        if not isinstance(self.aggregator, Ckks):
            raise UsageError(f"A sum by {self.aggregator.name!r} has no key authority.")
        return self.aggregator.authority(self.run_id, key, self.roster, rand)
