"""Level secrets: what a client gives away of itself once it is known how many survive, and no more than that.

A session may have levels l_1 < … < l_L, numbers of survivors.  Each client has a secret for each level, and
with u survivors the one of the highest level that u reaches is recovered, of each survivor.  What hangs on a
secret (components of noise that u survivors do not need, protocols/dp/spec.md section 10) is the caller's.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from fedpriv.crypto.digest import digest
from fedpriv.errors import UsageError

__all__ = ["LEVEL_BYTES", "MAX_LEVELS", "check_levels", "level_chain", "level_of", "opens_level"]

LEVEL_BYTES = 32
MAX_LEVELS = 128

_DOMAIN = "fedpriv secagg v2 level"


def check_levels(levels: Any, min_survivors: int, clients: int) -> None:
    """Refuse what are no levels of a session.

    Raises:
        UsageError: no tuple of whole numbers, not ascending, not above m, above n, or too many.
    """
    if not isinstance(levels, tuple) or any(
        isinstance(level, bool) or not isinstance(level, int) for level in levels
    ):
        raise UsageError("The levels of a session are a tuple of whole numbers.")
    if len(levels) > MAX_LEVELS:
        raise UsageError(f"A session has at most {MAX_LEVELS} levels, not {len(levels)}.")
    if levels and (list(levels) != sorted(set(levels)) or levels[0] <= min_survivors or levels[-1] > clients):
        raise UsageError(
            f"The levels of a session ascend from above the {min_survivors} survivors that it needs to at "
            f"most its {clients} clients."
        )


def level_of(levels: tuple[int, ...], survivors: int) -> int:
    """Which level so many survivors reach, 1..L; 0 is none.

    >>> [level_of((6, 8), survivors) for survivors in (5, 6, 7, 8)]
    [0, 1, 1, 2]
    """
    return bisect_right(levels, survivors)


def level_chain(round_: int, client: int, top: bytes, levels: int) -> tuple[bytes, ...]:
    """The secrets of all levels from that of the highest: each gives those below it and none above.

    Args:
        round_, client: whose they are.
        top: s_L, 32 fresh uniform bytes.
        levels: L.

    Returns:
        s_0, s_1, …, s_L, 32 bytes each.  s_0 commits to all (protocols/secagg/spec.md, section 3).
    """
    chain = [top]
    for level in range(levels, 0, -1):
        chain.append(_below(round_, client, level, chain[-1]))
    return tuple(reversed(chain))


def opens_level(round_: int, client: int, level: int, secret: bytes, commitment: bytes) -> bool:
    """Whether ``secret`` is the client's of that level, given what it committed to (SA-18)."""
    return level_chain(round_, client, secret, level)[0] == commitment


def _below(round_: int, client: int, level: int, secret: bytes) -> bytes:
    """s_(k-1) from s_k."""
    return digest(
        _DOMAIN, round_.to_bytes(8, "big"), client.to_bytes(4, "big"), level.to_bytes(4, "big"), secret
    )
