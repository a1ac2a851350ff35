"""The exact sum of integer vectors in one call, for trying the protocol and for testing against it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto.digest import digest
from fedpriv.crypto.signing import SigningKey
from fedpriv.encoding.packing import MAX_BITS
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.secagg.client import Client
from fedpriv.secagg.in_process import run_in_process
from fedpriv.secagg.params import MIN_CLIENTS, SecAggParams
from fedpriv.secagg.server import Server
from fedpriv.secagg.vectors import UPDATE, Vector

__all__ = ["secure_sum"]


def secure_sum(
    vectors: Sequence[NDArray[np.integer[Any]]],
    *,
    min_survivors: int | None = None,
    bits: int = MAX_BITS,
    rand: Callable[[int], bytes] = os.urandom,
) -> NDArray[np.int64]:
    """Sum integer vectors through the whole protocol, exactly.

    All parties run in this one process, with identities made here and thrown away: it shows that the protocol
    computes the plain sum and what it costs, and it protects nobody from anybody.  For parties that do not
    trust each other, run `Client` with each of them and `Server` elsewhere.

    Args:
        vectors: at least 3 arrays of one shape and of integer dtype, signed or not; one a client.
        min_survivors: m, the fewest vectors that may be summed; the least safe number if it is not given.
        bits: sums are exact while they lie in -2**(bits-1) .. 2**(bits-1) - 1; at most 62.
        rand: source of entropy.

    Returns:
        The sum, of the shape of the vectors, dtype int64.

    Raises:
        UnsafeParameters: fewer than 3 vectors, or ``min_survivors`` that is too high.
        UsageError: shapes that differ, dtypes that are not integer, or a sum that could overflow.

    >>> secure_sum([np.array([1, -2]), np.array([10, 20]), np.array([-100, 200])]).tolist()
    [-89, 218]
    """
    arrays = [np.asarray(vector) for vector in vectors]
    if len(arrays) < MIN_CLIENTS:
        raise UnsafeParameters(
            f"{len(arrays)} vectors are too few to protect anybody: with two, each party learns the other's.",
            hint=f"Give at least {MIN_CLIENTS}. [SA-9]",
        )
    _check_arrays(arrays, bits)
    count, shape = len(arrays), arrays[0].shape
    params = SecAggParams.for_cohort(
        count, vectors=[Vector(UPDATE, bits, arrays[0].size)], min_survivors=min_survivors
    )
    run_id, context = rand(16), digest("fedpriv secure_sum", repr(shape).encode())
    identities = {client: SigningKey.from_seed(rand(32)) for client in range(1, count + 1)}
    roster = {client: identity.public for client, identity in identities.items()}
    server = Server(params, run_id, roster)
    server.open_round(0, context)
    clients = {}
    modulus_mask = np.uint64((1 << bits) - 1)
    for client, (identity, array) in enumerate(zip(identities.values(), arrays, strict=True), start=1):
        clients[client] = Client(params, run_id, client, identity, roster, rand)
        clients[client].open_round(0, context)
        # Two's complement: the low bits of a negative number are its residue modulo 2**bits.
        clients[client].set_vectors(array.reshape(-1).astype(np.int64).view(np.uint64) & modulus_mask)
    total = run_in_process(server, clients).vectors[UPDATE]
    # Shift the sign bit to the top and back: the arithmetic shift fills in the sign.
    spare = 64 - bits
    return ((total << np.uint64(spare)).view(np.int64) >> np.int64(spare)).reshape(shape)


def _check_arrays(arrays: list[NDArray[Any]], bits: int) -> None:
    if not 1 <= bits <= MAX_BITS:
        raise UsageError(f"A modulus has 1 to {MAX_BITS} bits, not {bits}.")
    if len({array.shape for array in arrays}) != 1:
        raise UsageError("The vectors of a secure sum have one shape.")
    if arrays[0].size == 0:
        raise UsageError("There is nothing to sum in empty vectors.")
    for array in arrays:
        if array.dtype.kind == "f":
            raise UsageError(
                "A secure sum takes integers; floating-point sums are not exact and their masks not uniform.",
                hint="Encode first: fedpriv.encoding.FixedPoint, or round(x * 2**k) to int64.",
            )
        if array.dtype.kind not in "iu":
            raise UsageError(f"A secure sum takes integers, not {array.dtype}.")
    # In Python integers, so that the check itself cannot overflow.
    least, most = (sum(int(bound) for bound in bounds) for bounds in zip(*map(_bounds, arrays), strict=True))
    half = 1 << (bits - 1)
    if least < -half or most >= half:
        raise UsageError(
            f"The sum can leave the range of {bits} bits, and would wrap without notice.",
            hint=f"Use more bits (at most {MAX_BITS}) or smaller values. [SA-8]",
        )


def _bounds(array: NDArray[Any]) -> tuple[int, int]:
    """The smallest and the largest value, each widened to take in zero."""
    return min(int(array.min()), 0), max(int(array.max()), 0)
