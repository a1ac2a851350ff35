"""A real sum released with integer noise: grid, sensitivity and event (protocols/dp/spec.md, 12)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
import torch

from fedpriv import dp
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["Grid"]

_LARGEST: Final = 1 << 58  # variance on the grid: the sampler goes to 2^60
_EXACT: Final = 1 << 52  # of a sum in grid units: doubles there are exact to half a step
_CHUNK: Final = 1 << 20  # coordinates that are noised at once


class Seal(Protocol):
    """A running digest."""

    def update(self, data: memoryview, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Grid:
    """The integers that a sum of clipped gradients is rounded to before noise is added.

    Attributes:
        clip: C, bound on the l2 norm of what one record adds to the sum.
        dimension: d, coordinates of the sum.
        fine: g; a step of the grid is 2^-g.
        sensitivity: S = ceil(C 2^g) + ceil(sqrt(d)), in steps.
        variance: of the noise of each coordinate, in squared steps: least integer of at least (z S)^2.
    """

    clip: float
    dimension: int
    fine: int
    sensitivity: int
    variance: int

    @classmethod
    def finest(cls, clip: float, noise_multiplier: float, dimension: int, records: int) -> Grid:
        """The finest grid with a variance of at most 2^58 on which doubles hold sums over ``records``.

        Raises:
            UsageError: a clip or a multiplier that is not positive and finite, or no coordinate.
            UnsafeParameters: there is no grid, or the rounding would cost more than a hundredth of the noise.

        >>> grid = Grid.finest(1.0, 1.0, dimension=100, records=1000)
        >>> grid.fine, grid.sensitivity, grid.variance == grid.sensitivity**2
        (28, 268435466, True)
        """
        if not (math.isfinite(clip) and clip > 0.0):
            raise UsageError(f"the clipping norm must be positive and finite, not {clip}")
        if not (math.isfinite(noise_multiplier) and noise_multiplier > 0.0):
            raise UsageError(f"the noise multiplier must be positive and finite, not {noise_multiplier}")
        if dimension < 1:
            raise UsageError("there is no trained parameter to release a gradient of")
        fine = math.floor(29.0 - math.log2(noise_multiplier) - math.log2(clip)) + 1
        while True:
            sensitivity = math.ceil(Fraction(clip) * Fraction(2) ** fine) + math.isqrt(dimension - 1) + 1
            exact = records * sensitivity < _EXACT
            if exact and dp.variance_for(noise_multiplier, sensitivity) <= _LARGEST:
                break
            fine -= 1
        if sensitivity < 100 * (math.isqrt(dimension - 1) + 1):
            raise UnsafeParameters(
                f"noise of {noise_multiplier:g} clips leaves too coarse a grid for {dimension} parameters",
                hint="use a smaller noise multiplier, or train fewer parameters",
            )
        return cls(clip, dimension, fine, sensitivity, dp.variance_for(noise_multiplier, sensitivity))

    def event(self, sampling_rate: float) -> dp.PoissonDiscreteGaussian:
        """What one release costs, each record being in the sum with probability ``sampling_rate``."""
        return dp.PoissonDiscreteGaussian(
            self.variance,
            shares=1,
            sensitivity=self.sensitivity,
            dimension=self.dimension,
            sampling_rate=sampling_rate,
        )

    def release(
        self, sums: dict[str, torch.Tensor], divisor: float, words: dp.Words, seal: Seal
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Round the sum, add noise, and divide: parameter by parameter in the order of their names.

        Args:
            sums: the sum by parameter, float64, any shapes; emptied, so that no second copy is held.
            divisor: the expected batch; public.
            words: the source of the noise.
            seal: is told the noisy integers, int64, little-endian.

        Yields:
            names, and float64 tensors of the same shapes on the CPU.
        """
        names = sorted(sums)
        while names:
            # Together, as noise for many small parameters takes its time call by call.
            size, group = 0, []
            while names and size < _CHUNK:
                group.append((names[0], sums.pop(names[0]).cpu()))
                size += group[-1][1].numel()
                del names[0]
            flat = torch.cat([total.reshape(-1) for _, total in group]).numpy()
            for start in range(0, size, _CHUNK):
                piece = flat[start : start + _CHUNK]
                noisy = np.rint(np.ldexp(piece, self.fine)).astype(np.int64)
                noisy += dp.discrete_gaussian(self.variance, noisy.size, words)
                seal.update(noisy.astype("<i8", copy=False).data)
                piece[:] = np.ldexp(noisy.astype(np.float64), -self.fine) / divisor
            parts = torch.split(torch.from_numpy(flat), [total.numel() for _, total in group])
            for (name, total), part in zip(group, parts, strict=True):
                yield name, part.reshape(total.shape)
