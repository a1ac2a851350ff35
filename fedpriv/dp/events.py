"""Privacy events: what a round did to the data, in a form that an accountant can price and a ledger can keep.

The registry is closed.  An event that it does not know is refused, never guessed; a kind once published keeps
its meaning for ever.  Every event here is under *add-or-remove-one* neighbours with Poisson sampling: each
record is in the round independently with probability ``sampling_rate``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fedpriv.errors import IntegrityError, UsageError

__all__ = ["Event", "PoissonGaussian", "PoissonSkellam", "RELATION", "event_from_dict", "event_to_dict"]

RELATION: Final = "add-or-remove-one"

_DECIMAL_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,39}")
_DECIMAL_FLOAT: Final = re.compile(r"[0-9][0-9.e+-]{0,39}")


def _check_rate(rate: float) -> None:
    if not 0.0 < rate <= 1.0:
        raise UsageError(f"the sampling rate is {rate}; it must lie in (0, 1]")


@dataclass(frozen=True, slots=True)
class PoissonGaussian:
    """Gaussian noise of standard deviation ``noise_multiplier`` times the l2 sensitivity.

    Raises:
        UsageError: a multiplier that is not positive and finite, or a rate outside (0, 1].
    """

    noise_multiplier: float
    sampling_rate: float

    def __post_init__(self) -> None:
        if not (self.noise_multiplier > 0.0 and math.isfinite(self.noise_multiplier)):
            raise UsageError(
                f"the noise multiplier is {self.noise_multiplier}; it must be positive and finite"
            )
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
        for name in ("noise_variance", "sensitivity", "dimension"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UsageError(f"{name} is {value!r}; it must be a positive integer")
        _check_rate(self.sampling_rate)

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation over sensitivity, never rounded up."""
        ratio = math.sqrt(self.noise_variance) / self.sensitivity
        while True:
            numerator, denominator = ratio.as_integer_ratio()
            if (numerator * self.sensitivity) ** 2 <= self.noise_variance * denominator**2:
                return ratio
            ratio = math.nextafter(ratio, 0.0)


Event = PoissonGaussian | PoissonSkellam


def event_to_dict(event: Event) -> dict[str, str | int]:
    """Return the canonical form: ``kind`` and one decimal string a field (no JSON number can lose digits).

    >>> event_to_dict(PoissonGaussian(noise_multiplier=1.651, sampling_rate=0.05))
    {'kind': 'poisson-gaussian', 'noise_multiplier': '1.651', 'sampling_rate': '0.05'}
    """
    if isinstance(event, PoissonGaussian):
        return {
            "kind": "poisson-gaussian",
            "noise_multiplier": repr(float(event.noise_multiplier)),
            "sampling_rate": repr(float(event.sampling_rate)),
        }
    if isinstance(event, PoissonSkellam):
        return {
            "kind": "poisson-skellam",
            "noise_variance": str(event.noise_variance),
            "sensitivity": str(event.sensitivity),
            "dimension": str(event.dimension),
            "sampling_rate": repr(float(event.sampling_rate)),
        }
    raise UsageError(f"{type(event).__name__} is not a registered privacy event")


def _integer(fields: Mapping[str, object], name: str) -> int:
    value = fields[name]
    if not isinstance(value, str) or not _DECIMAL_INTEGER.fullmatch(value):
        raise IntegrityError(
            f"field {name!r} of a privacy event is {value!r}, not a canonical decimal integer"
        )
    return int(value)


def _real(fields: Mapping[str, object], name: str) -> float:
    value = fields[name]
    if isinstance(value, str) and _DECIMAL_FLOAT.fullmatch(value):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if repr(number) == value:
            return number
    raise IntegrityError(f"field {name!r} of a privacy event is {value!r}, not a canonical decimal number")


_FIELDS: Final[dict[str, frozenset[str]]] = {
    "poisson-gaussian": frozenset({"kind", "noise_multiplier", "sampling_rate"}),
    "poisson-skellam": frozenset({"kind", "noise_variance", "sensitivity", "dimension", "sampling_rate"}),
}


def event_from_dict(fields: Mapping[str, object]) -> Event:
    """Read the canonical form back; ``event_from_dict(event_to_dict(e)) == e``.

    Raises:
        IntegrityError: an unknown kind, an unknown or missing field, or a value that is not canonical.

    >>> event_from_dict({'kind': 'poisson-gaussian', 'noise_multiplier': '1.651', 'sampling_rate': '0.05'})
    PoissonGaussian(noise_multiplier=1.651, sampling_rate=0.05)
    """
    kind = fields.get("kind")
    expected = _FIELDS.get(kind) if isinstance(kind, str) else None
    if expected is None:
        raise IntegrityError(
            f"privacy event of unknown kind {kind!r}", hint=f"this version knows {', '.join(sorted(_FIELDS))}"
        )
    if set(fields) != expected:
        odd = sorted(str(name) for name in set(fields) ^ expected)
        raise IntegrityError(f"privacy event {kind!r} has unknown or missing fields: {', '.join(odd)}")
    try:
        if kind == "poisson-gaussian":
            return PoissonGaussian(
                noise_multiplier=_real(fields, "noise_multiplier"),
                sampling_rate=_real(fields, "sampling_rate"),
            )
        return PoissonSkellam(
            noise_variance=_integer(fields, "noise_variance"),
            sensitivity=_integer(fields, "sensitivity"),
            dimension=_integer(fields, "dimension"),
            sampling_rate=_real(fields, "sampling_rate"),
        )
    except UsageError as error:
        raise IntegrityError(f"privacy event {kind!r} is impossible: {error}") from error
