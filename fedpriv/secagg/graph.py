"""Who shares masks and secrets with whom in a large cohort: a ring in random order, joined to the nearest.

The Harary graph with a random permutation of Bell et al. 2020 (CCS, section 3).  Every member computes its
own neighbours from the seed, so nobody has to be believed.  protocols/secagg/graph.md section 1 specifies it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto.prg import KEY_BYTES, Keystream
from fedpriv.errors import UsageError

__all__ = ["ring_neighbours"]

SEED_BYTES = KEY_BYTES


def ring_neighbours(seed: bytes, members: int, degree: int, rank: int) -> tuple[int, ...]:
    """Return the neighbours of one member in the k-regular graph of a seed.

    The graph is symmetric, and nobody is its own neighbour.  The order of the ring is kept for the last few
    seeds, so the first call for a seed sorts the cohort and the next ones take microseconds.

    Args:
        seed: 32 bytes that all members agree on and that none of them could choose.
        members: m, how many there are.
        degree: k, how many neighbours each has; even, 2 to m - 1.
        rank: the member in question, 0 to m - 1 in the order of identifiers.

    Returns:
        k ranks, ascending.

    Raises:
        UsageError: an argument out of range.

    Source: Bell, Bonawitz, Gascón, Lepoint, Raykova, Secure Single-Server Aggregation with (Poly)Logarithmic
    Overhead, CCS 2020, section 3.

    >>> ring_neighbours(bytes(32), members=10, degree=4, rank=0)
    (1, 3, 7, 8)
    >>> 0 in ring_neighbours(bytes(32), members=10, degree=4, rank=7)
    True
    """
    if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
        raise UsageError(f"The seed of a graph is {SEED_BYTES} bytes.")
    if degree % 2 or not 2 <= degree < members:
        raise UsageError(
            f"A ring of {members} members has no graph of degree {degree}.",
            hint="The degree is even, at least 2 and less than the number of members.",
        )
    if not 0 <= rank < members:
        raise UsageError(f"Rank {rank} does not lie in 0..{members - 1}.")
    order, position = _ring(seed, members)
    nearest = np.arange(-degree // 2, degree // 2 + 1) + position[rank]
    found = order.take(nearest, mode="wrap")
    found.sort()
    return tuple(other for other in found.tolist() if other != rank)


@lru_cache(maxsize=4)
def _ring(seed: bytes, members: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Ranks in the order of the ring, and the position of each rank; both read-only."""
    order = np.argsort(Keystream(seed).words(members), kind="stable")
    position = np.empty_like(order)
    position[order] = np.arange(members)
    order.setflags(write=False)
    position.setflags(write=False)
    return order, position
