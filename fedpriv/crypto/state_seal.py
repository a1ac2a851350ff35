"""A party's state as encrypted bytes that show when they went back in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from fedpriv.crypto.aead import NONCE_BYTES, open_sealed, seal
from fedpriv.errors import DecodeError, IntegrityError

__all__ = ["StateSeal"]


class _Numbered(Protocol):
    @property
    def sequence(self) -> int: ...


_State = TypeVar("_State", bound=_Numbered)


@dataclass(frozen=True, slots=True)
class StateSeal:
    """What one party's states in one run are sealed with, and how they are spoken of when they do not open.

    Attributes:
        key: 32 bytes that only the party has.
        context: names the party, the run, and the version of what is sealed.
        owner: whose state it is, for the error: ``"client 3 in this run"``.
        hint: what to do without the state.
        danger: what acting on an old state could do, after ", and"; or empty.
        clause: of the protocol that has an older state refused; or empty.
    """

    key: bytes = field(repr=False)
    context: bytes
    owner: str
    hint: str
    danger: str = ""
    clause: str = ""

    def seal(self, state: _Numbered, rand: Callable[[int], bytes]) -> bytes:
        """The state, encrypted under a fresh nonce."""
        return seal(self.key, rand(NONCE_BYTES), msgspec.msgpack.encode(state), self.context)

    def open(self, data: bytes, kind: type[_State], least_sequence: int) -> _State:
        """The state that `seal` was given.

        Raises:
            IntegrityError: it is not this party's in this run, or older than ``least_sequence``.
        """
        try:
            state = msgspec.msgpack.decode(open_sealed(self.key, data, self.context), type=kind)
        except (DecodeError, msgspec.MsgspecError, ValueError, RecursionError) as fault:
            raise self.foreign() from fault
        if state.sequence < least_sequence:
            raise IntegrityError(
                f"The saved state is step {state.sequence}, and step {least_sequence} was reached: it went "
                f"back in time{self.danger}.{self._clause()}",
                hint=self.hint,
            )
        return state

    def foreign(self) -> IntegrityError:
        """The error for a state that is not one of this party's."""
        return IntegrityError(
            f"The saved state is not that of {self.owner}, or was changed.{self._clause()}", hint=self.hint
        )

    def _clause(self) -> str:
        return f" [{self.clause}]" if self.clause else ""
