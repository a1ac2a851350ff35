"""What all parties of a run agree on before it starts: sizes, thresholds and the vectors to be summed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto.digest import frame
from fedpriv.encoding.ranges import check_range
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.secagg import members
from fedpriv.secagg.graph_parameters import (
    MAX_CLIENTS,
    MIN_CLIENTS,
    clients_of,
    corrupt_neighbours,
    graph_parameters,
    log_disconnected,
)
from fedpriv.secagg.levels import check_levels, level_of
from fedpriv.secagg.vectors import Vector, check_vectors, in_order

__all__ = [
    "GRINDING_BITS",
    "MAX_CLIENTS",
    "MIN_CLIENTS",
    "SecAggParams",
    "Sum",
    "least_threshold",
]

MAX_COMPLETE = 1000
SECURITY_BITS = 40
GRINDING_BITS = 64
"""Graphs that an adversary may try, as a power of two, for which a sparse graph pays by default."""


def least_threshold(clients: int, max_colluders: int = 0) -> int:
    """The smallest t with 2t > n + a: two disjoint groups can then never both reach it without a common
    honest client (Bonawitz et al. 2017, the condition of Theorem 6.5).

    >>> [least_threshold(10), least_threshold(10, 2), least_threshold(3), least_threshold(3, 1)]
    [6, 7, 2, 3]
    """
    return (clients + max_colluders) // 2 + 1


@dataclass(frozen=True, slots=True)
class SecAggParams:
    """Sizes and floors of a run.  Each client is given its own copy; no message changes it.

    `for_cohort` (everyone shares masks with everyone, 3 to 1000 clients) and `for_devices` (each with a few
    others, up to a million) choose the numbers; made directly, all are checked.

    Attributes:
        clients: n, the size of the roster.
        threshold: t, how many shares open a secret.
        vectors: what is summed, ascending by name.
        max_colluders: a, clients that may collude with the server without the guarantee being lost.
        malicious: whether the server may deviate.  Clients then sign the list of survivors before they reveal
            shares, and t is large enough that no two lists can be served.  Without it (semi-honest mode) the
            server is trusted to follow the protocol; a round takes one exchange less.
        min_survivors: m, the fewest clients whose sum is released.
        degree: k, neighbours of each client; ``clients - 1`` is the complete graph.
        grinding_bits: for a sparse graph in malicious mode, how many graphs an adversary may try out, as a
            power of two; a party that follows the protocol tries none.
        levels: numbers of survivors, ascending, above m; of each survivor one secret is recovered, that of
            the highest level reached (SA-18).  None by default.

    Raises:
        UnsafeParameters: they would run and not protect; the message says why.
        UsageError: a value out of range.

    >>> SecAggParams.for_cohort(8, vectors=[Vector("update", 32, 1000)], max_colluders=1).threshold
    5
    """

    clients: int
    threshold: int
    vectors: tuple[Vector, ...]
    max_colluders: int
    malicious: bool
    min_survivors: int
    degree: int
    grinding_bits: int = GRINDING_BITS
    levels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.malicious, bool):
            raise UsageError("malicious is true or false.")
        check_vectors(self.vectors)
        check_range("clients", self.clients, 0, MAX_CLIENTS)
        if self.clients < MIN_CLIENTS:
            raise UnsafeParameters(
                f"Secure aggregation of {self.clients} clients protects nobody: with two, each learns the "
                "other's vector from the sum.",
                hint=f"Use at least {MIN_CLIENTS} clients. [SA-9]",
            )
        check_range("max_colluders", self.max_colluders, 0, self.clients)
        if self.max_colluders > self.clients - 2:
            raise UnsafeParameters(
                f"With {self.max_colluders} colluders among {self.clients} clients fewer than two are "
                "honest, and the sum gives the last one away.",
                hint=f"Set max_colluders to at most {self.clients - 2}. [SA-9]",
            )
        check_range("degree", self.degree, 2, self.clients - 1)
        check_range("threshold", self.threshold, 1, self.holders)
        check_range("min_survivors", self.min_survivors, self.threshold, self.clients)
        check_range("grinding_bits", self.grinding_bits, 0, 128)
        check_levels(self.levels, self.min_survivors, self.clients)
        if self.complete:
            self._check_complete()
        else:
            self._check_sparse()

    @classmethod
    def for_cohort(
        cls,
        clients: int,
        *,
        vectors: tuple[Vector, ...] | list[Vector],
        max_colluders: int = 0,
        min_survivors: int | None = None,
        malicious: bool = True,
        levels: tuple[int, ...] = (),
    ) -> SecAggParams:
        """The complete graph with the least safe threshold; 3 to 1000 clients.

        Args:
            clients: n.
            vectors: what is summed.
            max_colluders: a.
            min_survivors: m; the threshold where it is not given.
            malicious, levels: see the class.
        """
        majority = least_threshold(clients, max_colluders if malicious else 0)
        threshold = majority if malicious else max(2, max_colluders + 1)
        least = majority if min_survivors is None else min_survivors
        return cls(
            clients,
            threshold=min(threshold, max(clients, 1)),
            vectors=in_order(vectors),
            max_colluders=max_colluders,
            malicious=malicious,
            min_survivors=max(least, threshold),
            degree=clients - 1,
            levels=levels,
        )

    @classmethod
    def for_devices(
        cls,
        clients: int,
        *,
        vectors: tuple[Vector, ...] | list[Vector],
        corrupt: float,
        dropout: float,
        malicious: bool = True,
        grinding_bits: int = GRINDING_BITS,
    ) -> SecAggParams:
        """The sparsest safe graph for many clients (`graph_parameters`), or the complete one where none is.

        Args:
            clients: n.
            vectors: what is summed.
            corrupt: γ, the share of clients that may collude with the server.
            dropout: δ, the share that may vanish in a round.
            malicious: see the class.
            grinding_bits: see the class; 0 where the graph cannot be influenced.

        Raises:
            UnsafeParameters: no graph serves.
        """
        colluders = clients_of("corrupt", corrupt, clients)
        dropped = clients_of("dropout", dropout, clients)
        # Their share among the fewest clients that a round may have, see _check_sparse.
        denser = -(-colluders * clients // max(clients - dropped, 1))
        found = graph_parameters(
            clients,
            corrupt=(denser + 0.5) / max(clients, 1) if denser else corrupt,
            dropout=dropout,
            adversary="semi-malicious" if malicious else "curious",
            security_bits=SECURITY_BITS,
            grinding_bits=grinding_bits if malicious else 0,
        )
        if found.complete:
            return cls.for_cohort(
                clients,
                vectors=vectors,
                max_colluders=colluders,
                min_survivors=clients - dropped,
                malicious=malicious,
            )
        return cls(
            clients,
            threshold=found.threshold,
            vectors=in_order(vectors),
            max_colluders=colluders,
            malicious=malicious,
            min_survivors=clients - dropped,
            degree=found.degree,
            grinding_bits=grinding_bits,
        )

    @property
    def complete(self) -> bool:
        """Whether every client shares masks with every other."""
        return self.degree == self.clients - 1

    @property
    def holders(self) -> int:
        """Clients that hold shares of one: on the complete graph it holds one of its own."""
        return self.clients if self.complete else self.degree

    @property
    def max_dropouts(self) -> int:
        """How many of the n clients may vanish before the sum, n - m."""
        return self.clients - self.min_survivors

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that clients answer, in order; a prepared round starts with the upload."""
        check = ("consistency",) if self.malicious else ()
        return ("advertise", "share", "upload", *check, "unmask")

    @property
    def upload_bytes(self) -> int:
        """Bytes of one client's packed vectors."""
        return sum(vector.packed_bytes for vector in self.vectors)

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """(bits, number of values) of each part of an upload, in order over all vectors."""
        return tuple((vector.bits, count) for vector in self.vectors for _, count in vector.parts)

    @property
    def set_bytes(self) -> int:
        """Bytes of a set of clients on the wire."""
        return members.size(self.clients)

    def encode(self) -> bytes:
        """One byte string for one set of parameters (protocols/secagg/spec.md, section 3)."""
        numbers = (
            self.clients,
            self.degree,
            self.threshold,
            self.min_survivors,
            self.max_colluders,
            int(self.malicious),
        )
        encoded = b"".join(number.to_bytes(8, "big") for number in numbers) + frame(
            *(vector.encode() for vector in self.vectors)
        )
        if not self.levels:
            return encoded
        return encoded + frame(b"levels", *(level.to_bytes(8, "big") for level in self.levels))

    def level_of(self, survivors: int) -> int:
        """Which level so many survivors reach, 1..L; 0 is none."""
        return level_of(self.levels, survivors)

    def _check_complete(self) -> None:
        if self.clients > MAX_COMPLETE:
            raise UnsafeParameters(
                f"On the complete graph {self.clients} clients would each agree on {self.degree} keys.",
                hint=f"Above {MAX_COMPLETE} clients use SecAggParams.for_devices.",
            )
        if self.malicious:
            least, why = (
                least_threshold(self.clients, self.max_colluders),
                "lets the server open two different sums",
            )
        else:
            least, why = max(2, self.max_colluders + 1), "lets the colluders open secrets by themselves"
        if self.threshold < least:
            raise UnsafeParameters(
                f"A threshold of {self.threshold} of {self.clients} clients with {self.max_colluders} "
                f"colluders {why}.",
                hint=f"Set it to at least {least}. [SA-9]",
            )

    def _check_sparse(self) -> None:
        if self.degree % 2:
            raise UsageError(f"The degree of a sparse graph is even, not {self.degree}.")
        if self.min_survivors <= self.degree:
            raise UnsafeParameters(
                f"A graph in which each has {self.degree} neighbours needs more than "
                f"{self.min_survivors} clients in every round.",
                hint="Raise min_survivors, or use the complete graph (SecAggParams.for_cohort).",
            )
        if self.malicious and self.levels:
            raise UnsafeParameters(
                "On a sparse graph no client can check how many survive, so a server that deviates could "
                "claim more than there are and be given the secrets of a level that was not reached.",
                hint="Use SecAggParams.for_cohort, semi-honest mode, or no levels. [SA-18]",
            )
        # A server may leave honest clients out of a round, down to m, and keep all that collude (SA-9).
        bits = SECURITY_BITS + (self.grinding_bits if self.malicious else 0)
        removed = self.max_colluders + self.max_dropouts
        if log_disconnected(self.clients, removed, self.degree) > -(bits + 1) * log(2):
            raise UnsafeParameters(
                f"With {self.degree} neighbours each, {removed} clients that collude or vanish can part "
                "the others, and the server would learn the sum of each part.",
                hint="Let SecAggParams.for_devices choose, or raise degree or min_survivors. [SA-9]",
            )
        worst = corrupt_neighbours(self.min_survivors, self.max_colluders, self.degree, security_bits=bits)
        least = (self.degree + worst) // 2 + 1 if self.malicious else worst + 1
        if self.threshold < least:
            raise UnsafeParameters(
                f"Of {self.degree} neighbours up to {worst} may collude, so a threshold of {self.threshold} "
                "does not protect every client.",
                hint=f"Set it to at least {least}, or let SecAggParams.for_devices choose. [SA-9]",
            )


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """What a finished round gives the server.

    Attributes:
        vectors: by name, the survivors' vectors summed modulo ``2**bits``: shape (d,), dtype uint64.
        survivors: the clients whose vectors are in the sums, ascending.
        answered: for each stage, the clients that answered it, ascending; in a prepared round 'advertise' and
            'share' name those who had done so ahead.
        level: which level the survivors reach, 1..L; 0 is none.
        level_secrets: the secret of that level, 32 bytes, of each survivor whose shares gave the one that it
            had committed to (SA-18).
    """

    vectors: Mapping[str, NDArray[np.uint64]]
    survivors: tuple[int, ...]
    answered: Mapping[str, tuple[int, ...]]
    level: int = 0
    level_secrets: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def unopened(self) -> tuple[int, ...]:
        """Survivors whose level secret did not come out: they, or clients that held shares of it, lied."""
        return tuple(client for client in self.survivors if self.level and client not in self.level_secrets)
