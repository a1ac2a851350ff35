"""Events as canonical JSON: what a ledger keeps and another implementation reads.

The registry is closed: an unknown kind or field is refused.  A kind once published keeps its fields and its
meaning for ever (``protocols/dp/spec.md``, 7.1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final

from fedpriv.dp.events import (
    BandedMatrixRound,
    Event,
    InTurns,
    OneTurn,
    PoissonDiscreteGaussian,
    PoissonGaussian,
    PoissonSkellam,
    PoissonSkellamSteps,
    SkellamWithQuantile,
)
from fedpriv.errors import IntegrityError, UsageError

__all__ = ["event_from_dict", "event_to_dict"]

_DECIMAL_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,39}")
_DECIMAL_FLOAT: Final = re.compile(r"[0-9][0-9.e+-]{0,39}")

_Reader = Callable[[Mapping[str, object], str], float]


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


_KINDS: Final[dict[str, tuple[Callable[..., Event], dict[str, _Reader]]]] = {
    "poisson-gaussian": (PoissonGaussian, {"noise_multiplier": _real, "sampling_rate": _real}),
    "poisson-skellam": (
        PoissonSkellam,
        {"noise_variance": _integer, "sensitivity": _integer, "dimension": _integer, "sampling_rate": _real},
    ),
    "poisson-skellam-steps": (
        PoissonSkellamSteps,
        {
            "noise_variance": _integer,
            "sensitivity": _integer,
            "dimension": _integer,
            "sampling_rate": _real,
            "steps": _integer,
        },
    ),
    "poisson-discrete-gaussian": (
        PoissonDiscreteGaussian,
        {
            "share_variance": _integer,
            "shares": _integer,
            "sensitivity": _integer,
            "dimension": _integer,
            "sampling_rate": _real,
        },
    ),
    "skellam-with-quantile": (
        SkellamWithQuantile,
        {
            "noise_variance": _integer,
            "sensitivity": _integer,
            "dimension": _integer,
            "bit_variance": _integer,
            "bit_sensitivity": _integer,
            "sampling_rate": _real,
        },
    ),
    "banded-matrix-round": (BandedMatrixRound, {"noise_multiplier": _real, "bands": _integer}),
}

_IN_TURNS: Final = "in-turns"
"""Written with the fields of its event, whose kind stands under ``of``."""


def event_to_dict(event: Event) -> dict[str, str | int]:
    """Return the canonical form: ``kind`` and one decimal string a field (no JSON number can lose digits).

    >>> event_to_dict(PoissonGaussian(noise_multiplier=1.651, sampling_rate=0.05))
    {'kind': 'poisson-gaussian', 'noise_multiplier': '1.651', 'sampling_rate': '0.05'}
    """
    if isinstance(event, InTurns):
        one = event_to_dict(event.event)
        return {"kind": _IN_TURNS, "of": one.pop("kind"), "cohorts": str(event.cohorts), **one}
    for kind, (make, readers) in _KINDS.items():
        if type(event) is make:
            form: dict[str, str | int] = {"kind": kind}
            for name, reader in readers.items():
                value = getattr(event, name)
                form[name] = repr(float(value)) if reader is _real else str(value)
            return form
    raise UsageError(f"{type(event).__name__} is not a registered privacy event")


def event_from_dict(fields: Mapping[str, object]) -> Event:
    """Read the canonical form back; ``event_from_dict(event_to_dict(e)) == e``.

    Raises:
        IntegrityError: an unknown kind, an unknown or missing field, or a value that is not canonical.

    >>> event_from_dict({'kind': 'poisson-gaussian', 'noise_multiplier': '1.651', 'sampling_rate': '0.05'})
    PoissonGaussian(noise_multiplier=1.651, sampling_rate=0.05)
    """
    kind = fields.get("kind")
    if kind == _IN_TURNS:
        return _in_turns(fields)
    entry = _KINDS.get(kind) if isinstance(kind, str) else None
    if entry is None:
        raise IntegrityError(
            f"privacy event of unknown kind {kind!r}",
            hint=f"this version knows {', '.join(sorted([*_KINDS, _IN_TURNS]))}",
        )
    make, readers = entry
    if set(fields) != {"kind", *readers}:
        odd = sorted(str(name) for name in set(fields) ^ {"kind", *readers})
        raise IntegrityError(f"privacy event {kind!r} has unknown or missing fields: {', '.join(odd)}")
    try:
        return make(**{name: reader(fields, name) for name, reader in readers.items()})
    except UsageError as error:
        raise IntegrityError(f"privacy event {kind!r} is impossible: {error}") from error


def _in_turns(fields: Mapping[str, object]) -> InTurns:
    one = {name: value for name, value in fields.items() if name not in {"kind", "of", "cohorts"}}
    if "of" not in fields or "cohorts" not in fields:
        raise IntegrityError(f"privacy event {_IN_TURNS!r} has unknown or missing fields: of, cohorts")
    event = event_from_dict({**one, "kind": fields["of"]})
    if not isinstance(event, OneTurn):
        raise IntegrityError(f"privacy event {_IN_TURNS!r} is impossible: of {fields['of']!r}")
    try:
        return InTurns(event, _integer(fields, "cohorts"))
    except UsageError as error:
        raise IntegrityError(f"privacy event {_IN_TURNS!r} is impossible: {error}") from error
