"""Fewer coordinates, in fewer bits: what is left out so that a round fits into the bytes that it may take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from fedpriv.errors import UnsafeParameters
from fedpriv.federation.config import Config
from fedpriv.federation.planning.encrypted import largest_value
from fedpriv.federation.planning.grid import grid_and_noise
from fedpriv.federation.planning.subject import Subject
from fedpriv.federation.planning.summing import aggregator_for, traffic
from fedpriv.federation.work.contribution import Contribution
from fedpriv.peft import METHODS

__all__ = ["Fitted", "fitted", "shared", "too_few_bytes", "widths"]

_WIDTHS: Final = (32, 40, 48, 56)
"""Moduli that are tried where the configuration names none: whole bytes, the usual one first."""

_EVERY: Final = range(8, 57)
"""Tried where bytes count: all that is packed without gaps, so each bit is one a coordinate less."""

_ENCRYPTED: Final = (20, 24, 28)
"""The same for an encrypted sum, where every bit of a value is sent twice and more."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What of a subject fits into a round, or the least there is of it.

    Attributes:
        subject: with as many parameters as fit, and never fewer than one.
        over: bytes that a client sends of so few beyond its budget; 0 where they fit.
    """

    subject: Subject
    over: int = 0


def widths(config: Config) -> Sequence[int]:
    """The moduli that a plan may choose from, in the order in which they are tried."""
    if config.secagg.bits is not None:
        return (config.secagg.bits,)
    if config.compression is not None and (config.compression.bytes is not None or config.compression.rotate):
        return _EVERY
    return (*_ENCRYPTED, *_WIDTHS) if config.aggregator == "ckks" else _WIDTHS


def shared(config: Config, subject: Subject) -> Subject:
    """The subject with the share of its parameters that the configuration names; all, if it names none.

    At least one parameter is left.
    """
    share = None if config.compression is None else config.compression.share
    if share is None:
        return subject
    return replace(subject, parameters=max(1, math.ceil(share * subject.parameters)))


def fitted(
    config: Config, subject: Subject, bits: int, multiplier: float, one: Contribution, *, rotated: bool
) -> Fitted:
    """The subject with the most parameters whose sum modulo ``2**bits`` fits into the bytes of a round.

    Raises:
        UnsafeParameters: there is no grid of so many bits for what would fit.
    """
    budget = None if config.compression is None else config.compression.bytes
    if budget is None:
        return Fitted(shared(config, subject))

    def sent(parameters: int) -> int:
        part = replace(subject, parameters=parameters)
        grid, noise = grid_and_noise(config, part, bits, multiplier, one, rotated=rotated)
        largest = largest_value(one, grid, noise, config.run.rounds)
        return traffic(aggregator_for(config, grid, noise, noise.clients, largest))[0]

    def fits(parameters: int) -> bool:
        try:
            return sent(parameters) <= budget
        except UnsafeParameters:
            return False

    most = subject.parameters
    fewest = 1 if METHODS[config.peft.method].drawable else most
    least = sent(fewest)
    if least > budget:
        return Fitted(replace(subject, parameters=fewest), least - budget)
    low, high = fewest, most + 1  # low fits; high does not, or is none
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if high <= most:
        sent(high)  # raises where it is the modulus, and not the bytes, that has no room for one more
    return Fitted(replace(subject, parameters=low))


def too_few_bytes(config: Config, over: int) -> UnsafeParameters:
    """Why a budget of bytes cannot be met, of which the least that can be sent is so many ``over``."""
    allowed = 0 if config.compression is None else config.compression.bytes or 0
    least = allowed + over
    return UnsafeParameters(
        f"compression.bytes is {allowed:,}, and a client sends at least {least:,} bytes a round here",
        hint=f"allow {least:,} or more, or choose a smaller PEFT method, fewer clients or another aggregator",
    )
