"""Rounds as they are, in which copies are kept of what one client drew, summed and sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from fedpriv.federation.auditing.received import Tapped
from fedpriv.federation.round import RoundRunner
from fedpriv.federation.work.record_work import RecordWork
from fedpriv.peft import Coordinates

if TYPE_CHECKING:
    from fedpriv.federation.cohort import Cohort
    from fedpriv.federation.round import _Parties
    from fedpriv.federation.traffic import Metered
    from fedpriv.training import ClippedRecords

__all__ = ["WatchedRounds", "WatchedWork"]


class _Asked:
    """Stands where gradients are asked for, and remembers whose were."""

    def __init__(self, gradients: ClippedRecords) -> None:
        self.gradients = gradients
        self.indices = np.zeros(0, dtype=np.int64)

    def clipped(
        self, encoded: Any, indices: Sequence[int] | NDArray[np.int64], within: Coordinates | None
    ) -> Iterator[NDArray[np.float32]]:
        self.indices = np.asarray(indices, dtype=np.int64)
        return self.gradients.clipped(encoded, indices, within)


@dataclass(slots=True)
class WatchedWork(RecordWork):
    """The clients' work, with copies of it.

    Attributes:
        client: who is watched.
        drawn: what it sampled in the last round, int64, indices into the training records.
        own: the sum of their clipped gradients in grid units, int64, shape ``(dimension,)``, without noise.
        others: the sum over all other clients of the same.
    """

    client: int
    drawn: NDArray[np.int64] = field(init=False)
    own: NDArray[np.int64] = field(init=False)
    others: NDArray[np.int64] = field(init=False)
    _round: int = field(default=0, init=False)

    def contribution(self, round_: int, client: int, parameters: NDArray[np.float32]) -> NDArray[np.int64]:
        """One client's sum, as :class:`RecordWork` makes it."""
        if round_ != self._round:
            self._round, self.others = round_, np.zeros(self.plan.noise.dimension, dtype=np.int64)
        asked = _Asked(self.gradients)
        work = RecordWork(self.work, self.plan, self.entropy, cast("ClippedRecords", asked))
        total = work.contribution(round_, client, parameters)
        if client == self.client:
            self.drawn, self.own = asked.indices, total.copy()  # a round adds noise in place
        else:
            self.others += total
        return total


class WatchedRounds(RoundRunner):
    """Does what a `RoundRunner` does and sends the same bytes; :meth:`watch` says of whom copies are kept.

    Attributes:
        watched: copies of the clients' work.
        tap: copies of the messages of the watched client.
        noisy: its vector with its share of the noise, as residues, before it is summed in any way.
    """

    watched: WatchedWork
    tap: Tapped
    noisy: NDArray[np.uint64]

    def watch(self, client: int) -> None:
        """Keep copies of what ``client`` puts into each round that follows."""
        gradients = cast("ClippedRecords", self.gradients)
        self.watched = WatchedWork(self.work, self.plan, self.entropy, gradients, client)
        self.local = self.watched

    def _parties(self, round_: int, cohort: Cohort) -> _Parties:
        made = RoundRunner._parties(self, round_, cohort)
        place = cohort.place(self.watched.client)
        if not isinstance(made.clients[place], Tapped):
            self.tap = made.clients[place] = Tapped(made.clients[place].client)
        return made

    def _local_update(
        self, round_: int, client: int, parameters: NDArray[np.float32], party: Metered
    ) -> NDArray[np.uint64]:
        residues = RoundRunner._local_update(self, round_, client, parameters, party)
        if client == self.watched.client:
            self.noisy = residues
        return residues
