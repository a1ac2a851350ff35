"""Noise in components, so that what turns out not to be needed can be taken away again, integer by integer.

A client's share of the noise is the sum of independent Skellam components.  The first stays; each of the
others is drawn from a seed of its own, and whoever is given the seed draws the same integers (XNoise: Jiang,
Wang, Chen, "Efficient Federated Learning with Dropout-Resilient Differential Privacy", EuroSys 2024).
``protocols/dp/spec.md``, section 10, says what is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.dp.samplers import Words, skellam
from fedpriv.errors import UsageError

__all__ = ["noise_components"]


def noise_components(variances: Sequence[int], words: Sequence[Words], size: int) -> NDArray[np.int64]:
    """Draw each component from its own words, and add them up.

    The client draws all of ``NoisePlan.components``: the first from fresh entropy, component k from the
    secret of level k.  The server draws components 1 to ``level`` of a survivor from the secrets that were
    revealed, and subtracts them: equal words, variance and size give equal integers.

    Args:
        variances: of each component, squared grid units; 0 to 2^60.
        words: of each component a source of uniform 64-bit words, from its beginning; used for nothing else.
        size: number of coordinates.

    Returns:
        int64, shape (size,): a Skellam sample of variance ``sum(variances)`` in each coordinate.

    Raises:
        UsageError: not as many sources as variances, or a variance or size out of range.

    >>> def source(seed):
    ...     generator = np.random.PCG64(seed)  # a test generator; guarantees need a cryptographic one
    ...     return lambda n: generator.random_raw(n)
    >>> share = noise_components([100, 20, 5], [source(1), source(2), source(3)], 4)
    >>> kept = share - noise_components([20, 5], [source(2), source(3)], 4)
    >>> bool((kept == noise_components([100], [source(1)], 4)).all())
    True
    """
    if len(variances) != len(words):
        raise UsageError(f"{len(variances)} components of noise were given {len(words)} sources of words")
    if size < 0:
        raise UsageError(f"cannot draw {size} samples")
    total = np.zeros(size, dtype=np.int64)
    for variance, source in zip(variances, words, strict=True):
        total += skellam(variance, size, source)
    return total
