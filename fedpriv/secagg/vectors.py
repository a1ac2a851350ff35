"""What is summed: named vectors, each modulo a power of two of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fedpriv.crypto.digest import frame
from fedpriv.encoding.packing import MAX_BITS, packed_size
from fedpriv.encoding.ranges import check_range
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["MAX_VECTORS", "PART_VALUES", "UPDATE", "Vector", "check_vectors", "in_order"]

MAX_DIMENSION = 2**31 - 1
MAX_VECTORS = 16
PART_VALUES = 2**18
"""Values in one message of an upload: at most 2 MiB, below the usual limit of 4 MiB a message."""

UPDATE = "update"
"""The name of a vector that has been given none."""

_NAME = re.compile(r"[a-z0-9_-]{1,32}\Z")


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector of a session: its name, and the modulus and length that all clients give it.

    Attributes:
        name: 1 to 32 of ``a-z 0-9 _ -``; part of its mask keys.
        bits: b, 1 to 62; the sum is modulo ``2**bits``.
        dimension: d, 1 to 2**31 - 1.

    >>> Vector.for_sum("records", clients=50, largest=10_000).bits
    19
    """

    name: str
    bits: int
    dimension: int

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.match(self.name):
            raise UsageError(f"A vector's name is 1 to 32 of a-z, 0-9, _ and -, not {self.name!r}.")
        check_range("bits", self.bits, 1, MAX_BITS)
        check_range("dimension", self.dimension, 1, MAX_DIMENSION)

    @classmethod
    def for_sum(
        cls,
        name: str,
        *,
        clients: int,
        largest: int,
        signed: bool = False,
        noise: int = 0,
        dimension: int = 1,
    ) -> Vector:
        """The narrowest vector whose sum cannot wrap (SA-8).

        Args:
            name: its name.
            clients: n.
            largest: the largest magnitude of one client's value.
            signed: whether values may be negative: then the sum is read as two's complement.
            noise: bound on the magnitude of the noise in the whole sum; implies ``signed``.
            dimension: d.

        Raises:
            UnsafeParameters: even 62 bits could wrap.
        """
        for value in (largest, noise):
            check_range("a bound on values", value, 0, 2**128)
        bits = max(1, (clients * largest + noise).bit_length() + int(signed or noise > 0))
        if bits > MAX_BITS:
            raise UnsafeParameters(
                f"The sum of '{name}' over {clients} clients takes {bits} bits and would wrap in {MAX_BITS}.",
                hint="Use a coarser scale or less noise. [SA-8]",
            )
        return cls(name, bits, dimension)

    @property
    def packed_bytes(self) -> int:
        """Bytes of the whole vector on the wire, ⌈d·b/8⌉."""
        return packed_size(self.bits, self.dimension)

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """(first value, number of values) of each message that carries a piece of it."""
        return tuple(
            (start, min(PART_VALUES, self.dimension - start))
            for start in range(0, self.dimension, PART_VALUES)
        )

    def encode(self) -> bytes:
        """One byte string for one vector."""
        return frame(
            self.name.encode("ascii"), self.bits.to_bytes(8, "big"), self.dimension.to_bytes(8, "big")
        )


def in_order(vectors: Sequence[Vector]) -> tuple[Vector, ...]:
    """The vectors as a session has them: ascending by name."""
    return tuple(sorted(vectors, key=lambda vector: vector.name))


def check_vectors(vectors: tuple[Vector, ...]) -> None:
    """Refuse what are not the vectors of a session.

    Raises:
        UsageError: too many, two of one name, or another order.
    """
    if not isinstance(vectors, tuple) or not all(isinstance(vector, Vector) for vector in vectors):
        raise UsageError("The vectors of a session are a tuple of Vector.")
    names = [vector.name for vector in vectors]
    if not 1 <= len(names) <= MAX_VECTORS or names != sorted(set(names)):
        raise UsageError(f"A session has 1 to {MAX_VECTORS} vectors, each with a name of its own, in order.")
