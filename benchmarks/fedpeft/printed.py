"""The epsilon that is often printed, beside the one that an accountant gives for the same noise.

What public code of the field does under the name of DP: the gradient of a batch, not of a record, is clipped
to C tensor by tensor, Gaussian noise of deviation sigma C is added to each once a step, and epsilon is read
off the classical Gaussian mechanism for one release, ``epsilon = sqrt(2 ln(1.25 / delta)) / sigma`` (Dwork
and Roth 2014, theorem A.1), whatever the number of steps.
"""

from __future__ import annotations

import math

from fedpriv import dp
from fedpriv.errors import UnsafeParameters


def printed(noise_multiplier: float, delta: float) -> float:
    """What is printed for noise of this multiplier: one release, nothing composed.

    >>> round(printed(2.0, 1e-5), 2)
    2.42
    """
    return math.sqrt(2.0 * math.log(1.25 / delta)) / noise_multiplier


def honest(
    noise_multiplier: float, delta: float, *, sampling_rate: float, rounds: int, tensors: int
) -> float:
    """The epsilon of that code at this noise: by PLD, for Poisson batches, over all steps.

    One record turns a tensor's clipped batch gradient around at worst: it moves each of ``tensors`` by 2 C,
    all together by ``2 C sqrt(tensors)``.  Infinite where the accountant finds no bound.
    """
    effective = noise_multiplier / (2.0 * math.sqrt(tensors))
    try:
        return dp.epsilon_for(effective, sampling_rate, rounds, delta)
    except (UnsafeParameters, OverflowError):
        return math.inf
