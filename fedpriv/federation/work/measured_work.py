"""A client's work, of which a simulation keeps copies without noise, to measure the LoRA gap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedpriv.federation.lora_gap import LoraGap, Product, lora_gap, products_of
from fedpriv.federation.work.client_work import ClientWork

__all__ = ["MeasuredWork"]


@dataclass(slots=True)
class MeasuredWork(ClientWork):
    """Whole updates, and what each of them alone, weighted, clipped and without noise, makes of the model."""

    _products: tuple[Product, ...] = field(init=False)
    _models: dict[int, NDArray[np.float64]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        ClientWork.__post_init__(self)
        self._products = products_of(self.work)

    def contribution(self, round_: int, client: int, parameters: NDArray[np.float32]) -> NDArray[np.int64]:
        """One client's update, as :class:`ClientWork` makes it."""
        total = ClientWork.contribution(self, round_, client, parameters)
        within = self._coordinates.at(round_, parameters)
        own = self._rotation.back(round_, total[: within.width])
        moved = self.plan.in_model_units(own) * (self.clip / self.plan.grid.clip)
        self._models[client] = parameters + within.spread(moved)
        return total

    def gap(self, survivors: Iterable[int]) -> LoraGap:
        """The gap of the round that is over, between the clients whose updates are in its sum."""
        found = lora_gap(self._products, np.stack([self._models[client] for client in survivors]))
        self._models.clear()
        return found
