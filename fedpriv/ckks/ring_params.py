"""The ring: its degree, and the primes of the two moduli (``protocols/ckks/spec.md``, section 1)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final

from fedpriv.ckks.primes import MAX_PRIME_BITS, is_prime, ring_primes
from fedpriv.errors import UnsafeParameters

__all__ = ["MAX_MODULUS_BITS", "RingParams"]

MAX_MODULUS_BITS: Final = {2048: 54, 4096: 109, 8192: 218, 16384: 438}
"""Bits of q' that a degree carries at 128 bits of security with ternary secrets: Homomorphic Encryption
Standard (2018), Table 1, as SEAL holds it."""


@dataclass(frozen=True, slots=True)
class RingParams:
    """Z_q[X]/(X^N + 1) for ciphertexts, and Z_q'[X]/(X^N + 1) for keys.

    Attributes:
        degree: N, a power of two, 2048 to 16384.
        noise_prime: p_0, whose residue is the noise.
        message_primes: p_1, …, p_L', whose residues carry values.
        special_prime: p_s, which keys have and ciphertexts do not.

    Raises:
        UnsafeParameters: a degree that the standard's table does not hold, more bits than it allows, a number
            that is not a prime = 1 (mod 2N) of at most 60 bits, or one prime twice.

    >>> ring = RingParams.of_bits(4096, 17, 45, 1, 47)
    >>> ring.primes, ring.modulus_bits
    ((114689, 35184371884033), 109)
    """

    degree: int
    noise_prime: int
    message_primes: tuple[int, ...]
    special_prime: int

    def __post_init__(self) -> None:
        allowed = MAX_MODULUS_BITS.get(self.degree)
        if allowed is None:
            choices = ", ".join(map(str, MAX_MODULUS_BITS))
            raise UnsafeParameters(f"The ring degree is {self.degree}; it must be one of {choices}.")
        if not self.message_primes:
            raise UnsafeParameters("A ring needs at least one message prime.")
        for prime in self.key_primes:
            size_fits = 1 < prime < 1 << MAX_PRIME_BITS
            if not size_fits or prime % (2 * self.degree) != 1 or not is_prime(prime):
                raise UnsafeParameters(
                    f"{prime} is not a prime of at most {MAX_PRIME_BITS} bits that is 1 modulo"
                    f" {2 * self.degree}."
                )
        if len(set(self.key_primes)) != len(self.key_primes):
            raise UnsafeParameters("The primes of a ring must differ from one another.")
        if self.modulus_bits > allowed:
            raise UnsafeParameters(
                f"A key modulus of {self.modulus_bits} bits at degree {self.degree} has less than 128 bits of"
                " security.",
                hint=f"Take at most {allowed} bits, or a larger degree.",
            )

    @classmethod
    def of_bits(
        cls, degree: int, noise_bits: int, message_bits: int, messages: int, special_bits: int
    ) -> RingParams:
        """Take the largest primes of given sizes that are 1 modulo 2N and not yet taken.

        Message primes come first, descending; then the noise prime, then the special prime.

        Args:
            degree: N.
            noise_bits: p_0 is below ``2**noise_bits``.
            message_bits: the message primes are below ``2**message_bits``.
            messages: L', how many of them.
            special_bits: p_s is below ``2**special_bits``.

        Raises:
            UsageError: a size outside 2..60 bits, or a degree that is not a power of two.
            UnsafeParameters: as the class, or there are too few primes of that size.
        """
        taken: list[int] = []
        for bits, count in ((message_bits, messages), (noise_bits, 1), (special_bits, 1)):
            free = (prime for prime in ring_primes(bits, degree) if prime not in taken)
            found = list(islice(free, count))
            if len(found) < count:
                raise UnsafeParameters(
                    f"There are fewer than {count} free primes of at most {bits} bits for degree {degree}.",
                    hint="Take more bits, or a smaller degree.",
                )
            taken += found
        return cls(degree, taken[messages], tuple(taken[:messages]), taken[messages + 1])

    @property
    def primes(self) -> tuple[int, ...]:
        """p_0, p_1, …, p_L': the L primes of the ciphertexts' modulus q."""
        return (self.noise_prime, *self.message_primes)

    @property
    def key_primes(self) -> tuple[int, ...]:
        """p_0, p_1, …, p_L', p_s: the L + 1 primes of the keys' modulus q'."""
        return (*self.primes, self.special_prime)

    @property
    def modulus_bits(self) -> int:
        """Bits of q', each prime counted whole: no fewer than those of the product."""
        return sum(prime.bit_length() for prime in self.key_primes)
