"""Whole numbers that must lie in a range."""

from __future__ import annotations

from typing import Any

from fedpriv.errors import UsageError

__all__ = ["check_range"]


def check_range(name: str, value: Any, least: int, most: int) -> None:
    """Refuse what is no whole number from ``least`` to ``most``.

    Raises:
        UsageError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} is a whole number, not {type(value).__name__}.")
    if not least <= value <= most:
        raise UsageError(f"{name} is {value}, which does not lie in {least}..{most}.")
