"""The noise that hides the noise of encryption in a committee's answers.

A raw decryption of an encrypted sum gives the secret key away (Li, Micciancio, EUROCRYPT 2021), so what t
holders open together contains a second noise F, wider by 2^s (Li, Micciancio, Schultz, Sorrell, CRYPTO 2022).
It comes from the secrets of the subsets, as the key does: F = Σ F_A, and holder j adds Σ g_A(j) F_A.  A
holder's answer is therefore a function of what it multiplies alone.  Were the noise drawn anew for each
answer, or the same for two ciphertexts, two answers would give the holder's share away.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.committee import weighted
from fedpriv.ckks.ring_params import RingParams
from fedpriv.crypto import Keystream, digest
from fedpriv.dp.samplers import discrete_gaussian
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["MAX_VARIANCE", "flood", "gauss", "subset_flood"]

MAX_VARIANCE: Final = 1 << 108  # a draw stays below 13.6 · 2^54 < 2^58
_DIRECT: Final = 1 << 18  # what an integer table holds: all members of a subset draw the same
_SMOOTH: Final = 9  # 3 · 2^h deviates enough over steps of 2^h: the smoothing error is below 2^-250

_U64 = struct.Struct(">Q")


def gauss(seed: bytes, variance: int, count: int) -> NDArray[np.int64]:
    """``count`` draws of the discrete Gaussian N_Z(0, variance), a function of the seed.

    A variance above 2^18 is reached by 2^h G + G' with G' wide enough to hide the steps of 2^h (Peikert,
    CRYPTO 2010, Theorem 3.1), within 2^-109 a draw of a discrete Gaussian of at least that variance.

    Args:
        seed: 32 bytes that serve for these draws only.
        variance: 1 to 2^108.
        count: number of draws.

    Returns:
        int64, shape (count,).

    Raises:
        UsageError: a variance out of range, or a seed of another length.

    >>> draws = gauss(bytes(32), 2**100, 4096)
    >>> 0.9 < float(draws.std()) / 2**50 < 1.1
    True
    """
    if not 1 <= variance <= MAX_VARIANCE:
        raise UsageError("The variance of flooding noise is 1 to 2^108.")
    return _draw(Keystream(seed), variance, count)


def subset_flood(
    secret: bytes, count: int, *, round_: int, second: bytes, chunk: int, variance: int
) -> NDArray[np.int64]:
    """F_A: what the subset with this secret adds to one chunk of one sum.

    Args:
        secret: k_A.
        count: N.
        round_: the round's number.
        second: H(D second, Pack(c_1)) of the chunk that is multiplied, 32 bytes.
        chunk: the chunk's index, from 0.
        variance: σ_f².

    Returns:
        int64, shape (count,).

    Raises:
        UnsafeParameters: a variance of 0: the answer would give the share away.
    """
    if variance < 1:
        raise UnsafeParameters(
            "A committee's answer without flooding noise gives its key away.",
            hint="Take the variance that CkksParams.for_sum finds.",
        )
    seed = digest("fedpriv ckks v1 flood", secret, _U64.pack(round_), second, _U64.pack(chunk))
    return gauss(seed, variance, count)


def flood(
    ring: RingParams,
    holders: Sequence[int],
    holder: int,
    secrets: Mapping[tuple[int, ...], bytes],
    *,
    round_: int,
    second: bytes,
    chunk: int,
    variance: int,
) -> NDArray[np.uint64]:
    """F^(j) = Σ g_A(j) F_A over the subsets A that holder j is in: what it adds to its answer for a chunk.

    Args:
        ring: degree and primes.
        holders: all holders, ascending.
        holder: j.
        secrets: by subset A its k_A, for each A that j is in.
        round_: the round's number.
        second: H(D second, Pack(c_1)), 32 bytes.
        chunk: the chunk's index, from 0.
        variance: σ_f².

    Returns:
        uint64, shape (L, N), each row below its prime.

    Raises:
        UnsafeParameters: a variance of 0.
        UsageError: no secret, or that of a subset without the holder.
    """
    if not secrets or any(holder not in subset for subset in secrets):
        raise UsageError(f"Holder {holder} floods with the secrets of the subsets that it is in.")
    draws = {
        subset: subset_flood(
            secret, ring.degree, round_=round_, second=second, chunk=chunk, variance=variance
        )
        for subset, secret in secrets.items()
    }
    return weighted(ring, holders, holder, draws)


def _draw(stream: Keystream, variance: int, count: int) -> NDArray[np.int64]:
    if variance <= _DIRECT:
        return discrete_gaussian(variance, count, stream.words)
    steps = 1
    while variance > _DIRECT << 2 * steps:
        steps += 1
    fine = _SMOOTH << 2 * steps
    coarse = -((fine - variance) >> 2 * steps)  # (variance - fine) / 4^h, rounded up
    high = _draw(stream, coarse, count)
    return (high << steps) + _draw(stream, fine, count)
