"""How messages of a run get from the server to its nodes and back, whatever network carries them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Lost", "Parts", "Transport", "Value"]

Value = int | bool | bytes | str


@dataclass(frozen=True, slots=True)
class Parts:
    """One message: small named values, and large byte strings in order.

    Attributes:
        values: whole numbers below 2^63, truth values, texts, byte strings of some hundred kilobytes at most.
        blobs: vectors; what carries them may cut them into chunks on the way.
    """

    values: Mapping[str, Value]
    blobs: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """In the place of an answer: the node could not be asked or its app failed, and what the network says."""

    reason: str


class Transport(Protocol):
    """Asks nodes, each by a number that the network gives it."""

    def nodes(self) -> set[int]:
        """The nodes that can be asked at this moment."""

    def exchange(self, requests: Mapping[int, Parts], timeout: float) -> Iterator[tuple[int, Parts | Lost]]:
        """Send each node its request, and give the answers in the order in which they come.

        Ends when all have answered or ``timeout`` seconds are over; a node that did not answer by then is
        not named.
        """
