"""Sets of clients as bits, the form in which they travel: one bit a client of the roster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import DecodeError

__all__ = ["Members"]


class Members:
    """A set of the clients 1..n.  Operations take time in n/8 bytes, not in n objects.

    ``data`` is its form on the wire, ⌈n/8⌉ bytes: client i is bit (i − 1) mod 8, counted from the least
    significant, of byte ⌊(i − 1)/8⌋.

    >>> some = Members.of({1, 3, 9}, 10)
    >>> some.data.hex(), list(some), 3 in some, some.rank(9)
    ('0501', [1, 3, 9], True, 2)
    """

    __slots__ = ("_bits", "_ids", "clients", "data")

    def __init__(self, data: bytes, clients: int) -> None:
        self.data = data
        self.clients = clients
        self._bits = int.from_bytes(data, "little")
        self._ids: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, members: Iterable[int], clients: int) -> Members:
        """The set of some clients out of 1..n."""
        bits = np.zeros(8 * size(clients), dtype=np.uint8)
        bits[[member - 1 for member in members]] = 1
        return cls(np.packbits(bits, bitorder="little").tobytes(), clients)

    @classmethod
    def parse(cls, data: bytes, clients: int) -> Members:
        """The set that a message holds.

        Raises:
            DecodeError: another length, or a bit that stands for no client.
        """
        if len(data) != size(clients):
            raise DecodeError(f"A set of {clients} clients takes {size(clients)} bytes, not {len(data)}.")
        parsed = cls(data, clients)
        if parsed._bits >> clients:
            raise DecodeError(f"A set names clients beyond {clients}.")
        return parsed

    def __contains__(self, client: object) -> bool:
        if not isinstance(client, int) or not 1 <= client <= self.clients:
            return False
        return bool(self.data[(client - 1) >> 3] >> ((client - 1) & 7) & 1)

    def __len__(self) -> int:
        return self._bits.bit_count()

    def __iter__(self) -> Iterator[int]:
        return iter(self.ids().tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Members) and (self.data, self.clients) == (other.data, other.clients)

    def __hash__(self) -> int:
        return hash((self.data, self.clients))

    def __le__(self, other: Members) -> bool:
        return self._bits & ~other._bits == 0

    def __and__(self, other: Members) -> Members:
        return self._like(self._bits & other._bits)

    def __or__(self, other: Members) -> Members:
        return self._like(self._bits | other._bits)

    def __sub__(self, other: Members) -> Members:
        return self._like(self._bits & ~other._bits)

    def __repr__(self) -> str:
        return f"<Members, {len(self)} of {self.clients}>"

    def ids(self) -> NDArray[np.int64]:
        """The members, ascending, dtype int64; computed once."""
        if self._ids is None:
            raw = np.unpackbits(np.frombuffer(self.data, dtype=np.uint8), bitorder="little")
            self._ids = np.flatnonzero(raw) + 1
        return self._ids

    def rank(self, client: int) -> int:
        """How many members come before ``client``."""
        return (self._bits & ((1 << (client - 1)) - 1)).bit_count()

    def _like(self, bits: int) -> Members:
        return Members(bits.to_bytes(len(self.data), "little"), self.clients)


def size(clients: int) -> int:
    """Bytes that a set of clients takes, ⌈n/8⌉."""
    return (clients + 7) // 8
