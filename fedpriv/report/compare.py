"""Two JSON values side by side: where they differ, apart from what people fill in and from rounding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["carry_over", "differences"]

# Slots that a person fills in: part of the report, not of what is recomputed.
_SLOTS = re.compile(r"(attestations\[\d+\]\.(name|role|date)|crosswalk\[\d+\]\.(applies|owner))")


def differences(stated: object, actual: object, *, tolerance: float) -> list[tuple[str, str]]:
    """``(path, what)`` for each place where ``stated`` is not ``actual``; numbers may be ``tolerance`` apart.

    >>> differences({"a": [1, 2.0]}, {"a": [1, 2.5]}, tolerance=1e-6)
    [('a[1]', 'it says 2.0; recomputed it is 2.5')]
    """
    return list(_walk(stated, actual, "", tolerance))


def carry_over(report: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Copy what people filled into ``earlier`` (a valid report) to the same rows of ``report``."""
    for section, identity, slots in (
        ("attestations", ("statement",), ("name", "role", "date")),
        ("crosswalk", ("framework", "clause"), ("applies", "owner")),
    ):
        filled = {tuple(row[key] for key in identity): row for row in earlier[section]}
        for row in report[section]:
            known = filled.get(tuple(row[key] for key in identity))
            if known is not None:
                row.update({slot: known[slot] for slot in slots})


def _walk(stated: object, actual: object, path: str, tolerance: float) -> Iterator[tuple[str, str]]:
    if _SLOTS.fullmatch(path):
        return
    if isinstance(stated, dict) and isinstance(actual, dict):
        for key in sorted(stated.keys() | actual.keys()):
            place = f"{path}.{key}" if path else str(key)
            yield from _walk(stated.get(key), actual.get(key), place, tolerance)
    elif isinstance(stated, list) and isinstance(actual, list):
        if len(stated) != len(actual):
            yield path, f"it has {len(stated)} entries; recomputed there are {len(actual)}"
            return
        for index, (one, other) in enumerate(zip(stated, actual, strict=True)):
            yield from _walk(one, other, f"{path}[{index}]", tolerance)
    elif (left := _number(stated)) is not None and (right := _number(actual)) is not None:
        if abs(left - right) > tolerance * max(1.0, abs(right)):
            yield path, f"it says {stated!r}; recomputed it is {actual!r}"
    elif type(stated) is not type(actual) or stated != actual:
        yield path, f"it says {_brief(stated)}; recomputed it is {_brief(actual)}"


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 70 else text[:67] + "..."
