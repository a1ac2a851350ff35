"""All that a client and a holder remember between two messages, and its encrypted form."""

from __future__ import annotations

import struct
from typing import Final, Literal

import msgspec

from fedpriv.ckks.making import HolderKey, Making
from fedpriv.ckks.messages import Seal
from fedpriv.ckks.signed_key import EncryptionKey
from fedpriv.ckks.states import ClientState, HolderState
from fedpriv.ckks.transcript import NAME, Run
from fedpriv.crypto.agreement import derive_key
from fedpriv.crypto.digest import frame
from fedpriv.crypto.signing import SigningKey
from fedpriv.crypto.state_seal import StateSeal

__all__ = ["ClientMemory", "HolderMemory", "Opening", "SavedClient", "memory_seal"]

VERSION: Final = 1
"""Of what is sealed: it changes with every field of a memory, and a state of another version is refused."""

_U32 = struct.Struct(">I")


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one sum of a round: its seals, and the first chunk that was not answered."""

    seals: tuple[Seal, ...]
    following: int = 0


class HolderMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step makes a new one, so a refused step leaves the old.

    ``opened`` is the last round of which a sum was begun, under whatever key.
    """

    sequence: int = 0
    state: HolderState = HolderState.KEYLESS
    number: int = 0
    making: Making | None = None
    key: HolderKey | None = None
    round: int = -1
    context: bytes = b""
    opening: Opening | None = None
    opened: int = -1

    def next_round(self, round_: int, context: bytes) -> HolderMemory:
        """The memory with which a round begins."""
        return msgspec.structs.replace(
            self, sequence=self.sequence + 1, round=round_, context=context, opening=None
        )

    def without_key(self) -> HolderMemory:
        """What is left once a decryption was no sum (CK-4)."""
        return msgspec.structs.replace(
            self,
            sequence=self.sequence + 1,
            state=HolderState.KEYLESS,
            key=None,
            opening=None,
            opened=self.round,
        )

    def __repr__(self) -> str:
        """Nothing secret."""
        return f"<HolderMemory of step {self.sequence}, round {self.round}, {self.state}>"


class ClientMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step makes a new one, so a refused step leaves the old."""

    sequence: int = 0
    state: ClientState = ClientState.IDLE
    round: int = -1
    context: bytes = b""
    key: EncryptionKey | None = None


class SavedClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client saves: its own memory, and that of the holder that it is too."""

    client: ClientMemory
    holder: HolderMemory | None = None

    @property
    def sequence(self) -> int:
        """The steps of both, so it grows with each step of either."""
        return self.client.sequence + (self.holder.sequence if self.holder else 0)


def memory_seal(run: Run, kind: Literal["client", "holder"], party: int, identity: SigningKey) -> StateSeal:
    """What seals a party's memory to itself, under a key that only its identity gives (CK-18)."""
    who = (kind.encode(), _U32.pack(party))
    return StateSeal(
        key=derive_key(identity.seed, salt=run.session, info=(NAME.encode(), b"state", *who)),
        context=frame(b"state", _U32.pack(VERSION), run.session, *who),
        owner=f"{kind} {party} in this run",
        hint="Take part again with the next round, without the state; a holder's key is then made anew.",
        danger=", and answering from it could open a second sum of one round",
        clause="CK-18",
    )
