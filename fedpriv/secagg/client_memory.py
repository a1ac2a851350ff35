"""All that a client remembers between two messages, and its encrypted form."""

from __future__ import annotations

import msgspec

from fedpriv.crypto.agreement import derive_key
from fedpriv.crypto.digest import frame
from fedpriv.crypto.signing import SigningKey
from fedpriv.crypto.state_seal import StateSeal
from fedpriv.secagg.cohort import Cohort
from fedpriv.secagg.dealing import Held
from fedpriv.secagg.keys import NAME, Group, Secrets, number
from fedpriv.secagg.messages import Bundle
from fedpriv.secagg.states import ClientState

__all__ = ["Ahead", "Earlier", "Memory", "memory_seal"]


class Earlier(msgspec.Struct, frozen=True):
    """What the next round needs of this one: its cohort, and the c that opens shares that others dealt ahead.

    ``cohort`` is empty where this client was lost before it was shown one, and ``cipher`` where it was not
    asked to prepare, and so is sent no shares.
    """

    round: int
    cohort: bytes
    cipher: bytes = b""

    def __repr__(self) -> str:
        """The round only."""
        return f"<Earlier {self.round}>"


class Ahead(msgspec.Struct, frozen=True):
    """Keys for the next round, and the shares of them that this client holds: its own."""

    secrets: Secrets
    bundle: Bundle
    held: dict[int, Held]


class Memory(msgspec.Struct, frozen=True):
    """A step makes a new one, so a refused step leaves the old."""

    sequence: int = 0
    round: int = -1
    session: bytes = b""
    state: ClientState = ClientState.IDLE
    # The secret of the highest level, from the round's beginning until the upload.
    level: bytes = b""
    secrets: Secrets | None = None
    bundle: Bundle | None = None
    # Until the upload; what is needed of it afterwards is its hash, and who holds shares of this client.
    cohort: Cohort | None = None
    cohort_hash: bytes = b""
    holders: tuple[int, ...] = ()
    held: dict[int, Held] = {}
    sharers: bytes = b""
    survivors: bytes = b""
    earlier: Earlier | None = None
    ahead: Ahead | None = None

    def next_round(self, round_: int, session: bytes) -> Memory:
        """The memory with which a round begins."""
        fresh = Memory(
            sequence=self.sequence + 1,
            round=round_,
            session=session,
            state=ClientState.NEW,
            earlier=self._earlier(round_ - 1),
        )
        if self.ahead is None or self.ahead.secrets.round != round_:
            return fresh
        return msgspec.structs.replace(
            fresh,
            state=ClientState.PREPARED,
            level=self.ahead.secrets.level,
            secrets=self.ahead.secrets,
            bundle=self.ahead.bundle,
            held=self.ahead.held,
        )

    def _earlier(self, round_: int) -> Earlier | None:
        """What the round after ``round_`` needs of it, wherever this client was lost.

        Whoever made keys for a round may stand in its cohort, and others may have dealt ahead to that c.
        """
        if self.ahead and self.ahead.secrets.round == round_:  # no request of that round came through
            return Earlier(round_, b"", self.ahead.secrets.cipher)
        if self.round != round_:
            return None
        if self.secrets:  # lost before the upload
            return Earlier(round_, self.cohort.hash if self.cohort else b"", self.secrets.cipher)
        return self.earlier if self.earlier and self.earlier.round == round_ else None

    def without_this_round(self) -> Memory:
        """What is left once this round's question has been answered (SA-13)."""
        return Memory(
            sequence=self.sequence,
            round=self.round,
            session=self.session,
            earlier=self.earlier,
            ahead=self.ahead,
        )


def memory_seal(group: Group, client: int, identity: SigningKey) -> StateSeal:
    """What seals a client's memory to itself, under a key that only its identity gives."""
    name = number(client)
    return StateSeal(
        key=derive_key(identity.seed, salt=group.id, info=(NAME.encode(), b"state", name)),
        context=frame(b"state", group.id, name),
        owner=f"client {client} in this run",
        hint="This client's part in the run has ended; take part in another run.",
        danger=", and answering from it could open this client's vector",
        clause="SA-6",
    )
