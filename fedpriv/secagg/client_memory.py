"""All that a client remembers between two messages, and its encrypted form."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fedpriv.crypto.aead import NONCE_BYTES, open_sealed, seal
from fedpriv.crypto.agreement import derive_key
from fedpriv.crypto.digest import frame
from fedpriv.crypto.signing import SigningKey
from fedpriv.errors import DecodeError, IntegrityError
from fedpriv.secagg.cohort import Cohort
from fedpriv.secagg.dealing import Held
from fedpriv.secagg.keys import NAME, Group, Secrets, number
from fedpriv.secagg.messages import Bundle
from fedpriv.secagg.states import ClientState

__all__ = ["Ahead", "Earlier", "Memory", "open_memory", "seal_memory"]


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
    """Keys for the next round, and this client's own shares of them."""

    secrets: Secrets
    bundle: Bundle
    own: Held | None


class Memory(msgspec.Struct, frozen=True):
    """A step makes a new one, so a refused step leaves the old."""

    sequence: int = 0
    round: int = -1
    session: bytes = b""
    state: ClientState = ClientState.IDLE
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
        follows = round_ == self.round + 1
        earlier = self.earlier if self.earlier and self.earlier.round == self.round else None
        if self.secrets:  # lost before the upload: others may have dealt ahead to this c
            earlier = Earlier(self.round, self.cohort.hash if self.cohort else b"", self.secrets.cipher)
        fresh = Memory(
            sequence=self.sequence + 1,
            round=round_,
            session=session,
            state=ClientState.NEW,
            earlier=earlier if follows else None,
        )
        if self.ahead is None or self.ahead.secrets.round != round_:
            return fresh
        return msgspec.structs.replace(
            fresh,
            state=ClientState.PREPARED,
            secrets=self.ahead.secrets,
            bundle=self.ahead.bundle,
            held={} if self.ahead.own is None else {self.ahead.bundle.client: self.ahead.own},
        )

    def without_this_round(self) -> Memory:
        """What is left once this round's question has been answered (SA-13)."""
        return Memory(
            sequence=self.sequence,
            round=self.round,
            session=self.session,
            earlier=self.earlier,
            ahead=self.ahead,
        )


def seal_memory(
    memory: Memory, group: Group, client: int, identity: SigningKey, rand: Callable[[int], bytes]
) -> bytes:
    """The memory encrypted to the client itself, for this run."""
    key, context = _sealing(group, client, identity)
    return seal(key, rand(NONCE_BYTES), msgspec.msgpack.encode(memory), context)


def open_memory(data: bytes, group: Group, client: int, identity: SigningKey, least_sequence: int) -> Memory:
    """The memory that `seal_memory` gave.

    Raises:
        IntegrityError: SA-6, it is not this client's in this run, or older than ``least_sequence``.
    """
    key, context = _sealing(group, client, identity)
    try:
        memory = msgspec.msgpack.decode(open_sealed(key, data, context), type=Memory)
    except (DecodeError, msgspec.MsgspecError, ValueError, RecursionError) as fault:
        raise IntegrityError(
            f"The saved state is not that of client {client} in this run, or was changed. [SA-6]",
            hint="Take part again with the next round, without the state.",
        ) from fault
    if memory.sequence < least_sequence:
        raise IntegrityError(
            f"The saved state is step {memory.sequence}, and step {least_sequence} was reached: it went "
            "back in time, and answering from it could open this client's vector. [SA-6]",
            hint="Take part again with the next round, without the state.",
        )
    return memory


def _sealing(group: Group, client: int, identity: SigningKey) -> tuple[bytes, bytes]:
    info = (NAME.encode(), b"state", number(client))
    return derive_key(identity.seed, salt=group.id, info=info), frame(b"state", group.id, number(client))
