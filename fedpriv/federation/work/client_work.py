"""A client's work in a round whose unit is the client: train, weigh, clip the whole update, quantise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.entropy import Entropy
from fedpriv.errors import IntegrityError
from fedpriv.federation.planning.plan import Noisy, Plan
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.kept import Kept
from fedpriv.federation.work.rotation import RoundRotation
from fedpriv.federation.workplace import Workplace

if TYPE_CHECKING:
    from fedpriv.training import LocalTraining

__all__ = ["ClientWork", "weight"]


def weight(records: int, cap: int | None) -> float:
    """The weight of a client with ``records`` records: 1, or ``min(1, records / cap)`` with a public cap.

    >>> weight(5, None), weight(5, 20), weight(50, 20)
    (1.0, 0.25, 1.0)
    """
    return 1.0 if cap is None else min(1.0, records / cap)


@dataclass(slots=True)
class ClientWork:
    """Local training, and its update as one integer vector of l2 norm at most S (spec 11.2).

    With a clip that moves, the grid stays and the update is scaled: one grid unit is worth ``clip /
    grid.clip`` of what it was worth in the first round, so S and the noise in grid units never change.
    """

    work: Workplace
    plan: Plan
    entropy: Entropy
    training: LocalTraining
    kept: Kept | None = field(default=None, kw_only=True)
    """What clients keep to themselves; in memory only unless it is given."""
    clip: float = field(init=False)
    """The clipping norm of the round that comes next, in model units."""
    _coordinates: RoundCoordinates = field(init=False)
    _rotation: RoundRotation = field(init=False)

    def __post_init__(self) -> None:
        self.clip = self.plan.grid.clip
        self._coordinates = RoundCoordinates.of(self.work, self.plan)
        self._rotation = RoundRotation.of(self.plan)
        if self.kept is None:
            self.kept = Kept.of_work(self.work)

    @property
    def noisy(self) -> bool:
        """Whether the contribution carries its noise already; here the round adds it."""
        return False

    def contribution(self, round_: int, client: int, parameters: NDArray[np.float32]) -> NDArray[np.int64]:
        """One client's update in grid units, the clip's coordinate at its end; shape ``(dimension,)``."""
        plan = self.plan
        shard = self.work.dataset.shards[client - 1]
        order = self.entropy.stream("batches", round_, client).read(16)
        rng = np.random.default_rng(int.from_bytes(order, "big"))
        within, own = self._coordinates.of_client(round_, client, parameters)
        moves, kept = within.moves(), self.kept
        if kept is not None:
            own = kept.joined(client, own, before=round_)
            moves = kept.mask if moves is None else moves | kept.mask
        moved = self.training.update(self.work.train, shard, own, rng, moves)
        if kept is not None:  # nothing has moved where training was not finite: what was there stays
            kept.keep(client, round_, own + moved)
        update = within.take(moved)
        update *= weight(shard.size, self.work.config.local.record_cap)
        total = self._quantise(update, round_)
        if plan.adaptive_clip is None:
            return total
        norm = math.sqrt(float(np.einsum("i,i->", update, update)))
        return np.append(total, np.int64(plan.adaptive_clip.coordinate(norm, self.clip)))

    def read(self, noisy: Noisy, survivors: int) -> NDArray[np.float64]:
        """The step *down* which the updates point: minus their noisy mean, in model units.

        Moves the clip to where the next round will have it.
        """
        plan, adaptive = self.plan, self.plan.adaptive_clip
        scale = self.clip / plan.grid.clip
        if adaptive is not None:
            share = adaptive.share_within(int(noisy[-1]), survivors)
            self.clip = adaptive.following(self.clip, share)
            noisy = noisy[:-1]
        return -plan.in_model_units(noisy) * (scale / plan.expected_batch)

    def state_dict(self) -> dict[str, Any]:
        """What the next round needs beside the model."""
        return {"clip": self.clip}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave; ``IntegrityError`` where it is not that."""
        try:
            clip = float(state["clip"])
        except (KeyError, TypeError, ValueError):
            raise IntegrityError("the checkpoint does not say what the clip of the next round is") from None
        if not (math.isfinite(clip) and clip > 0.0):
            raise IntegrityError(f"the checkpoint's clip is {clip}; it must be positive")
        self.clip = clip

    def _quantise(self, update: NDArray[np.float64], round_: int) -> NDArray[np.int64]:
        """Integers of l2 norm at most S, exactly, whatever the floating-point arithmetic before did."""
        grid = self.plan.grid
        norm = math.sqrt(float(np.einsum("i,i->", update, update)))
        if not math.isfinite(norm):  # finite numbers whose squares are not
            update = np.zeros_like(update)
        # The norm is bounded by the grid, in integers; shortening here keeps its numbers small.
        factor = (grid.clip / self.clip) * min(1.0, self.clip / norm if norm > 0.0 else 1.0)
        return grid.clamp(self._rotation.quantise(grid, (update * factor)[np.newaxis, :], round_))
