"""A client's work where it takes several noisy steps by itself: local DP-SGD, each noise enough alone.

Every step is a sum of clipped gradients in integers with Skellam noise, and the client moves its own copy of
the model by it.  What it sends is the sum of these noisy integers: how far it moved, on the same exact grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.federation.entropy import Entropy
from fedpriv.federation.plan import Noisy, Plan
from fedpriv.federation.workplace import Workplace

if TYPE_CHECKING:
    from fedpriv.training import RecordGradients

__all__ = ["StepsWork"]


@dataclass(slots=True)
class StepsWork:
    """K steps a round, each on a fresh Poisson sample, at a model that its own noisy steps moved."""

    work: Workplace
    plan: Plan
    entropy: Entropy
    gradients: RecordGradients

    @property
    def clip(self) -> float:
        """The clipping norm, the same in every round."""
        return self.plan.grid.clip

    @property
    def noisy(self) -> bool:
        """Whether the contribution carries its noise already: it must, as each step is used by the next."""
        return True

    def contribution(self, round_: int, client: int, parameters: NDArray[np.float32]) -> NDArray[np.int64]:
        """The sum of one client's noisy steps, int64, shape ``(dimension,)``."""
        plan, grid, noise = self.plan, self.plan.grid, self.plan.noise
        steps, shard = plan.local_steps or 1, self.work.dataset.shards[client - 1]
        batch = plan.expected_batch / noise.clients  # public; the same for every client
        rate = self.work.config.local.learning_rate / batch
        total = np.zeros(noise.dimension, dtype=np.int64)
        here = parameters.astype(np.float64)
        for step in range(1, steps + 1):
            self.work.manifest.restore(self.work.model, here.astype(np.float32))
            sampling = self.entropy.stream("sampling", round_, client, step).words
            sampled = shard[dp.poisson_sample(shard.size, noise.sampling_rate, sampling)]
            one = np.zeros(noise.dimension, dtype=np.int64)
            for rows in self.gradients.clipped(self.work.train, sampled):
                one += grid.quantise(rows)
            bound = grid.client_bound // steps  # so that the sum of all steps stays within the grid's bound
            one = np.clip(one, -bound, bound)
            words = self.entropy.stream("noise", round_, client, step).words
            one += dp.skellam(noise.share_variance, noise.dimension, words)
            total += one
            here -= rate * grid.decode(one)
        return total

    def read(self, noisy: Noisy, survivors: int) -> NDArray[np.float64]:
        """The step *down* which the clients moved: minus their mean movement, in model units."""
        rate = self.work.config.local.learning_rate
        return self.plan.in_model_units(noisy) * (rate / self.plan.expected_batch)

    def state_dict(self) -> dict[str, Any]:
        """Nothing is kept from round to round: a client starts each from the shared model."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing was kept."""
