"""What one unit can do to a round's sum: how it is sampled, how far it moves it, what the sum is over."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedpriv import dp
from fedpriv.encoding import FixedPoint
from fedpriv.errors import UnsafeParameters
from fedpriv.federation.config import Config
from fedpriv.federation.work.adaptive_clip import AdaptiveClip

__all__ = ["Contribution"]

_ROUNDING = 2.0**-10  # for the rounding of B and of the root, at any S of 2^12 and more


@dataclass(frozen=True, slots=True)
class Contribution:
    """The contribution of one unit to one round, before the grid is chosen.

    Attributes:
        sampling_rate: probability that a unit takes part; 1 claims no amplification.
        divisor: public expected size of the sum, by which it is divided.
        expected: expected contributions of norm S in the whole sum, for the grid's bound on a client.
        turns: S that one unit can move the sum by: 1 where it is added or left out, 2 where it can turn a
            client's clipped update around (spec 11.6).
        bit_share: part of a round's cost that the clip's coordinate takes; 0 where the clip does not move.
        steps: sampled steps with noise of their own that one client's vector adds up.
        bands: the bands of a matrix mechanism, in which a client takes part in one of as many rounds.
        cohorts: how many take turns, those of a matrix mechanism included; None where all take part.
    """

    sampling_rate: float
    divisor: float
    expected: float
    turns: int
    bit_share: float
    steps: int = 1
    bands: int | None = None
    cohorts: int | None = None

    @classmethod
    def of(cls, config: Config, *, records: int, clients: int) -> Contribution:
        """What ``config`` asks for, with so many ``records`` (nominal) and ``clients``.

        Raises:
            UnsafeParameters: the expected batch is more than all records.
        """
        privacy, cohorts = config.privacy, config.cohorts
        if config.work == "update":
            adaptive = privacy.adaptive_clip
            cohort = config.cohort_size(clients)
            return cls(
                sampling_rate=1.0,
                divisor=config.local.expected_weight or clients / (cohorts or 1),
                expected=cohort / 2,  # one vector a client: the grid's bound on its coordinates is S
                turns=1 if config.unit == "client" else 2,
                bit_share=0.0 if adaptive is None else adaptive.share,
                bands=privacy.bands,
                cohorts=cohorts,
            )
        batch = privacy.expected_batch
        rate = (batch or 0) * (cohorts or 1) / records
        if batch is None or rate > 1:
            there = (
                f"{records:,} records" if cohorts is None else f"{records // cohorts:,} records of a cohort"
            )
            raise UnsafeParameters(
                f"privacy.expected_batch = {batch or 0:g} is more than the {there}",
                hint="choose an expected_batch well below the number of records; 2 to 10 percent is usual",
            )
        steps = config.local_steps or 1
        return cls(
            sampling_rate=rate,
            divisor=batch,
            expected=batch * steps,
            turns=1,
            bit_share=0.0,
            steps=steps,
            cohorts=cohorts,
        )

    def events(self, noise: dp.NoisePlan) -> dp.RoundEvents:
        """What a round with this noise is to each adversary."""
        turns = self.cohorts if self.bands is None else None
        return dp.RoundEvents(noise, steps=self.steps, bands=self.bands, cohorts=turns)

    def releases(self, rounds: int) -> int:
        """Noisy sums that ``rounds`` rounds are charged as."""
        return -(-rounds // (self.cohorts or 1)) * self.steps

    @property
    def stretch(self) -> float:
        """The sensitivity of the whole vector over the grid's S, never less."""
        if not self.bit_share:
            return float(self.turns)
        return self.turns / math.sqrt(1.0 - self.bit_share) * (1.0 + _ROUNDING)

    def dimension(self, parameters: int) -> int:
        """Coordinates of the vector that is summed."""
        return parameters + (1 if self.bit_share else 0)

    def bit_units(self, grid: FixedPoint) -> int:
        """B, the grid units of the clip's coordinate: B^2 is ``bit_share`` of S^2 + B^2; 0 without one."""
        return max(1, round(grid.sensitivity * self.bit_ratio)) if self.bit_share else 0

    @property
    def bit_ratio(self) -> float:
        """B over S, before B is rounded."""
        return math.sqrt(self.bit_share / (1.0 - self.bit_share))

    def sensitivity(self, grid: FixedPoint) -> int:
        """By how much one unit moves the summed vector in l2, in grid units: exact, rounded up."""
        return _root_up(self.turns**2 * (grid.sensitivity**2 + self.bit_units(grid) ** 2))

    def adaptive_clip(self, config: Config, grid: FixedPoint) -> AdaptiveClip | None:
        """How the clip moves under ``config`` on ``grid``; None where it does not."""
        options = config.privacy.adaptive_clip
        if options is None or not self.bit_share:
            return None
        return AdaptiveClip(
            initial=grid.clip,
            quantile=options.quantile,
            learning_rate=options.learning_rate,
            bit_units=self.bit_units(grid),
        )


def _root_up(square: int) -> int:
    """The least integer whose square is at least ``square``.

    >>> _root_up(25), _root_up(26)
    (5, 6)
    """
    root = math.isqrt(square)
    return root + (root * root < square)
