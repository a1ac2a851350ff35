"""A client's work in a round whose unit is a record: sample, clip record by record, quantise, add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.crypto import Keystream
from fedpriv.entropy import Entropy
from fedpriv.federation.planning.plan import Noisy, Plan
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.rotation import RoundRotation
from fedpriv.federation.workplace import Workplace
from fedpriv.peft import Coordinates

if TYPE_CHECKING:
    from fedpriv.training import ClippedRecords

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
    gradients: ClippedRecords
    _coordinates: RoundCoordinates = field(init=False)
    _rotation: RoundRotation = field(init=False)

    def __post_init__(self) -> None:
        self._coordinates = RoundCoordinates.of(self.work, self.plan)
        self._rotation = RoundRotation.of(self.plan)

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
        within, own = self._coordinates.of_client(round_, client, parameters)
        if own is not parameters:
            self.work.manifest.restore(self.work.model, own)
        sampling = self.entropy.stream("sampling", round_, client)
        return self.plan.grid.clamp(self._sampled_sum(round_, client, within, sampling))

    def _sampled_sum(
        self, round_: int, client: int, within: Coordinates, sampling: Keystream
    ) -> NDArray[np.int64]:
        """The integer sum of the clipped gradients of a Poisson sample of one client's records."""
        shard = self.work.dataset.shards[client - 1]
        sampled = shard[dp.poisson_sample(shard.size, self.plan.noise.sampling_rate, sampling.words)]
        total = np.zeros(self.plan.noise.dimension, dtype=np.int64)
        for rows in self.gradients.clipped(self.work.train, sampled, within):
            total += self._rotation.quantise(self.plan.grid, rows, round_)
        return total

    def read(self, noisy: Noisy, survivors: int) -> NDArray[np.float64]:
        """The gradient that a noisy sum stands for: model units, over the expected batch."""
        return self.plan.in_model_units(noisy) / self.plan.expected_batch

    def state_dict(self) -> dict[str, Any]:
        """Nothing is kept from round to round."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing was kept."""
