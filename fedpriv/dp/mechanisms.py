"""Who adds how much noise to a round, and what that promises against whom.

Every plan carries its event with it: the sensitivity bound, the neighbouring relation and the adversary are
part of the mechanism, not of its documentation.  ``protocols/dp/spec.md`` states the claims clause by clause.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import ClassVar, Final, Literal, get_args

from fedpriv.dp.events import RELATION, PoissonSkellam
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["EXCESS_TOLERANCE", "Adversary", "NoisePlan", "Trust", "removal_levels", "share_excess"]

Trust = Literal["local", "distributed", "central"]
Adversary = Literal["server", "peer", "recipient", "unmasked"]

EXCESS_TOLERANCE: Final = Fraction(1, 20)
"""How much more variance than needed the honest survivors' noise may have after removal, by default."""

_MAX_SHARE: Final = 1 << 60  # the sampler's largest variance


def _check_parties(trust: str, clients: int, min_survivors: int, max_colluders: int) -> None:
    if trust not in get_args(Trust):
        raise UsageError(f"trust is {trust!r}; it must be one of {', '.join(get_args(Trust))}")
    if not 1 <= min_survivors <= clients:
        raise UsageError(f"min_survivors is {min_survivors}; it must lie between 1 and the {clients} clients")
    if not 0 <= max_colluders < clients:
        raise UsageError(f"max_colluders is {max_colluders}; it must lie between 0 and {clients - 1}")
    if trust == "distributed" and max_colluders >= min_survivors:
        raise UnsafeParameters(
            f"{max_colluders} colluders among as few as {min_survivors} survivors leave no honest noise",
            hint="raise min_survivors above max_colluders",
        )


def share_excess(trust: Trust, *, clients: int, min_survivors: int, max_colluders: int) -> float:
    """Return the variance of the noise when all clients survive, over (zS)^2, before rounding up.

    What ``FixedPoint.plan`` needs while S is still unknown: n under ``local``, n / (t - c) under
    ``distributed``, 1 under ``central``.

    >>> share_excess("distributed", clients=8, min_survivors=6, max_colluders=1)
    1.6
    """
    _check_parties(trust, clients, min_survivors, max_colluders)
    if trust == "central":
        return 1.0
    return float(clients) if trust == "local" else clients / (min_survivors - max_colluders)


def removal_levels(
    *, clients: int, min_survivors: int, max_colluders: int, tolerance: Fraction = EXCESS_TOLERANCE
) -> tuple[int, ...]:
    """Return the fewest survivor counts at which noise is removed so that little excess is left at any.

    With u survivors the noise of the highest level l <= u is kept, V / (l - c) a client, so the u - c honest
    ones keep (u - c) / (l - c) of the V that is needed: from 1 up to at most 1 + tolerance.

    Args:
        clients, min_survivors, max_colluders: n, t and c, with c < t <= n.
        tolerance: largest excess, as a part of V; at least 0.

    Returns:
        Ascending, all above t and at most n; empty where the shares of n are not too much.

    Raises:
        UsageError: numbers out of range.
        UnsafeParameters: c >= t.

    >>> removal_levels(clients=8, min_survivors=6, max_colluders=1)
    (7, 8)
    >>> removal_levels(clients=100, min_survivors=70, max_colluders=0)
    (74, 78, 82, 87, 92, 97)
    """
    _check_parties("distributed", clients, min_survivors, max_colluders)
    if tolerance < 0:
        raise UsageError(f"the tolerance is {tolerance}; it must not be negative")
    levels: list[int] = []
    at = min_survivors
    while True:
        reach = max_colluders + math.floor((at - max_colluders) * (1 + tolerance))
        if reach >= clients:
            return tuple(levels)
        at = reach + 1
        levels.append(at)


@dataclass(frozen=True, slots=True)
class NoisePlan:
    """The Skellam noise of one round under a trust model.

    Attributes:
        trust: ``local``: every client's share is enough alone; ``distributed``: the shares of t - c honest
            survivors are enough together; ``central``: the server adds all of it.
        clients: n, clients in the round.
        min_survivors: t, the fewest whose sum the protocol opens.
        max_colluders: c, clients who may tell the server their share.
        noise_multiplier: z, the planned standard deviation over the sensitivity.
        sensitivity: S, exact l2 bound of one contribution in grid units.
        dimension: d, number of coordinates.
        sampling_rate: q, probability that a record takes part in a round; 1 claims no amplification.
        levels: survivor counts l_1 < ... < l_L above t at which excess noise is removed (``removal_levels``);
            under ``distributed`` only.  None by default: all noise stays.

    Raises:
        UsageError: a field out of range.
        UnsafeParameters: no honest noise is left, or a share's variance exceeds 2^60.

    >>> plan = NoisePlan(trust="distributed", clients=8, min_survivors=6, max_colluders=1,
    ...                  noise_multiplier=0.935, sensitivity=2**21, dimension=75_000, sampling_rate=0.048)
    >>> plan.share_variance * 5 >= (0.935 * 2**21) ** 2
    True
    >>> round(plan.realised_multiplier(8), 4)
    1.1063
    """

    trust: Trust
    clients: int
    min_survivors: int
    max_colluders: int
    noise_multiplier: float
    sensitivity: int
    dimension: int
    sampling_rate: float
    levels: tuple[int, ...] = ()

    relation: ClassVar[str] = RELATION

    def __post_init__(self) -> None:
        _check_parties(self.trust, self.clients, self.min_survivors, self.max_colluders)
        if not (self.noise_multiplier > 0.0 and math.isfinite(self.noise_multiplier)):
            raise UsageError(
                f"the noise multiplier is {self.noise_multiplier}; it must be positive and finite"
            )
        if self.sensitivity < 1 or self.dimension < 1:
            raise UsageError(
                f"sensitivity {self.sensitivity} and dimension {self.dimension} must be positive"
            )
        if not 0.0 < self.sampling_rate <= 1.0:
            raise UsageError(f"the sampling rate is {self.sampling_rate}; it must lie in (0, 1]")
        self._check_levels()
        if max(self.share_variance, self.server_variance) > _MAX_SHARE:
            raise UnsafeParameters(
                f"a noise share with z = {self.noise_multiplier:g} and S = {self.sensitivity} has a variance"
                " beyond the sampler's 2^60",
                hint="use a coarser scale",
            )

    @property
    def variance(self) -> int:
        """The planned variance ceil((z S)^2) of each coordinate, exact."""
        return math.ceil((Fraction(self.noise_multiplier) * self.sensitivity) ** 2)

    @property
    def share_variance(self) -> int:
        """Variance of the Skellam share that each client adds; 0 under ``central``."""
        if self.trust == "central":
            return 0
        if self.trust == "local":
            return self.variance
        return self._kept(0)

    def _kept(self, level: int) -> int:
        """What each client keeps at a level: the l - c honest ones have just enough together."""
        honest = (self.min_survivors, *self.levels)[level] - self.max_colluders
        return math.ceil((Fraction(self.noise_multiplier) * self.sensitivity) ** 2 / honest)

    @property
    def components(self) -> tuple[int, ...]:
        """Variances of the independent components of a client's share: kept always, removed from level 1 on,
        from level 2 on, ...; they add up to ``share_variance``.

        >>> plan = NoisePlan("distributed", 8, 6, 1, 1.0, 2**20, 10, 0.1, levels=(7, 8))
        >>> sum(plan.components) == plan.share_variance, len(plan.components)
        (True, 3)
        """
        if self.trust != "distributed":
            return (self.share_variance,)
        kept = [self._kept(level) for level in range(len(self.levels) + 1)]
        return (kept[-1], *(before - after for before, after in pairwise(kept)))

    def level(self, survivors: int) -> int:
        """Return which level so many survivors reach, 1 to L; 0 is none.

        Raises:
            UsageError: fewer than ``min_survivors`` or more than ``clients``.
        """
        self._check_survivors(survivors)
        return bisect_right(self.levels, survivors)

    def kept_variance(self, survivors: int) -> int:
        """Return the variance of each client's noise that is left once the excess is removed.

        Raises:
            UsageError: survivors outside the plan.
        """
        level = self.level(survivors)
        return self._kept(level) if level else self.share_variance

    @property
    def server_variance(self) -> int:
        """Variance of the Skellam noise that the server adds; 0 unless ``central``."""
        return self.variance if self.trust == "central" else 0

    def sum_variance(self, survivors: int) -> int:
        """Return the variance of each coordinate of the noise in the sum of ``survivors`` clients, after
        removal of the excess.

        Raises:
            UsageError: fewer than ``min_survivors`` or more than ``clients``.
        """
        return survivors * self.kept_variance(survivors) + self.server_variance

    def _check_levels(self) -> None:
        if not self.levels:
            return
        if self.trust != "distributed":
            raise UsageError(
                f"noise is removed under trust = distributed only, where the survivors' shares add up; this "
                f"plan has trust = {self.trust}",
                hint="give no levels",
            )
        ascending = list(self.levels) == sorted(set(self.levels))
        if not ascending or self.levels[0] <= self.min_survivors or self.levels[-1] > self.clients:
            raise UsageError(
                f"the levels {self.levels} do not ascend from above {self.min_survivors} to at most "
                f"{self.clients} survivors"
            )

    def _check_survivors(self, survivors: int) -> None:
        if not self.min_survivors <= survivors <= self.clients:
            raise UsageError(f"{survivors} survivors; the plan covers {self.min_survivors} to {self.clients}")

    @property
    def share_excess(self) -> float:
        """Variance of the noise when all clients survive, before any is removed, over (zS)^2."""
        total = self.clients * self.share_variance + self.server_variance
        return float(total / (Fraction(self.noise_multiplier) * self.sensitivity) ** 2)

    def excess(self, survivors: int) -> float:
        """Return the variance of the noise in the sum of ``survivors``, over (zS)^2; 1 is exactly enough."""
        return float(self.sum_variance(survivors) / (Fraction(self.noise_multiplier) * self.sensitivity) ** 2)

    def realised_multiplier(self, survivors: int) -> float:
        """Return z_r, the certified adversary's noise over S once ``survivors`` are known and the excess is
        removed.

        The noise of ``max_colluders`` among the survivors is not counted.  Under ``local`` the adversary is
        taken to see one client alone, so z_r does not depend on the survivors.
        """
        self._check_survivors(survivors)
        if self.trust == "central":
            unknown = self.server_variance
        elif self.trust == "local":
            unknown = self.share_variance
        else:
            unknown = (survivors - self.max_colluders) * self.kept_variance(survivors)
        return math.sqrt(unknown) / self.sensitivity

    def event(self) -> PoissonSkellam:
        """Return the certified event: against the server, or against recipients under ``central``."""
        event = self.event_against("recipient" if self.trust == "central" else "server")
        if event is None:
            raise UnsafeParameters("the plan leaves no noise against the adversary that it certifies")
        return event

    def event_against(
        self, adversary: Adversary, *, survivors: int | None = None, colluders: int | None = None
    ) -> PoissonSkellam | None:
        """Return what one round is to an adversary, or None where no noise is left (epsilon infinite).

        Args:
            adversary: ``server``: all that the server sees, and what ``colluders`` clients tell it.
                ``peer``: a participant who sees the released models and knows its own share, and those of
                ``colluders - 1`` more.  ``recipient``: an outside party who sees the released models.
                ``unmasked``: secure aggregation is broken and one client's update is seen with only its own
                share, of which it knows what is removed.
            survivors: how many clients' noise is in the sum; the worst case when omitted.
            colluders: ``max_colluders`` when omitted.

        Raises:
            UsageError: an unknown adversary, or survivors outside the plan.
        """
        known = self.max_colluders if colluders is None else colluders
        if not 0 <= known <= self.clients:
            raise UsageError(f"{known} colluders among {self.clients} clients")
        if adversary not in get_args(Adversary):
            raise UsageError(f"unknown adversary {adversary!r}; there are {', '.join(get_args(Adversary))}")
        # Between two levels what is kept stays and the survivors grow, so the worst case is at a level.
        counts = (self.min_survivors, *self.levels) if survivors is None else (survivors,)
        unknown = min(self._unknown(adversary, alive, known) for alive in counts)
        if unknown < 1:
            return None
        return PoissonSkellam(unknown, self.sensitivity, self.dimension, self.sampling_rate)

    def _unknown(self, adversary: Adversary, alive: int, known: int) -> int:
        """The variance that an adversary with ``known`` clients does not know, of ``alive`` survivors."""
        kept, total = self.kept_variance(alive), self.sum_variance(alive)
        if adversary == "recipient":
            return total
        if adversary == "peer":
            return total - min(max(1, known), alive) * kept
        if adversary == "server" and self.trust == "distributed":
            return total - min(known, alive) * kept
        return kept
