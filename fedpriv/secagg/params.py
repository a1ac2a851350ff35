"""What all parties of a round must agree on before it starts: sizes, floors and the session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.encoding.packing import MAX_BITS, packed_size
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["MAX_CLIENTS", "SecAggParams", "Session", "Sum", "least_threshold"]

MIN_CLIENTS = 3
MAX_CLIENTS = 1000
MAX_DIMENSION = 2**31 - 1
RUN_ID_BYTES = 16
CONTEXT_BYTES = 32


def least_threshold(clients: int, max_colluders: int = 0) -> int:
    """The smallest t with 2t > n + a: two disjoint groups can then never both reach it without a common
    honest client (Bonawitz et al. 2017, the condition of Theorem 6.5).

    >>> [least_threshold(10), least_threshold(10, 2), least_threshold(3), least_threshold(3, 1)]
    [6, 7, 2, 3]
    """
    return (clients + max_colluders) // 2 + 1


@dataclass(frozen=True, slots=True)
class SecAggParams:
    """Sizes and floors of one protocol run.  Each client is given its own copy; no message changes it.

    Attributes:
        clients: n, the size of the roster, 3 to 1000.
        threshold: t, how many shares open a secret and the fewest survivors whose sum is released.
        bits: b, 1 to 62; sums are modulo ``2**bits``.
        dimension: d, the length of each vector.
        max_colluders: a, clients that may collude with the server without the guarantee being lost.
        consistency_check: clients sign the list of survivors before they reveal shares.  Needed against a
            server that does not follow the protocol; without it the server is trusted to follow it.

    Raises:
        UnsafeParameters: n below 3, fewer than two honest clients, or 2t ≤ n + a.
        UsageError: a value out of range.

    >>> SecAggParams.for_cohort(8, bits=32, dimension=1000, max_colluders=1).threshold
    5
    """

    clients: int
    threshold: int
    bits: int
    dimension: int
    max_colluders: int = 0
    consistency_check: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.consistency_check, bool):
            raise UsageError("consistency_check is true or false.")
        _check_range("clients", self.clients, 0, MAX_CLIENTS)
        _check_range("bits", self.bits, 1, MAX_BITS)
        _check_range("dimension", self.dimension, 1, MAX_DIMENSION)
        if self.clients < MIN_CLIENTS:
            raise UnsafeParameters(
                f"Secure aggregation of {self.clients} clients protects nobody: with two, each learns the "
                "other's vector from the sum.",
                hint=f"Use at least {MIN_CLIENTS} clients. [SA-9]",
            )
        _check_range("max_colluders", self.max_colluders, 0, self.clients)
        if self.max_colluders > self.clients - 2:
            raise UnsafeParameters(
                f"With {self.max_colluders} colluders among {self.clients} clients fewer than two are "
                "honest, and the sum gives the last one away.",
                hint=f"Set max_colluders to at most {self.clients - 2}. [SA-9]",
            )
        _check_range("threshold", self.threshold, 1, self.clients)
        least = least_threshold(self.clients, self.max_colluders)
        if self.threshold < least:
            raise UnsafeParameters(
                f"A threshold of {self.threshold} of {self.clients} clients with {self.max_colluders} "
                "colluders lets the server open two different sums.",
                hint=f"Set it to at least {least}. [SA-9]",
            )

    @classmethod
    def for_cohort(
        cls,
        clients: int,
        *,
        bits: int,
        dimension: int,
        max_colluders: int = 0,
        min_survivors: int | None = None,
        consistency_check: bool = True,
    ) -> SecAggParams:
        """The parameters with the least safe threshold, or ``min_survivors`` where that is more."""
        threshold = max(least_threshold(clients, max_colluders), min_survivors or 0)
        return cls(clients, threshold, bits, dimension, max_colluders, consistency_check)

    @property
    def max_dropouts(self) -> int:
        """How many of the n clients may vanish, n - t."""
        return self.clients - self.threshold

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that clients answer, in order."""
        check = ("consistency",) if self.consistency_check else ()
        return ("advertise", "share", "upload", *check, "unmask")

    @property
    def upload_bytes(self) -> int:
        """Bytes of one packed vector, ⌈d·b/8⌉."""
        return packed_size(self.bits, self.dimension)

    def encode(self) -> bytes:
        """One byte string for one set of parameters: six numbers of 8 bytes, big-endian."""
        numbers = (
            self.clients,
            self.threshold,
            self.bits,
            self.dimension,
            self.max_colluders,
            int(self.consistency_check),
        )
        return b"".join(number.to_bytes(8, "big") for number in numbers)


@dataclass(frozen=True, slots=True)
class Session:
    """Which round of which run this is, and about what; part of every signature and every derived key.

    Attributes:
        run_id: 16 bytes, unique to the run.
        round: 0 to 2**63 - 1; never used twice in a run with the same identities.
        context: 32 bytes, the digest of the model and of the configuration the vectors are computed from.

    Raises:
        UsageError: a length or number out of range.
    """

    run_id: bytes
    round: int
    context: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.run_id, bytes) or len(self.run_id) != RUN_ID_BYTES:
            raise UsageError(f"A run identifier is {RUN_ID_BYTES} bytes.")
        if not isinstance(self.context, bytes) or len(self.context) != CONTEXT_BYTES:
            raise UsageError(f"A session's context is a digest of {CONTEXT_BYTES} bytes.")
        _check_range("round", self.round, 0, 2**63 - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """What a finished round gives the server.

    Attributes:
        total: shape (d,), dtype uint64, the survivors' vectors summed modulo ``2**bits``.
        survivors: the clients whose vectors are in the sum, ascending.
        answered: for each stage, the clients that answered it, ascending.
    """

    total: NDArray[np.uint64]
    survivors: tuple[int, ...]
    answered: dict[str, tuple[int, ...]]


def _check_range(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} is a whole number, not {type(value).__name__}.")
    if not least <= value <= most:
        raise UsageError(f"{name} is {value}, which does not lie in {least}..{most}.")
