"""Privacy events: what a round did to the data, in a form that an accountant can price and a ledger can keep.

The registry is closed.  An event that it does not know is refused, never guessed; a kind once published keeps
its meaning for ever.  Every event here is under *add-or-remove-one* neighbours: one unit (a record, or a
client) more, whose contribution is then a vector of norm at most the sensitivity, or zero.  Where an event
has a ``sampling_rate``, each unit is in the round independently with that probability; 1 claims no
amplification.

``dp.registry`` writes events down and reads them back; ``dp.accountant`` prices them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from fedpriv.errors import UsageError

__all__ = [
    "BandedMatrixRound",
    "Event",
    "InTurns",
    "OneTurn",
    "PoissonDiscreteGaussian",
    "PoissonGaussian",
    "PoissonSkellam",
    "PoissonSkellamSteps",
    "RELATION",
    "SkellamWithQuantile",
    "of_one_client",
    "variance_for",
]

RELATION: Final = "add-or-remove-one"


def _check_rate(rate: float) -> None:
    if not 0.0 < rate <= 1.0:
        raise UsageError(f"the sampling rate is {rate}; it must lie in (0, 1]")


def _check_multiplier(multiplier: float) -> None:
    if not (multiplier > 0.0 and math.isfinite(multiplier)):
        raise UsageError(f"the noise multiplier is {multiplier}; it must be positive and finite")


def _check_integers(event: object, *names: str) -> None:
    for name in names:
        value = getattr(event, name)
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} is {value!r}; it must be a positive integer")


def _not_above(start: float, square: Fraction) -> float:
    """Return the first double from ``start`` downwards whose square does not exceed ``square``."""
    while Fraction(start) ** 2 > square:
        start = math.nextafter(start, 0.0)
    return start


def _multiplier(variance: int, sensitivity: int) -> float:
    """Standard deviation over sensitivity, never rounded up."""
    return _not_above(math.sqrt(variance) / sensitivity, Fraction(variance, sensitivity**2))


@dataclass(frozen=True, slots=True)
class PoissonGaussian:
    """Gaussian noise of standard deviation ``noise_multiplier`` times the l2 sensitivity.

    Raises:
        UsageError: a multiplier that is not positive and finite, or a rate outside (0, 1].
    """

    noise_multiplier: float
    sampling_rate: float

    def __post_init__(self) -> None:
        _check_multiplier(self.noise_multiplier)
        _check_rate(self.sampling_rate)


@dataclass(frozen=True, slots=True)
class PoissonSkellam:
    """Skellam noise on an integer sum whose contributions have l2 norm at most ``sensitivity``.

    Attributes:
        noise_variance: variance in each coordinate of the noise that the adversary does not know, in squared
            grid units.
        sensitivity: exact bound on the l2 norm of one contribution, in grid units.
        dimension: number of coordinates.
        sampling_rate: probability that a record is in the round.

    >>> PoissonSkellam(noise_variance=400, sensitivity=10, dimension=3, sampling_rate=0.5).noise_multiplier
    2.0
    """

    noise_variance: int
    sensitivity: int
    dimension: int
    sampling_rate: float

    def __post_init__(self) -> None:
        _check_integers(self, "noise_variance", "sensitivity", "dimension")
        _check_rate(self.sampling_rate)

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation over sensitivity, never rounded up."""
        return _multiplier(self.noise_variance, self.sensitivity)


@dataclass(frozen=True, slots=True)
class PoissonSkellamSteps:
    """Several sampled steps of one client, each with Skellam noise of its own, between two sums.

    One such round costs ``steps`` rounds of the `PoissonSkellam` with the other fields.

    >>> PoissonSkellamSteps(400, 10, 3, sampling_rate=0.5, steps=4).charged(3)
    12
    """

    noise_variance: int
    sensitivity: int
    dimension: int
    sampling_rate: float
    steps: int

    def __post_init__(self) -> None:
        _check_integers(self, "noise_variance", "sensitivity", "dimension", "steps")
        _check_rate(self.sampling_rate)

    @property
    def step(self) -> PoissonSkellam:
        """One of the steps."""
        return PoissonSkellam(self.noise_variance, self.sensitivity, self.dimension, self.sampling_rate)

    def charged(self, count: int, after: int = 0) -> int:
        """Return how many steps ``count`` rounds take, whatever went before."""
        return count * self.steps


@dataclass(frozen=True, slots=True)
class PoissonDiscreteGaussian:
    """The sum of independent discrete Gaussian shares on an integer sum, as under secure aggregation.

    Attributes:
        share_variance: v, the parameter of one share's law N_Z(0, v), P(k) proportional to e^(-k^2 / 2v).
        shares: h, how many shares the adversary does not know.
        sensitivity, dimension, sampling_rate: as for `PoissonSkellam`.

    >>> event = PoissonDiscreteGaussian(100, shares=4, sensitivity=10, dimension=3, sampling_rate=0.5)
    >>> event.noise_variance, event.noise_multiplier
    (400, 2.0)
    """

    share_variance: int
    shares: int
    sensitivity: int
    dimension: int
    sampling_rate: float

    def __post_init__(self) -> None:
        _check_integers(self, "share_variance", "shares", "sensitivity", "dimension")
        _check_rate(self.sampling_rate)

    @property
    def noise_variance(self) -> int:
        """h v, the variance of the Gaussian that prices the sum."""
        return self.shares * self.share_variance

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation over sensitivity, never rounded up."""
        return _multiplier(self.noise_variance, self.sensitivity)


@dataclass(frozen=True, slots=True)
class SkellamWithQuantile:
    """A sum of updates with the bit of adaptive quantile clipping (arXiv 1905.03871), in Skellam noise.

    A unit contributes a vector of norm at most ``sensitivity`` and, in one coordinate more, plus or minus
    ``bit_sensitivity`` (its bit less one half, in grid units); a unit that is not there contributes zero to
    both.

    Attributes:
        noise_variance, sensitivity, dimension: of the updates, as for `PoissonSkellam`; the coordinate of the
            bit is not counted in ``dimension``.
        bit_variance: variance of the unknown noise on the bit's coordinate.
        bit_sensitivity: largest absolute value that a unit adds to the bit's coordinate.
        sampling_rate: probability that a unit is in the round.

    >>> SkellamWithQuantile(450, 10, 3, bit_variance=9, bit_sensitivity=1, sampling_rate=1.0).noise_multiplier
    1.7320508075688772
    """

    noise_variance: int
    sensitivity: int
    dimension: int
    bit_variance: int
    bit_sensitivity: int
    sampling_rate: float

    def __post_init__(self) -> None:
        _check_integers(self, "noise_variance", "sensitivity", "dimension", "bit_variance", "bit_sensitivity")
        _check_rate(self.sampling_rate)

    @property
    def noise_multiplier(self) -> float:
        """(z_update^-2 + z_bit^-2)^(-1/2), never rounded up: both parts are one Gaussian release."""
        inverse = Fraction(self.sensitivity**2, self.noise_variance) + Fraction(
            self.bit_sensitivity**2, self.bit_variance
        )
        return _not_above(math.nextafter(math.sqrt(1 / inverse), math.inf), 1 / inverse)


@dataclass(frozen=True, slots=True)
class BandedMatrixRound:
    """One round of a banded matrix mechanism with Gaussian noise; no sampling is assumed.

    The releases are those of C x + Z for a lower triangular C with ``bands`` diagonals, and each unit takes
    part at most once in any ``bands`` consecutive rounds, in rounds that do not depend on the data.
    ``count`` such rounds *of one mechanism* cost ceil(count / bands) releases of a Gaussian mechanism: a unit
    takes part no more often.  Rounds of two mechanisms are priced apart.

    Attributes:
        noise_multiplier: standard deviation of Z over (sensitivity times the largest column norm of C).
        bands: b.
    """

    noise_multiplier: float
    bands: int

    def __post_init__(self) -> None:
        _check_multiplier(self.noise_multiplier)
        _check_integers(self, "bands")

    def charged(self, count: int, after: int = 0) -> int:
        """Return how many Gaussian releases ``count`` rounds add when ``after`` rounds went before.

        >>> [BandedMatrixRound(1.0, bands=3).charged(1, after=r) for r in range(7)]
        [1, 0, 0, 1, 0, 0, 1]
        """
        return -(-(after + count) // self.bands) + -after // self.bands


OneTurn = (
    PoissonGaussian | PoissonSkellam | PoissonSkellamSteps | PoissonDiscreteGaussian | SkellamWithQuantile
)
"""What a cohort's round can be where cohorts take turns: priced by itself, whatever went before."""


@dataclass(frozen=True, slots=True)
class InTurns:
    """One round of clients that take turns in ``cohorts`` disjoint cohorts, public and fixed beforehand.

    Round r is ``event`` on the units of cohort r mod ``cohorts`` and depends on no other unit.  Every unit
    belongs to one client, and so to one cohort, in all rounds.  ``count`` rounds *of one mechanism*, in their
    order and none left out, therefore cost ceil(count / cohorts) of ``event``: the others are, for any one
    unit, computed from what was released before and from data without it.  Rounds of two mechanisms are
    priced apart.

    >>> InTurns(PoissonSkellam(400, 10, 3, sampling_rate=0.5), cohorts=4).turns(5)
    2
    """

    event: OneTurn
    cohorts: int

    def __post_init__(self) -> None:
        _check_integers(self, "cohorts")
        if not isinstance(self.event, OneTurn):
            raise UsageError(f"clients do not take turns in {type(self.event).__name__}")

    def turns(self, count: int, after: int = 0) -> int:
        """Return how many rounds of ``event`` ``count`` rounds add when ``after`` rounds went before."""
        return -(-(after + count) // self.cohorts) + -after // self.cohorts


def of_one_client(event: Event, rounds: int) -> tuple[Event, int]:
    """Return the event and the number of ``rounds`` rounds for a client that counts its own rounds alone.

    >>> of_one_client(BandedMatrixRound(2.0, bands=3), 10)
    (PoissonGaussian(noise_multiplier=2.0, sampling_rate=1.0), 4)
    >>> of_one_client(PoissonGaussian(2.0, 0.1), 10)
    (PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.1), 10)
    """
    if isinstance(event, BandedMatrixRound):
        return PoissonGaussian(event.noise_multiplier, 1.0), event.charged(rounds)
    if isinstance(event, InTurns):
        return event.event, event.turns(rounds)
    return event, rounds


def variance_for(multiplier: float, sensitivity: int, *, shares: int = 1) -> int:
    """Return the least integer variance of a share with which ``shares`` of them have the noise multiplier.

    >>> variance_for(0.5, 10), variance_for(0.5, 10, shares=3)
    (25, 9)
    """
    _check_multiplier(multiplier)
    if sensitivity < 1 or shares < 1:
        raise UsageError(f"sensitivity {sensitivity} and shares {shares} must be positive integers")
    return math.ceil((Fraction(multiplier) * sensitivity) ** 2 / shares)


Event = OneTurn | BandedMatrixRound | InTurns
