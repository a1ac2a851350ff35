"""Noise shares in components, and the surplus that is taken off a sum (protocols/dp/spec.md, section 10)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.crypto import Keystream, digest
from fedpriv.secagg import Sum
from fedpriv.secagg.levels import level_chain

__all__ = ["noise_share", "surplus"]

_DOMAIN = "fedpriv noise component v1"


def noise_share(noise: dp.NoisePlan, secrets: Sequence[bytes], words: dp.Words) -> NDArray[np.int64]:
    """Draw one client's share of the noise, int64, shape ``(dimension,)``, in grid units.

    Args:
        noise: the plan.
        secrets: the client's level secrets of the round, s_1, ..., s_L: of these component k is drawn.
        words: fresh entropy, for the component that always stays.
    """
    sources = [words, *(_words(level, secret) for level, secret in enumerate(secrets, start=1))]
    return dp.noise_components(noise.components, sources, noise.dimension)


def surplus(noise: dp.NoisePlan, round_: int, total: Sum) -> NDArray[np.int64]:
    """Draw again what the survivors do not need, of those whose level secret came out; to be subtracted.

    Args:
        noise: the plan.
        round_: of the sum.
        total: what secure aggregation gave.

    Returns:
        int64, shape ``(dimension,)``: zero where no level was reached.
    """
    found = np.zeros(noise.dimension, dtype=np.int64)
    variances = noise.components[1 : total.level + 1]
    for client, secret in total.level_secrets.items():
        chain = level_chain(round_, client, secret, total.level)[1:]
        sources = [_words(level, below) for level, below in enumerate(chain, start=1)]
        found += dp.noise_components(variances, sources, noise.dimension)
    return found


def _words(level: int, secret: bytes) -> dp.Words:
    """The words of one client's component of one round (spec 10.2)."""
    return Keystream(digest(_DOMAIN, level.to_bytes(4, "big"), secret)).words
