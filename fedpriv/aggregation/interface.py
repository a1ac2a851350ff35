"""What every way of summing looks like from the outside: a client and a server that live for a run, and the
stages of each of its rounds.

Both are sans-IO: requests and replies are bytes, and whoever drives them moves the bytes.  A client that
does not answer a stage is left out of what follows; the server raises
:class:`~fedpriv.errors.TooFewParties` where too few are left, and then nothing was revealed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto import SigningKey
from fedpriv.secagg import Sum
from fedpriv.secagg.in_process import RoundClient, RoundServer

__all__ = ["AggregationClient", "AggregationServer", "Aggregator", "KeyHolder", "Party"]


class Party(RoundClient, Protocol):
    """What a client and a key holder have in common.

    It lives for a run, in one process or in one for each message: one that is made anew goes on from what
    the last one saved.
    """

    @property
    def sequence(self) -> int:
        """Grows with every step, and with nothing else; 0 for a party that has taken none.

        A refused request can be a step too, where the refusal makes a party forget its key: who keeps states
        keeps one whenever this has grown.
        """

    def open_round(self, round_: int, context: bytes) -> None:
        """Begin a round: its number, higher than all before, and the digest of its subject (32 bytes)."""

    def save(self) -> bytes:
        """All that the party remembers but a vector that was set, sealed to its identity.

        Store it, with `sequence` in a place that is not set back when the state is, before anything that
        the step answered is sent.
        """

    def restore(self, data: bytes, *, least_sequence: int) -> None:
        """Go on from what `save` gave.

        Raises:
            IntegrityError: not this party's state in this run, or one from before step ``least_sequence``;
                the party is as it was.
        """


class AggregationClient(Party, Protocol):
    """One client of a run."""

    def level_secrets(self) -> tuple[bytes, ...]:
        """Its level secrets of this round, 32 bytes each, lowest first; until the upload is asked for."""

    def set_vectors(self, vectors: NDArray[np.uint64]) -> None:
        """Give the vector to be summed in this round: residues modulo ``2**bits``, shape ``(dimension,)``."""


class KeyHolder(Party, Protocol):
    """A party of a run that sends no vector and helps to open the sum."""


class AggregationServer(RoundServer[Sum], Protocol):
    """The server of a run; a round's result is the sum over its survivors, modulo ``2**bits``."""

    def open_round(
        self,
        round_: int,
        context: bytes,
        *,
        invite: Iterable[int] | None = None,
        prepare: bool = False,
    ) -> None:
        """Begin a round, as its clients do.

        Args:
            round_: its number, higher than all before.
            context: 32 bytes, the digest of its subject.
            invite: the clients that can be reached; all, if not given.
            prepare: do now what makes the next round take fewer exchanges.
        """


class Aggregator(Protocol):
    """A way of summing, with its parameters fixed for a run."""

    @property
    def name(self) -> str:
        """The word that the configuration uses."""

    @property
    def hides_updates(self) -> bool:
        """Whether the server is kept from seeing a single client's update."""

    @property
    def has_authority(self) -> bool:
        """Whether a key authority, number 0, takes part beside the server and the clients."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that a round can have, in order; one exchange each."""

    @property
    def threshold(self) -> int:
        """The fewest survivors with which a round ends in a sum."""

    def client(
        self,
        client_id: int,
        run_id: bytes,
        key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
        *,
        draw_level: Callable[[int], bytes] | None = None,
    ) -> AggregationClient:
        """One client's side of the run that ``run_id`` (16 bytes) names.

        ``draw_level(round)`` gives the secret of the round's highest level, 32 fresh bytes; ``rand``, if not
        given.
        """

    def server(self, run_id: bytes, roster: Mapping[int, bytes]) -> AggregationServer:
        """The server's side of the run that ``run_id`` names."""
