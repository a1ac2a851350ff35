"""All that a server remembers between two messages, and its encrypted form."""

from __future__ import annotations

import msgspec

from fedpriv.crypto.digest import frame
from fedpriv.crypto.state_seal import StateSeal
from fedpriv.secagg.keys import Group
from fedpriv.secagg.messages import Bundle, UploadHeader
from fedpriv.secagg.states import Stage

__all__ = ["Prepared", "Record", "Upload", "record_seal"]


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
    seed of s, whichever was asked for: owner -> holder -> element; ``level_shares`` of the level secret that
    was, and ``level_secrets`` what they gave.  ``sums`` are the words of the sums, when the record is stored.
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
    level_shares: dict[int, dict[int, bytes]] = msgspec.field(default_factory=dict)
    level_secrets: dict[int, bytes] = msgspec.field(default_factory=dict)
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
        self.mail, self.early, self.uploads, self.shares, self.level_shares = {}, {}, {}, {}, {}
        self.upload_signatures, self.signatures = {}, {}


def record_seal(group: Group, key: bytes) -> StateSeal:
    """What seals a server's record, under its own key of 32 bytes."""
    return StateSeal(
        key=key,
        context=frame(b"server state", group.id),
        owner="this run's server",
        hint="Start the next round with a new server; the clients will make new keys.",
        clause="SA-6",
    )
