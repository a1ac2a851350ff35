"""How checks compare: figures within a tolerance, everything else to the letter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fedpriv.report.check import Check

__all__ = ["TOLERANCE", "each_fault", "equal", "near"]

TOLERANCE: Final = 1e-6


def each_fault(name: str, file: str, faults: Sequence[tuple[str, str]], holds: str) -> Iterator[Check]:
    """One failed check a fault ``(place in the file, what)``, or one that says what holds."""
    for where, what in faults:
        yield Check(name, f"{file}, {where}" if where else file, "failed", what)
    if not faults:
        yield Check(name, file, "ok", holds)


def equal(name: str, where: str, stated: object, expected: object, holds: str) -> Check:
    """Whether ``stated`` is ``expected``; nothing at all never is."""
    if stated == expected and expected is not None:
        return Check(name, where, "ok", holds)
    return Check(name, where, "failed", f"it is {_brief(stated)}; expected {_brief(expected)}")


def near(stated: object, actual: object) -> bool:
    """Whether two figures, numbers or decimal strings, differ by at most 1e-6 or one part in a million.

    >>> near("0.5", 0.5000001), near(None, 0.0), near(None, None)
    (True, False, True)
    """
    if stated is None or actual is None:
        return stated is None and actual is None
    try:
        left, right = float(str(stated)), float(str(actual))
    except ValueError:
        return False
    return abs(left - right) <= TOLERANCE * max(1.0, abs(right))


def _brief(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 70 else text[:67] + "…"
