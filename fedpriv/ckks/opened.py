"""What a decryption holds: noise in the first residue, the sums in the others (spec, sections 3, 4, 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.modular import centred, residues, subtract
from fedpriv.ckks.params import CkksParams
from fedpriv.encoding.packing import pack, packed_size, unpack
from fedpriv.errors import DecodeError, ProtocolViolation

__all__ = ["pack_sums", "packed_sums_size", "read_sums", "unpack_sums"]


def read_sums(params: CkksParams, decrypted: NDArray[np.uint64], chunk: int) -> NDArray[np.int64]:
    """The sums of values that one chunk of a decryption holds.

    Args:
        params: of the run.
        decrypted: x = c_0 + s c_1, or with flooding; uint64, shape (L, used coefficients), residues modulo q.
        chunk: which chunk, from 0.

    Returns:
        int64, shape (values in it,).

    Raises:
        ProtocolViolation: CK-4, the noise of a coefficient is beyond the limit, or a residue is no sum.
    """
    noise = centred(decrypted[0], params.ring.noise_prime)
    if max(int(noise.max()), -int(noise.min())) > params.noise_limit:
        raise ProtocolViolation(
            "What was decrypted is not a sum of encryptions under this key: an upload or a holder's answer "
            "is false.",
            clause="CK-4",
        )
    primes = params.ring.message_primes
    words = subtract(decrypted[1:], residues(noise, primes), primes)
    return params.layout.read(words, params.layout.values_in(chunk))


def pack_sums(params: CkksParams, sums: NDArray[np.int64]) -> bytes:
    """Sums of values as bytes: value + n M in ⌈log2 B⌉ bits each."""
    half = params.clients * params.bound
    return pack((sums + half).astype(np.uint64), _bits(params))


def packed_sums_size(params: CkksParams, chunk: int) -> int:
    """Bytes of the sums of one chunk."""
    return packed_size(_bits(params), params.layout.values_in(chunk))


def unpack_sums(params: CkksParams, data: bytes, chunk: int) -> NDArray[np.int64]:
    """The sums that were packed.

    Raises:
        DecodeError: another length, padding, or a sum beyond n M.
    """
    half = params.clients * params.bound
    values = unpack(data, _bits(params), params.layout.values_in(chunk))
    if int(values.max()) > 2 * half:
        raise DecodeError(f"A sum is beyond {half}.")
    return values.astype(np.int64) - half


def _bits(params: CkksParams) -> int:
    return (2 * params.clients * params.bound).bit_length()
