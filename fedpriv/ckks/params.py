"""What all parties of a run agree on before it starts: holders, ring, flooding, and what makes them safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from fedpriv.ckks import security
from fedpriv.ckks.committee import subsets
from fedpriv.ckks.layout import Layout
from fedpriv.ckks.mode import (
    AUTHORITY,
    Mode,
    check_committee,
    default_holders,
    least_threshold,
)
from fedpriv.ckks.ring_choice import choose_ring, upload_bytes
from fedpriv.ckks.ring_params import RingParams
from fedpriv.ckks.wire import packed_rows_size
from fedpriv.crypto.digest import canonical_json
from fedpriv.encoding.packing import packed_size
from fedpriv.encoding.ranges import check_range
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["AUTHORITY", "MAX_CLIENTS", "CkksParams", "Mode", "least_threshold"]

MAX_CLIENTS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class CkksParams:
    """Numbers of a run.  Each party is given its own copy; no message changes it.

    `for_sum` chooses ring, digits and flooding; made directly, all are checked.

    Attributes:
        mode: who holds the key: one ``authority``, a committee (``threshold``), or every client
            (``shared-key``, see `warning`).
        clients: n, the size of the roster.
        dimension: d, values of a vector.
        bound: M, no value of a client is larger in absolute value.
        min_survivors: m, the fewest clients whose sum is opened.
        holders: numbers of the parties that hold the key, ascending; the authority is 0.
        threshold: t, how many holders open a sum.
        max_colluders: c, clients that may collude with the server without the guarantee being lost.
        malicious: whether the server may deviate.
        sums_per_key: Q, sums that one key may open.
        statistical_bits: s, all that one key opens is within 2^-s of what the sums alone would give.
        ring: degree and primes.
        digits: v, values in one residue.
        flood_variance: σ_f² of the noise of one subset; 0 where t = 1, which needs none.

    Raises:
        UnsafeParameters: they would run and not protect; the message says which number to change.
        UsageError: a value out of range.

    >>> params = CkksParams.for_sum(mode="threshold", clients=10, dimension=4_000_000, bound=838_860)
    >>> params.holders, params.threshold, params.ring.degree, round(params.wire_ratio, 2)
    ((1, 2, 3, 4, 5), 4, 16384, 1.79)
    """

    mode: Mode
    clients: int
    dimension: int
    bound: int
    min_survivors: int
    holders: tuple[int, ...]
    threshold: int
    max_colluders: int
    malicious: bool
    sums_per_key: int
    statistical_bits: int
    ring: RingParams
    digits: int
    flood_variance: int

    def __post_init__(self) -> None:
        _check_sum(self.clients, self.dimension, self.bound, self.sums_per_key, self.statistical_bits)
        _check_survivors(self.clients, self.min_survivors, self.max_colluders)
        if not isinstance(self.malicious, bool):
            raise UsageError("malicious is true or false.")
        check_committee(
            self.mode,
            self.clients,
            self.holders,
            self.threshold,
            self.max_colluders,
            malicious=self.malicious,
        )
        check_range("digits", self.digits, 1, 60)
        self._check_noise()

    @classmethod
    def for_sum(
        cls,
        *,
        mode: Mode,
        clients: int,
        dimension: int,
        bound: int,
        min_survivors: int | None = None,
        holders: Sequence[int] | None = None,
        threshold: int | None = None,
        max_colluders: int = 1,
        malicious: bool = True,
        sums_per_key: int = 16,
        statistical_bits: int = 30,
    ) -> Self:
        """The ring with which a client uploads the fewest bytes, and the flooding that it takes.

        Args:
            mode, clients, dimension, bound, max_colluders, malicious, sums_per_key, statistical_bits: see
                the class.
            min_survivors: m; where it is not given a majority, and at least two more than may collude.
            holders: of mode ``threshold``; the first five clients, or as many as there are.
            threshold: of mode ``threshold``; the least that CK-1 allows.

        Raises:
            UnsafeParameters: as the class, or no ring serves.
            UsageError: as the class.
        """
        _check_sum(clients, dimension, bound, sums_per_key, statistical_bits)
        least = max(clients // 2 + 1, 2) if min_survivors is None else min_survivors
        if min_survivors is None and isinstance(max_colluders, int):
            least = min(max(least, max_colluders + 2), clients)
        _check_survivors(clients, least, max_colluders)
        held = default_holders(mode, clients) if holders is None else tuple(holders)
        if threshold is None:
            wanted = least_threshold(len(held), max_colluders, malicious=malicious)
            threshold = min(wanted, len(held)) if mode == "threshold" else 1
        check_committee(mode, clients, held, threshold, max_colluders, malicious=malicious)
        found = choose_ring(
            clients=clients,
            dimension=dimension,
            bound=bound,
            subsets=security.subsets_of(len(held), threshold),
            sums_per_key=sums_per_key,
            flooding_bits=statistical_bits if threshold > 1 else None,
        )
        return cls(
            mode=mode,
            clients=clients,
            dimension=dimension,
            bound=bound,
            min_survivors=least,
            holders=held,
            threshold=threshold,
            max_colluders=max_colluders,
            malicious=malicious,
            sums_per_key=sums_per_key,
            statistical_bits=statistical_bits,
            ring=found.ring,
            digits=found.digits,
            flood_variance=found.flood_variance,
        )

    @property
    def layout(self) -> Layout:
        """Where the values go."""
        return Layout(self.ring, self.bound, self.clients, self.digits, self.dimension)

    @property
    def subsets(self) -> tuple[tuple[int, ...], ...]:
        """The subsets of holders whose secrets the key is the sum of."""
        return subsets(self.holders, self.threshold)

    @property
    def secrets(self) -> int:
        """C(K, t - 1): how many they are."""
        return security.subsets_of(len(self.holders), self.threshold)

    @property
    def noise_limit(self) -> int:
        """The largest noise, in absolute value, of an opened sum that is released (CK-4)."""
        return self.ring.noise_prime >> security.ROOM_BITS

    @property
    def noise_variance(self) -> int:
        """σ_e²: variance proxy of a coefficient of the noise of n encryptions, without the flood."""
        return security.sum_variance(self.ring.degree, self.secrets, self.clients)

    @property
    def warning(self) -> str | None:
        """What must be said loudly before anybody uses this; None in modes that protect."""
        if self.mode != "shared-key":
            return None
        return (
            "SHARED KEY: every client holds the whole secret key, so the server with any one client "
            "reads every other client's update; modes 'authority' and 'threshold' protect against that"
        )

    @property
    def upload_bytes(self) -> int:
        """Bytes of the ciphertexts that one client sends for one sum, without envelopes and signatures."""
        return upload_bytes(self.layout)

    @property
    def wire_ratio(self) -> float:
        """``upload_bytes`` over those of the vector in float32."""
        return self.upload_bytes / (4 * self.dimension)

    @property
    def key_bytes(self) -> int:
        """Bytes of a public key: b modulo q'; a follows from its name."""
        return packed_rows_size(self.ring.key_primes, self.ring.degree)

    @property
    def opening_bytes(self) -> int:
        """Bytes of ciphertext that one holder downloads to open a sum of all clients."""
        layout, primes = self.layout, self.ring.primes
        second = layout.chunks * packed_rows_size(primes, self.ring.degree)
        if self.malicious:
            second *= self.clients
        return second + (self._of_used(layout) if self.threshold == 1 else 0)

    @property
    def answer_bytes(self) -> int:
        """Bytes with which one holder answers: the sums where t = 1, else parts of the decryption."""
        layout = self.layout
        if self.threshold > 1:
            return self._of_used(layout)
        bits = (layout.base - 1).bit_length()
        last = layout.chunks - 1
        full = last * packed_size(bits, layout.values_per_chunk)
        return full + packed_size(bits, layout.values_in(last))

    def canonical(self) -> bytes:
        """One byte string for one set of parameters (protocols/ckks/parameters.md, section 6)."""
        return canonical_json(
            {
                "version": 1,
                "mode": self.mode,
                "clients": self.clients,
                "dimension": self.dimension,
                "bound": self.bound,
                "min_survivors": self.min_survivors,
                "holders": self.holders,
                "threshold": self.threshold,
                "max_colluders": self.max_colluders,
                "malicious": self.malicious,
                "sums_per_key": self.sums_per_key,
                "statistical_bits": self.statistical_bits,
                "degree": self.ring.degree,
                "noise_prime": self.ring.noise_prime,
                "message_primes": self.ring.message_primes,
                "special_prime": self.ring.special_prime,
                "digits": self.digits,
                "flood_variance": self.flood_variance,
            }
        )

    def _of_used(self, layout: Layout) -> int:
        """Bytes of the coefficients of c_0 that are sent, over all chunks."""
        primes, last = self.ring.primes, layout.chunks - 1
        return last * packed_rows_size(primes, self.ring.degree) + packed_rows_size(primes, layout.used(last))

    def _check_noise(self) -> None:
        degree, secrets = self.ring.degree, self.secrets
        if self.ring.special_prime < security.least_special_prime(degree, secrets):
            raise UnsafeParameters(
                f"With a special prime of {self.ring.special_prime} encryption leaves more noise than is "
                "counted for.",
                hint=f"Take one of at least {security.LEAST_SPECIAL_BITS} bits.",
            )
        coefficients = security.coefficients_of_key(degree, self.layout.chunks, self.sums_per_key)
        variance = self.noise_variance
        least = 0
        if self.threshold > 1:
            least = security.flood_variance(variance, coefficients, self.statistical_bits)
        if isinstance(self.flood_variance, bool) or not isinstance(self.flood_variance, int):
            raise UsageError("flood_variance is a whole number.")
        if self.flood_variance < least or (self.flood_variance and not least):
            raise UnsafeParameters(
                f"A flood of variance {self.flood_variance} does not go with a threshold of "
                f"{self.threshold} and {self.statistical_bits} statistical bits.",
                hint=f"Set flood_variance to {least}, or let CkksParams.for_sum choose.",
            )
        total = variance + secrets * self.flood_variance
        least_prime = security.least_noise_prime(total, coefficients)
        if self.ring.noise_prime < least_prime:
            raise UnsafeParameters(
                f"A noise prime of {self.ring.noise_prime} is too small for the noise of these sums.",
                hint=f"Take one of at least {least_prime}, or let CkksParams.for_sum choose. [CK-4]",
            )


def _check_sum(clients: int, dimension: int, bound: int, sums_per_key: int, statistical_bits: int) -> None:
    check_range("clients", clients, 2, MAX_CLIENTS)
    check_range("dimension", dimension, 1, 1 << 40)
    check_range("bound", bound, 1, 1 << 62)
    check_range("sums_per_key", sums_per_key, 1, 1 << 20)
    check_range("statistical_bits", statistical_bits, security.LEAST_STATISTICAL_BITS, 64)


def _check_survivors(clients: int, min_survivors: int, max_colluders: int) -> None:
    check_range("max_colluders", max_colluders, 0, clients)
    check_range("min_survivors", min_survivors, 2, clients)
    if max_colluders > min_survivors - 2:
        raise UnsafeParameters(
            f"In a sum of {min_survivors} clients of which {max_colluders} collude fewer than two are honest,"
            " and it gives the last one away.",
            hint=f"Set min_survivors to at least {max_colluders + 2}."
            if max_colluders <= clients - 2
            else f"Set max_colluders to at most {clients - 2}.",
        )
