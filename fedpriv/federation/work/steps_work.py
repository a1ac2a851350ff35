"""A client's work where it takes several noisy steps by itself: local DP-SGD, each noise enough alone.

Every step is a sum of clipped gradients in integers with Skellam noise, and the client moves its own copy of
the model by it.  What it sends is the sum of these noisy integers: how far it moved, on the same exact grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.federation.planning.plan import Noisy
from fedpriv.federation.work.record_work import RecordWork

__all__ = ["StepsWork"]


@dataclass(slots=True)
class StepsWork(RecordWork):
    """K steps a round, each on a fresh Poisson sample, at a model that its own noisy steps moved."""

    @property
    def noisy(self) -> bool:
        """Whether the contribution carries its noise already: it must, as each step is used by the next."""
        return True

    def contribution(self, round_: int, client: int, parameters: NDArray[np.float32]) -> NDArray[np.int64]:
        """The sum of one client's noisy steps, int64, shape ``(dimension,)``."""
        plan, grid, noise = self.plan, self.plan.grid, self.plan.noise
        steps = plan.local_steps or 1
        batch = plan.expected_batch / noise.clients  # public; the same for every client
        rate = self.work.config.local.learning_rate / batch
        total = np.zeros(noise.dimension, dtype=np.int64)
        within, own = self._coordinates.of_client(round_, client, parameters)
        here = own.astype(np.float64)
        for step in range(1, steps + 1):
            self.work.manifest.restore(self.work.model, here.astype(np.float32))
            sampling = self.entropy.stream("sampling", round_, client, step)
            one = self._sampled_sum(round_, client, within, sampling)
            bound = grid.client_bound // steps  # so that the sum of all steps stays within the grid's bound
            one = np.clip(one, -bound, bound)
            words = self.entropy.stream("noise", round_, client, step).words
            one += dp.skellam(noise.share_variance, noise.dimension, words)
            total += one
            here -= rate * within.spread(grid.decode(one))
        return total

    def read(self, noisy: Noisy, survivors: int) -> NDArray[np.float64]:
        """The step *down* which the clients moved: minus their mean movement, in model units."""
        rate = self.work.config.local.learning_rate
        return self.plan.in_model_units(noisy) * (rate / self.plan.expected_batch)
