"""All that a server remembers between two messages, and its encrypted form."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fedpriv.crypto.aead import NONCE_BYTES, open_sealed, seal
from fedpriv.crypto.digest import frame
from fedpriv.errors import DecodeError, IntegrityError
from fedpriv.secagg.keys import Group
from fedpriv.secagg.messages import Bundle, UploadHeader
from fedpriv.secagg.states import Stage

__all__ = ["Prepared", "Record", "Upload", "not_this_run", "open_record", "seal_record"]


class Upload(msgspec.Struct):
    """One client's upload while its parts come in."""

    header: UploadHeader
    parts: list[bytes]


class Prepared(msgspec.Struct, frozen=True):
    """One client's keys for the next round, and its shares of them, sealed: destination -> sealed."""

    bundle: Bundle
    shares: dict[int, bytes]


class Record(msgspec.Struct):
    """One round as the server knows it.

    Mappings are by client.  ``mail`` holds what was sealed within the round, source -> destination -> sealed;
    ``early`` what was made ahead of it; ``ahead`` what is made for the next.  ``shares`` are of b or of the
    seed of s, whichever was asked for: owner -> holder -> element.  ``sums`` are the words of the sums, when
    the record is stored.
    """

    sequence: int = 0
    round: int = -1
    session: bytes = b""
    stage: Stage = Stage.IDLE
    prepare: bool = False
    asked: tuple[int, ...] = ()
    heard: set[int] = msgspec.field(default_factory=set)
    answered: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict)
    bundles: dict[int, Bundle] = msgspec.field(default_factory=dict)
    mail: dict[int, dict[int, bytes]] = msgspec.field(default_factory=dict)
    early: dict[int, Prepared] = msgspec.field(default_factory=dict)
    ahead: dict[int, Prepared] = msgspec.field(default_factory=dict)
    uploads: dict[int, Upload] = msgspec.field(default_factory=dict)
    upload_signatures: dict[int, bytes] = msgspec.field(default_factory=dict)
    signatures: dict[int, bytes] = msgspec.field(default_factory=dict)
    shares: dict[int, dict[int, bytes]] = msgspec.field(default_factory=dict)
    sums: dict[str, bytes] = msgspec.field(default_factory=dict)

    def next_round(self, round_: int, session: bytes, prepare: bool, ready: dict[int, Prepared]) -> Record:
        """The record with which a round begins, with those that have made keys for it."""
        return Record(
            sequence=self.sequence + 1,
            round=round_,
            session=session,
            prepare=prepare,
            bundles={client: prepared.bundle for client, prepared in ready.items()},
            early=ready,
        )

    def forget(self) -> None:
        """Let go of what only an open round needs."""
        self.asked = ()
        self.heard = set()
        self.mail, self.early, self.uploads, self.shares = {}, {}, {}, {}
        self.upload_signatures, self.signatures = {}, {}


def seal_record(record: Record, group: Group, key: bytes, rand: Callable[[int], bytes]) -> bytes:
    """The record encrypted under the server's own key, for this run."""
    return seal(key, rand(NONCE_BYTES), msgspec.msgpack.encode(record), _context(group))


def open_record(data: bytes, group: Group, key: bytes, least_sequence: int) -> Record:
    """The record that `seal_record` gave.

    Raises:
        IntegrityError: SA-6, it is not of this run, or older than ``least_sequence``.
    """
    try:
        record = msgspec.msgpack.decode(open_sealed(key, data, _context(group)), type=Record)
    except (DecodeError, msgspec.MsgspecError, ValueError, RecursionError) as fault:
        raise not_this_run() from fault
    if record.sequence < least_sequence:
        raise IntegrityError(
            f"The saved state is step {record.sequence}, and step {least_sequence} was reached: it went "
            "back in time. [SA-6]",
            hint="Start the next round with a new server; the clients will make new keys.",
        )
    return record


def not_this_run() -> IntegrityError:
    """The error for a state that is not one of this run's server."""
    return IntegrityError(
        "The saved state is not that of this run's server, or was changed. [SA-6]",
        hint="Start the next round with a new server; the clients will make new keys.",
    )


def _context(group: Group) -> bytes:
    return frame(b"server state", group.id)
