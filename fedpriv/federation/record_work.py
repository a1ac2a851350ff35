"""A client's work in a round whose unit is a record: sample, clip record by record, quantise, add."""

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

__all__ = ["RECORD_SHARE", "RecordWork"]

RECORD_SHARE = 1.0 - 2.0**-10
"""The part of the clip that a record's own gradient may use (protocols/dp/spec.md, 2.5).

The rest is for what floating-point arithmetic does to the others: a record that joins a micro-batch changes
how it is padded, and so moves their gradients in the last places."""


@dataclass(slots=True)
class RecordWork:
    """One step a round: the sum of the sampled records' clipped gradients, at the model of the round."""

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
        """Whether the contribution carries its noise already; here the round adds it."""
        return False

    def contribution(self, round_: int, client: int, parameters: NDArray[np.float32]) -> NDArray[np.int64]:
        """The clamped integer sum of one client's sampled records, shape ``(dimension,)``."""
        grid, noise = self.plan.grid, self.plan.noise
        shard = self.work.dataset.shards[client - 1]
        sampling = self.entropy.stream("sampling", round_, client).words
        sampled = shard[dp.poisson_sample(shard.size, noise.sampling_rate, sampling)]
        total = np.zeros(noise.dimension, dtype=np.int64)
        for rows in self.gradients.clipped(self.work.train, sampled):
            total += grid.quantise(rows)
        return grid.clamp(total)

    def read(self, noisy: Noisy, survivors: int) -> NDArray[np.float64]:
        """The gradient that a noisy sum stands for: model units, over the expected batch."""
        return self.plan.in_model_units(noisy) / self.plan.expected_batch

    def state_dict(self) -> dict[str, Any]:
        """Nothing is kept from round to round."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing was kept."""
