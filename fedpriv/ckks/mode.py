"""Who holds the key, and how many of them open a sum (spec, sections 1 and 5)."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal

from fedpriv.ckks.security import MAX_HOLDERS, MAX_SUBSETS, subsets_of
from fedpriv.encoding.ranges import check_range
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["AUTHORITY", "Mode", "check_committee", "default_holders", "least_threshold"]

Mode = Literal["authority", "threshold", "shared-key"]

AUTHORITY: Final = 0
"""Number of the key authority, which is no client."""

_DEFAULT_HOLDERS: Final = 5
_MODES: Final = ("authority", "threshold", "shared-key")


def default_holders(mode: Mode, clients: int) -> tuple[int, ...]:
    """The holders of a mode; of a committee the first five clients, or as many as there are.

    >>> default_holders("authority", 8), default_holders("threshold", 8), default_holders("shared-key", 3)
    ((0,), (1, 2, 3, 4, 5), (1, 2, 3))
    """
    if mode == "authority":
        return (AUTHORITY,)
    return tuple(range(1, (min(clients, _DEFAULT_HOLDERS) if mode == "threshold" else clients) + 1))


def least_threshold(holders: int, max_colluders: int, *, malicious: bool) -> int:
    """The smallest t of CK-1: t > c, and 2 t > K + c where the server may deviate; never below 2.

    >>> [least_threshold(5, 1, malicious=True), least_threshold(5, 1, malicious=False)]
    [4, 2]
    """
    majority = (holders + max_colluders) // 2 + 1 if malicious else 0
    return max(2, max_colluders + 1, majority)


def check_committee(
    mode: Mode, clients: int, holders: tuple[int, ...], threshold: int, max_colluders: int, *, malicious: bool
) -> None:
    """Refuse holders and a threshold that do not go with the mode, or that do not protect (CK-1).

    Raises:
        UnsafeParameters: they would run and not protect.
        UsageError: no such mode, holders or threshold.
    """
    if mode not in _MODES:
        raise UsageError(f"mode is {mode!r}; there are {', '.join(map(repr, _MODES))}.")
    if not isinstance(holders, tuple) or any(isinstance(h, bool) or not isinstance(h, int) for h in holders):
        raise UsageError("holders are the numbers of parties.")
    if mode != "threshold":
        if holders != default_holders(mode, clients) or threshold != 1:
            who = "party 0" if mode == "authority" else "all clients"
            raise UsageError(
                f"In mode {mode!r} the key is held by {who}, with a threshold of 1.",
                hint="Leave holders and threshold out, or use mode 'threshold'.",
            )
        return
    check_range("threshold", threshold, 1, max(len(holders), 1))
    if any(one >= other for one, other in pairwise(holders)) or not set(holders) <= set(
        range(1, clients + 1)
    ):
        raise UsageError(f"holders are numbers of clients, 1 to {clients}, ascending.")
    if len(holders) > MAX_HOLDERS:
        raise UnsafeParameters(
            f"A committee of {len(holders)} is too large.",
            hint=f"Take at most {MAX_HOLDERS} holders.",
        )
    least = least_threshold(len(holders), max_colluders, malicious=malicious)
    if threshold < least:
        why = "lets the colluders open sums by themselves"
        if threshold < 2:
            why = "makes every holder an authority that can be asked alone"
        elif threshold > max_colluders:
            why = "lets the server open two different sums of one round"
        raise UnsafeParameters(
            f"A threshold of {threshold} of {len(holders)} holders with {max_colluders} colluders {why}.",
            hint=f"Set it to at least {least}. [CK-1]"
            if least <= len(holders)
            else "Take more holders, or lower max_colluders. [CK-1]",
        )
    subsets = subsets_of(len(holders), threshold)
    if subsets > MAX_SUBSETS:
        raise UnsafeParameters(
            f"{threshold} of {len(holders)} holders have {subsets} subsets with a secret each, more than "
            f"{MAX_SUBSETS}.",
            hint="Take fewer holders, or a threshold nearer to their number.",
        )
