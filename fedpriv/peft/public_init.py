"""Initial weights that every party derives from a public seed, bit for bit.

Clients that start from different weights would send gradients at different points, and under FFA-LoRA a
different frozen ``A`` on each client would make the sum meaningless.  A library's own generator is no basis
for that: its stream may change with the version, the processor or the order of the calls.  Here each tensor
is a function of the seed, its name and its shape alone, through SHAKE-256 (``protocols/peft/artifact.md``,
section 3).
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

if TYPE_CHECKING:
    import torch

_DOMAIN = b"fedpriv/peft/init/1"


def uniform(seed: int, name: str, shape: tuple[int, ...], bound: float) -> NDArray[np.float32]:
    """Uniform float32 values in (-bound, bound) that depend on the arguments only.

    Each value is ``bound * (2 w + 1 - 2**24) / 2**24`` for 24 bits ``w`` of SHAKE-256 over the domain, the
    seed (8 bytes, little-endian) and the UTF-8 name: exact in float64, rounded once.

    >>> uniform(7, "encoder.layer.0.query", (2, 2), 1.0).tolist() == uniform(
    ...     7, "encoder.layer.0.query", (2, 2), 1.0).tolist()
    True
    >>> bool(abs(uniform(7, "a", (1000,), 0.5)).max() < 0.5)
    True

    Raises ``UsageError`` where the seed does not fit 64 bits or the bound is not positive and finite.
    """
    if not 0 <= seed < 2**64:
        raise UsageError(f"the public seed must be between 0 and 2**64 - 1, not {seed}")
    if not (math.isfinite(bound) and bound > 0):
        raise UsageError(f"the bound of an initial weight must be positive, not {bound}")
    count = math.prod(shape)
    stream = hashlib.shake_256(_DOMAIN + seed.to_bytes(8, "little") + name.encode()).digest(4 * count)
    bits = np.frombuffer(stream, dtype="<u4") >> np.uint32(8)
    values = bound * ((2.0 * bits + 1.0 - 2.0**24) / 2.0**24)
    return values.reshape(shape).astype(np.float32)


def start_uniform(parameter: torch.Tensor, seed: int, name: str, bound: float) -> None:
    """Write :func:`uniform` values into a parameter, whatever its dtype."""
    import torch

    parameter.data.copy_(torch.from_numpy(uniform(seed, name, tuple(parameter.shape), bound)))


def orthonormal(seed: int, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Rows of :func:`uniform` values, made orthonormal one after the other; shape ``(r, d)``, r at most d.

    Gram and Schmidt's way in float64, each row twice, so that rounding leaves nothing; sums run from left to
    right, because a library's matrix product adds in an order of its own, and the last places of the result
    would differ between machines.

    >>> q = orthonormal(7, "encoder.layer.0.query.A", (3, 8)).astype(float)
    >>> bool(abs(q @ q.T - np.eye(3)).max() < 1e-7)
    True

    Raises ``UsageError`` where there are more rows than a row is long, or the seed does not fit 64 bits.
    """
    rank, width = shape
    if rank > width:
        raise UsageError(
            f"a rank of {rank} is larger than the side of a weight, {width}", hint="choose a smaller rank"
        )
    rows = uniform(seed, name, shape, 1.0).astype(np.float64)
    for index in range(rank):
        for _ in range(2):
            for earlier in rows[:index]:
                rows[index] -= _dot(rows[index], earlier) * earlier
            rows[index] /= math.sqrt(_dot(rows[index], rows[index]))
    return rows.astype(np.float32)


def _dot(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """The inner product, added from left to right."""
    return float(np.cumsum(left * right)[-1])
