"""Where values go in a ciphertext: coefficient, residue and digit (``protocols/ckks/spec.md``, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.modular import centred, residues
from fedpriv.ckks.ring_params import RingParams
from fedpriv.errors import ProtocolViolation, UnsafeParameters, UsageError

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How d integers of at most M in absolute value are placed, so that sums of n such are read exactly.

    Attributes:
        ring: degree and primes.
        bound: M, at least 1.
        clients: n, at least 1.
        digits: v, values in one residue, at least 1.
        dimension: d, at least 1.

    Raises:
        UsageError: a number below 1.
        UnsafeParameters: the sums of ``digits`` values do not fit into a message prime (CK-2).

    >>> ring = RingParams.of_bits(4096, 17, 45, 1, 47)
    >>> layout = Layout(ring, bound=1000, clients=10, digits=3, dimension=20_000)
    >>> layout.chunks, layout.values_in(1), layout.used(1)
    (2, 7712, 2571)
    >>> rows = layout.place(np.array([-1000, 5, 7, 1000]))
    >>> layout.read(rows, 4).tolist()
    [-1000, 5, 7, 1000]
    """

    ring: RingParams
    bound: int
    clients: int
    digits: int
    dimension: int

    def __post_init__(self) -> None:
        if min(self.bound, self.clients, self.digits, self.dimension) < 1:
            raise UsageError(
                f"bound {self.bound}, clients {self.clients}, digits {self.digits} and dimension"
                f" {self.dimension}: each must be at least 1."
            )
        smallest = min(self.ring.message_primes)
        # CK-2.  The first test keeps a wild bound from becoming a number of millions of digits.
        if self.base.bit_length() > 60 or self.digits > 60 or self.base**self.digits > smallest:
            raise UnsafeParameters(
                f"{self.digits} sums of {self.clients} values of at most {self.bound} do not fit into a prime"
                f" of {smallest.bit_length()} bits.",
                hint="Take fewer digits, larger message primes, or a smaller bound.",
            )

    @property
    def base(self) -> int:
        """B = 2 n M + 1: how many different sums there are of one value."""
        return 2 * self.clients * self.bound + 1

    @property
    def values_per_coefficient(self) -> int:
        """g = L' v."""
        return len(self.ring.message_primes) * self.digits

    @property
    def values_per_chunk(self) -> int:
        """N g."""
        return self.ring.degree * self.values_per_coefficient

    @property
    def chunks(self) -> int:
        """Ciphertexts of a vector: ⌈d / (N g)⌉."""
        return -(-self.dimension // self.values_per_chunk)

    def values_in(self, chunk: int) -> int:
        """Values of the vector that chunk number ``chunk``, from 0, holds."""
        if not 0 <= chunk < self.chunks:
            raise UsageError(f"There is no chunk {chunk}; a vector has {self.chunks}.")
        return min(self.values_per_chunk, self.dimension - chunk * self.values_per_chunk)

    def used(self, chunk: int) -> int:
        """Coefficients of c_0 that hold values in chunk number ``chunk``: the others are not sent."""
        return -(-self.values_in(chunk) // self.values_per_coefficient)

    def place(self, values: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Put the values of one chunk into residues.

        Args:
            values: int64, shape (count,), 1 ≤ count ≤ ``values_per_chunk``, each of at most M in absolute
                value.

        Returns:
            W_k: uint64, shape (L', ⌈count / g⌉).

        Raises:
            UsageError: another shape or dtype, or a value beyond M (CK-3).
        """
        if values.ndim != 1 or values.dtype != np.int64 or not 1 <= values.size <= self.values_per_chunk:
            raise UsageError(
                f"A chunk holds a vector of 1 to {self.values_per_chunk} int64, not {values.dtype} of shape"
                f" {values.shape}."
            )
        # CK-3: a value beyond the bound could wrap, or carry into its neighbour.
        if int(values.max()) > self.bound or int(values.min()) < -self.bound:
            raise UsageError(
                f"A value is beyond the bound {self.bound} of this run.",
                hint="Clamp the values, or plan the run with a larger bound.",
            )
        missing = -values.size % self.values_per_coefficient
        if missing:
            values = np.concatenate((values, np.zeros(missing, dtype=np.int64)))
        placed = values.reshape(-1, len(self.ring.message_primes), self.digits)
        rows = np.empty((placed.shape[1], len(placed)), dtype=np.uint64)
        for k, prime in enumerate(self.ring.message_primes):
            word = placed[:, k, -1].copy()
            for digit in range(self.digits - 2, -1, -1):
                word *= self.base
                word += placed[:, k, digit]
            rows[k] = residues(word, (prime,))[0]
        return rows

    def read(self, rows: NDArray[np.uint64], count: int) -> NDArray[np.int64]:
        """Read the sums of at most n chunks that were placed.

        Args:
            rows: the sum of the W_k modulo p_k: uint64, shape (L', ⌈count / g⌉), residues.
            count: values in the chunk.

        Returns:
            int64, shape (count,), each of at most n M in absolute value.

        Raises:
            UsageError: another shape or dtype.
            ProtocolViolation: CK-4, residues that no sum of n placed vectors has: somebody put something else
                into a ciphertext than ``place`` gives.
        """
        messages = self.ring.message_primes
        shape = (len(messages), -(-count // self.values_per_coefficient))
        if not 1 <= count <= self.values_per_chunk or rows.shape != shape or rows.dtype != np.uint64:
            raise UsageError(f"{count} sums are read from uint64 of shape {shape}, not {rows.shape}.")
        half = self.clients * self.bound
        sums = np.empty((shape[1], len(messages), self.digits), dtype=np.int64)
        for k, prime in enumerate(messages):
            word = centred(rows[k], prime)
            for digit in range(self.digits):
                rest = (word + half) // self.base
                np.subtract(word, rest * self.base, out=sums[:, k, digit])
                word = rest
            if word.any():
                raise _malformed()
        flat = sums.reshape(-1)
        if flat[count:].any():
            raise _malformed()
        return flat[:count]


def _malformed() -> ProtocolViolation:
    return ProtocolViolation(
        "The opened residues are not those of a sum of values within their bound: a client encrypted"
        " something else, and it cannot be told which.",
        clause="CK-4",
        hint="Nothing of this sum is released; a new key is made for the next one.",
    )
