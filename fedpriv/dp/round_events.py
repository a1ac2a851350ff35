"""What one round of a plan is to each adversary, for every kind of round that a plan can have.

`NoisePlan` knows who adds how much noise to one sum.  A round may be more than one noisy sum (several noisy
local steps before it) or less than one (a row of a matrix mechanism); this is where that is said, once, for
those who plan and for those who verify.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedpriv.dp.events import BandedMatrixRound, Event, InTurns, OneTurn, PoissonSkellamSteps
from fedpriv.dp.mechanisms import Adversary, NoisePlan
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["RoundEvents"]


@dataclass(frozen=True, slots=True)
class RoundEvents:
    """The events of a plan's rounds (protocols/dp/spec.md, 11.6 and 11.8).

    Attributes:
        noise: who adds how much to one sum.
        steps: noisy steps of a client in one round; more than one under ``local`` only.
        bands: the bands of a matrix mechanism; ``central`` without sampling only.
        cohorts: disjoint cohorts of clients that take turns; those of a matrix mechanism are its bands.

    Raises:
        UsageError: steps or bands under a trust model in which they do not hold, or bands with cohorts.

    >>> noise = NoisePlan(trust="local", clients=4, min_survivors=3, max_colluders=1, noise_multiplier=1.0,
    ...                   sensitivity=2**20, dimension=10, sampling_rate=0.1)
    >>> RoundEvents(noise, steps=3).event().charged(2)
    6
    """

    noise: NoisePlan
    steps: int = 1
    bands: int | None = None
    cohorts: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or (self.bands is not None and self.bands < 1):
            raise UsageError(f"{self.steps} steps and {self.bands} bands; both are at least 1")
        if self.cohorts is not None and (self.cohorts < 2 or self.bands is not None):
            raise UsageError(
                f"{self.cohorts} cohorts: two or more take turns, and a matrix mechanism has its own"
            )
        if self.steps > 1 and self.noise.trust != "local":
            raise UsageError(
                f"several noisy local steps under trust = {self.noise.trust}: only noise that is enough on "
                "its own covers a step that is not summed"
            )
        if self.bands is not None and (self.noise.trust != "central" or self.noise.sampling_rate != 1.0):
            raise UsageError(
                "a matrix mechanism is for trust = central without sampling: its noise is correlated "
                "over rounds"
            )

    def event(self) -> Event:
        """The certified event: against the server, or against recipients under ``central``."""
        event = self.against("recipient" if self.noise.trust == "central" else "server")
        if event is None:
            raise UnsafeParameters("the plan leaves no noise against the adversary that it certifies")
        return event

    def against(self, adversary: Adversary) -> Event | None:
        """What one round is to an adversary; None where no noise is left (epsilon infinite)."""
        # Others' noise reaches the sum, but not the steps that this client's next ones depend on.
        one = self.noise.event_against("unmasked" if self.steps > 1 else adversary)
        if one is None:
            return None
        if self.bands is not None:
            return BandedMatrixRound(one.noise_multiplier, self.bands)
        turn: OneTurn = one
        if self.steps > 1:
            turn = PoissonSkellamSteps(
                one.noise_variance, one.sensitivity, one.dimension, one.sampling_rate, self.steps
            )
        return turn if self.cohorts is None else InTurns(turn, self.cohorts)
