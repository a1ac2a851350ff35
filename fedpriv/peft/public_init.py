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

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

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
