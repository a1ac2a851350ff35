"""Which modulus a sum is taken in, and whether it is rotated: the most coordinates that cost no privacy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fedpriv import dp
from fedpriv.encoding import FixedPoint
from fedpriv.errors import UnsafeParameters
from fedpriv.federation.config import Config
from fedpriv.federation.planning.compression import Fitted, fitted, too_few_bytes, widths
from fedpriv.federation.planning.grid import grid_and_noise
from fedpriv.federation.planning.subject import Subject
from fedpriv.federation.work.contribution import Contribution

__all__ = ["Modulus", "chosen"]

_NEXT_TO_FREE: Final = 1.001
"""How much of ε the coupling's slack may cost before a finer grid is taken."""


@dataclass(frozen=True, slots=True)
class Modulus:
    """Sums modulo ``2**bits``, rotated or not, for one contribution of a configuration's."""

    config: Config
    one: Contribution
    bits: int
    rotated: bool

    def fitted(self, subject: Subject, multiplier: float) -> Fitted:
        """As much of the subject as fits into the bytes of a round, with noise of this multiplier.

        Raises:
            UnsafeParameters: there is no grid for what would fit.
        """
        return fitted(self.config, subject, self.bits, multiplier, self.one, rotated=self.rotated)

    def priced(self, part: Subject, multiplier: float) -> tuple[FixedPoint, dp.NoisePlan, float]:
        """The grid, the noise on it, and what the run costs with it, as ε.

        Raises:
            UnsafeParameters: there is no grid, or integer noise on it is not worth Gaussian noise.
        """
        grid, noise = grid_and_noise(self.config, part, self.bits, multiplier, self.one, rotated=self.rotated)
        spent = [(self.one.events(noise).event(), self.config.run.rounds)]
        return grid, noise, dp.epsilon_pld(spent, self.config.privacy.delta)


@dataclass(frozen=True, slots=True)
class _Found:
    """A modulus, what fits into it, and its price."""

    modulus: Modulus
    room: Fitted
    cost: float


@dataclass(slots=True)
class _Search:
    """One after the other the moduli that were tried: those that will do, and those that are not so good."""

    subject: Subject
    multiplier: float
    limit: float
    found: dict[Modulus, _Found] = field(default_factory=dict)
    problem: UnsafeParameters | None = None

    def narrowest(self, options: Sequence[Modulus]) -> _Found | None:
        """The first option, each wider than the one before, that is not too narrow; None where all are.

        Options are too narrow up to some point, and not from there on: a bit more doubles S, and lets no more
        parameters into the same bytes.
        """
        low, high = -1, 0
        while high < len(options) and self._too_narrow(options[high]):
            low, high = high, 2 * high + 1
        high = min(high, len(options))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._too_narrow(options[middle]) else (low, middle)
        return self.found[options[high]] if high < len(options) else None

    def _too_narrow(self, option: Modulus) -> bool:
        try:
            room = option.fitted(self.subject, self.multiplier)
            cost = option.priced(room.subject, self.multiplier)[2]
        except UnsafeParameters as error:
            self.problem = error
            return True
        self.found[option] = _Found(option, room, cost)
        return not room.over and cost > self.limit


def chosen(
    config: Config, subject: Subject, one: Contribution, multiplier: float, ideal: float
) -> tuple[Modulus, Subject]:
    """The modulus in which the most parameters travel, of those whose integer noise is next to free.

    Unrotated where both ways carry as many, as a rotation takes time.  In a narrower modulus more parameters
    fit into the bytes of a round, and the grid is coarser; so each way's best is the narrowest that will do.
    Where none is next to free, it is the cheapest.

    Args:
        ideal: ε with Gaussian noise.

    Returns:
        The modulus, and what of the subject travels in it.

    Raises:
        UnsafeParameters: no modulus has a grid, or they all take more bytes than are allowed.
    """
    search = _Search(subject, multiplier, ideal * _NEXT_TO_FREE)
    best: _Found | None = None
    for rotated in config.rotations:
        if best is not None and best.room.subject == subject:
            break
        options = [
            Modulus(config, one, bits, rotated)
            for bits in widths(config)
            if best is None or bits < best.modulus.bits  # no more travels in a wider one
        ]
        found = search.narrowest(options)
        if found is None or found.room.over:
            continue
        if best is None or found.room.subject.parameters > best.room.subject.parameters:
            best = found
    if best is None:
        fits = [found for found in search.found.values() if not found.room.over]
        if not fits:
            over = [found.room.over for found in search.found.values()]
            if over:
                raise too_few_bytes(config, min(over))
            raise search.problem or UnsafeParameters("there is no modulus to choose from")
        best = min(fits, key=lambda one: (one.cost, one.modulus.rotated, one.modulus.bits))
    return best.modulus, best.room.subject
