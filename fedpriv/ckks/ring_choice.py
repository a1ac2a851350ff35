"""The ring with which a vector takes the fewest bytes: degree, primes, and values in one residue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import Final

from fedpriv.ckks.layout import Layout
from fedpriv.ckks.primes import MAX_PRIME_BITS, ring_primes
from fedpriv.ckks.ring_params import MAX_MODULUS_BITS, RingParams
from fedpriv.ckks.security import (
    LEAST_SPECIAL_BITS,
    LEAST_STATISTICAL_BITS,
    coefficients_of_key,
    flood_variance,
    least_noise_prime,
    sum_variance,
)
from fedpriv.ckks.wire import packed_rows_size
from fedpriv.errors import UnsafeParameters

__all__ = ["DEGREES", "RingChoice", "choose_ring", "upload_bytes"]

DEGREES: Final = (4096, 8192, 16384)
_DIGITS: Final = range(1, 5)
_MESSAGES: Final = range(1, 13)


@dataclass(frozen=True, slots=True)
class RingChoice:
    """What `choose_ring` found.

    Attributes:
        ring: degree and primes.
        digits: v, values in one residue.
        flood_variance: σ_f²; 0 where nothing is flooded.
    """

    ring: RingParams
    digits: int
    flood_variance: int


@dataclass(frozen=True, slots=True)
class _Sum:
    """What is to be summed, and how much noise comes with it."""

    clients: int
    dimension: int
    bound: int
    subsets: int
    sums_per_key: int
    flooding_bits: int | None

    @property
    def base(self) -> int:
        return 2 * self.clients * self.bound + 1

    def noise(self, degree: int, values_per_chunk: int) -> tuple[int, int]:
        """σ_f², and the least noise prime."""
        chunks = -(-self.dimension // values_per_chunk)
        coefficients = coefficients_of_key(degree, chunks, self.sums_per_key)
        variance = sum_variance(degree, self.subsets, self.clients)
        flood = 0
        if self.flooding_bits is not None:
            flood = flood_variance(variance, coefficients, self.flooding_bits)
        return flood, least_noise_prime(variance + self.subsets * flood, coefficients)


def choose_ring(
    *, clients: int, dimension: int, bound: int, subsets: int, sums_per_key: int, flooding_bits: int | None
) -> RingChoice:
    """Try every degree, number of message primes and of digits; keep what a client uploads the least with.

    Where two serve as well, the smaller degree, then the smaller modulus.  The special prime is no larger
    than it has to be, since each bit of q' costs security.

    Args:
        clients: n, at least 1.
        dimension: d, at least 1.
        bound: M, at least 1.
        subsets: C(K, t - 1).
        sums_per_key: Q.
        flooding_bits: s; None where nothing is flooded.

    Raises:
        UnsafeParameters: no ring holds such sums, or the noise that has to be hidden.

    >>> found = choose_ring(
    ...     clients=10, dimension=4_000_000, bound=838_860, subsets=1, sums_per_key=16, flooding_bits=None
    ... )
    >>> found.ring.degree, found.digits, len(found.ring.message_primes), found.ring.modulus_bits
    (16384, 2, 7, 383)
    """
    asked = _Sum(clients, dimension, bound, subsets, sums_per_key, flooding_bits)
    if asked.base >> MAX_PRIME_BITS:
        raise UnsafeParameters(
            f"Sums of {clients} values of at most {bound} take {asked.base.bit_length()} bits, and a prime "
            f"has at most {MAX_PRIME_BITS}.",
            hint=f"Lower bound to at most {((1 << (MAX_PRIME_BITS - 1)) - 1) // (2 * clients)}. [CK-2]",
        )
    best: tuple[tuple[int, int, int], RingChoice] | None = None
    for found in _candidates(asked):
        layout = Layout(found.ring, bound, clients, found.digits, dimension)
        rank = (upload_bytes(layout), found.ring.degree, found.ring.modulus_bits)
        if best is None or rank < best[0]:
            best = rank, found
    if best is None:
        raise _no_ring(asked)
    return best[1]


def upload_bytes(layout: Layout) -> int:
    """Bytes of the packed ciphertexts of one vector: of c_0 the coefficients in use, of c_1 all."""
    primes, degree = layout.ring.primes, layout.ring.degree
    last = layout.chunks - 1
    full = 2 * packed_rows_size(primes, degree)
    rest = packed_rows_size(primes, layout.used(last)) + packed_rows_size(primes, degree)
    return last * full + rest


def _candidates(asked: _Sum) -> Iterator[RingChoice]:
    for degree, digits, messages in product(DEGREES, _DIGITS, _MESSAGES):
        flood, noise_prime = asked.noise(degree, degree * messages * digits)
        message_bits = _message_bits(asked.base**digits, degree, messages)
        if message_bits is None:
            continue
        for noise_bits in range(noise_prime.bit_length(), MAX_PRIME_BITS + 1):
            spent = noise_bits + messages * message_bits + LEAST_SPECIAL_BITS
            if spent > MAX_MODULUS_BITS[degree]:
                break
            try:
                ring = RingParams.of_bits(degree, noise_bits, message_bits, messages, LEAST_SPECIAL_BITS)
            except UnsafeParameters:  # no prime of so few bits is left
                continue
            if ring.noise_prime >= noise_prime:
                yield RingChoice(ring, digits, flood)
                break


def _message_bits(range_: int, degree: int, messages: int) -> int | None:
    """The least size of which there are so many primes of at least B^v; None where there is none."""
    for bits in range(max(range_.bit_length(), 2), MAX_PRIME_BITS + 1):
        if messages * bits > MAX_MODULUS_BITS[degree]:
            return None
        primes = list(islice(ring_primes(bits, degree), messages))
        if len(primes) == messages and primes[-1] >= range_:
            return bits
    return None


def _no_ring(asked: _Sum) -> UnsafeParameters:
    """What to change: by how many bits the noise misses the room that is left for its prime."""
    misses = []
    for degree, digits, messages in product(DEGREES, _DIGITS, _MESSAGES):
        message_bits = _message_bits(asked.base**digits, degree, messages)
        if message_bits is not None:
            room = MAX_MODULUS_BITS[degree] - messages * message_bits - LEAST_SPECIAL_BITS
            noise_prime = asked.noise(degree, degree * messages * digits)[1]
            misses.append(noise_prime.bit_length() - min(room, MAX_PRIME_BITS))
    over = max(min(misses), 1)
    if asked.flooding_bits is None:
        return UnsafeParameters(
            f"No ring holds sums of {asked.base.bit_length()} bits and the noise of {asked.clients} clients.",
            hint=f"Lower bound by {over} bits or more. [CK-2]",
        )
    ways = []
    if asked.flooding_bits - over >= LEAST_STATISTICAL_BITS:
        ways.append(f"statistical_bits to {asked.flooding_bits - over}")
    if asked.sums_per_key >> 2 * over:
        ways.append(f"sums_per_key to {asked.sums_per_key >> 2 * over}")
    return UnsafeParameters(
        f"No ring has room for the noise that hides {asked.sums_per_key} sums a key to within 2^-"
        f"{asked.flooding_bits}: it is up to {1 << over} times too large.",
        hint=f"Lower {' or '.join(ways)}." if ways else "Lower bound, dimension or the committee's size.",
    )
