"""The key of a committee: what each subset's secret gives, and a holder's share of the whole.

From the 32 bytes k_A that the members of a subset have in common come its part s_A of the secret key, its
part b_A of the public one, and its noise in every opening.  Nothing here draws randomness: fresh bytes are
dealt by the holders, and everything else is a function of them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks import modular
from fedpriv.ckks.committee import weighted
from fedpriv.ckks.flooding import gauss
from fedpriv.ckks.ring_params import RingParams
from fedpriv.ckks.security import ERROR_VARIANCE
from fedpriv.ckks.wire import pack_rows
from fedpriv.crypto import Keystream, digest, frame
from fedpriv.errors import UsageError

if TYPE_CHECKING:
    from fedpriv.ckks.ring import Factor, Ring

__all__ = [
    "Share",
    "common",
    "key_name",
    "part",
    "public_key",
    "renewed_secret",
    "secret_polynomial",
    "share_of",
    "subset_secret",
    "ternary",
    "uniform",
]

CONTRIBUTION_BYTES: Final = 32

_DOMAIN: Final = "fedpriv ckks v1"
_U32, _U64 = struct.Struct(">I"), struct.Struct(">Q")


def ternary(seed: bytes, count: int) -> NDArray[np.int64]:
    """``count`` uniform values of -1, 0 and 1, a function of a 32-byte seed.

    >>> ternary(bytes(32), 8).tolist()
    [0, 1, -1, -1, -1, 0, 1, 1]
    """
    stream = Keystream(seed)
    kept = np.empty(0, dtype=np.uint8)
    while kept.size < count:
        read = np.frombuffer(stream.read(count - kept.size + 64), dtype=np.uint8)
        kept = np.concatenate([kept, read[read != 255]])  # 255 = 3 · 85: the rest is uniform modulo 3
    return (kept[:count] % 3).astype(np.int64) - 1


def uniform(seed: bytes, primes: Sequence[int], count: int) -> NDArray[np.uint64]:
    """Uniform residues modulo each prime, by SHAKE128 from a public seed; values from p on are left out.

    Returns:
        uint64, shape (len(primes), count).
    """
    rows = np.empty((len(primes), count), dtype=np.uint64)
    for row, prime in zip(rows, primes, strict=True):
        source = hashlib.shake_128(frame(f"{_DOMAIN} uniform".encode(), seed, _U64.pack(prime)))
        mask = np.uint64((1 << prime.bit_length()) - 1)
        # A residue is kept with a chance of p / 2^bits, at least 1/2; longer outputs begin as shorter ones.
        wanted = (count << prime.bit_length()) // prime + 64
        while True:
            words = np.frombuffer(source.digest(8 * wanted), dtype="<u8") & mask
            kept = words[words < prime]
            if kept.size >= count:
                break
            wanted *= 2
        row[:] = kept[:count]
    return rows


def common(session: bytes, number: int, ring: RingParams) -> NDArray[np.uint64]:
    """a: the half of the public key that nobody chooses, a function of the run and the key's number κ.

    Returns:
        uint64, shape (L + 1, N), modulo the primes of q'.
    """
    seed = digest(f"{_DOMAIN} common", session, _U64.pack(number))
    return uniform(seed, ring.key_primes, ring.degree)


def subset_secret(
    session: bytes, number: int, subset: Sequence[int], contributions: Mapping[int, bytes]
) -> bytes:
    """k_A, 32 bytes: what the members of A that dealt have put together; secret while one of them is honest.

    Args:
        session: 32 bytes.
        number: the key's number κ.
        subset: A, ascending.
        contributions: by holder i in A ∩ U its κ_{A,i}, 32 bytes.

    Raises:
        UsageError: no contribution, one of a holder outside A, or one of another length.
    """
    if not contributions or not set(contributions) <= set(subset):
        raise UsageError("A subset's secret is made of what its own members dealt, at least one of them.")
    if any(len(dealt) != CONTRIBUTION_BYTES for dealt in contributions.values()):
        raise UsageError(f"A contribution to a subset's secret is {CONTRIBUTION_BYTES} bytes.")
    return digest(
        f"{_DOMAIN} subset",
        session,
        _U64.pack(number),
        _numbers(subset),
        *(_U32.pack(holder) + contributions[holder] for holder in sorted(contributions)),
    )


def renewed_secret(secret: bytes, number: int) -> bytes:
    """The secret of a subset after commitments were seen that no key came of: a new one for key number κ."""
    return digest(f"{_DOMAIN} again", secret, _U64.pack(number))


def secret_polynomial(secret: bytes, degree: int) -> NDArray[np.int64]:
    """s_A: a subset's part of the secret key; int64, shape (N,), of -1, 0 and 1."""
    return ternary(digest(f"{_DOMAIN} secret", secret), degree)


def part(ring: Ring, a: NDArray[np.uint64], secret: bytes) -> NDArray[np.uint64]:
    """b_A = -(a s_A + e_A) modulo q': a subset's part of the public key.

    Args:
        ring: arithmetic.
        a: `common`, shape (L + 1, N).
        secret: k_A.

    Returns:
        uint64, shape (L + 1, N).
    """
    degree = ring.params.degree
    error = gauss(digest(f"{_DOMAIN} error", secret), ERROR_VARIANCE, degree)
    return ring.public_part(a, secret_polynomial(secret, degree), error)


def public_key(parts: Sequence[NDArray[np.uint64]], ring: RingParams) -> NDArray[np.uint64]:
    """b: the sum of the parts modulo q'; uint64, shape (L + 1, N)."""
    total = np.zeros((len(ring.key_primes), ring.degree), dtype=np.uint64)
    for one in parts:
        total = modular.add(total, one, ring.key_primes)
    return total


def key_name(
    session: bytes, number: int, present: Sequence[int], b: NDArray[np.uint64], ring: RingParams
) -> bytes:
    """K, 32 bytes: names the key (b, a) of the holders U ``present``, ascending."""
    packed = pack_rows(b, ring.key_primes)
    return digest(f"{_DOMAIN} key", session, _U64.pack(number), _numbers(present), packed)


@dataclass(frozen=True, slots=True)
class Share:
    """S_j, one holder's share of the secret key; the key itself where the threshold is 1.

    Whatever comes out of `times` gives the key away once it is known beside the ciphertext.  It stays with
    the holder (threshold 1), or leaves it as `partial`, under noise.
    """

    ring: Ring = field(repr=False)
    factor: Factor = field(repr=False)

    def times(self, second: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """c_1 S_j modulo q for the second half of a ciphertext; uint64, shape (L, N) in and out."""
        product: NDArray[np.uint64] = self.ring.times(second[np.newaxis], self.factor)[0]
        return product

    def partial(self, second: NDArray[np.uint64], flood: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """d_j = c_1 S_j + F^(j): a holder's answer for one chunk; uint64, shape (L, N) in and out."""
        return modular.add(self.times(second), flood, self.ring.params.primes)


def share_of(
    ring: Ring, holders: Sequence[int], holder: int, secrets: Mapping[tuple[int, ...], bytes]
) -> Share:
    """Holder j's share Σ g_A(j) s_A of the key, over the subsets A that it is in.

    Args:
        ring: arithmetic; the share works with this one only.
        holders: all holders, ascending.
        holder: j.
        secrets: by subset A its k_A, for each A that j is in.

    Raises:
        UsageError: no secret, or that of a subset without the holder.
    """
    if not secrets or any(holder not in subset for subset in secrets):
        raise UsageError(f"Holder {holder} has the secrets of the subsets that it is in, and no others.")
    degree = ring.params.degree
    polynomials = {subset: secret_polynomial(secret, degree) for subset, secret in secrets.items()}
    return Share(ring, ring.factor(weighted(ring.params, holders, holder, polynomials)))


def _numbers(holders: Sequence[int]) -> bytes:
    return b"".join(map(_U32.pack, holders))
