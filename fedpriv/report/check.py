"""One finding of a verification, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Check", "Verification"]

_LONGEST: Final = 2000


@dataclass(frozen=True, slots=True)
class Check:
    """``status`` is ``ok``, ``failed``, or ``note`` for what could not be checked or only wants saying.

    ``where`` names the file and, where there is one, the row or line; ``what`` says what was found.  Both may
    quote a hostile file, so each is kept to one line that a terminal shows as it is.

    >>> print(Check("adapter", "a\\nb", "failed", "x" * 5000).where)
    a\\nb
    """

    name: str
    where: str
    status: Literal["ok", "failed", "note"]
    what: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", _one_line(self.where))
        object.__setattr__(self, "what", _one_line(self.what))

    def to_dict(self) -> dict[str, str]:
        """The check as the report holds it."""
        return {"name": self.name, "where": self.where, "status": self.status, "what": self.what}

    def __str__(self) -> str:
        return f"{self.name}: {self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What :func:`~fedpriv.report.verify` found; ``finished`` says whether the run reached its end.

    >>> Verification((Check("adapter", "adapter/", "failed", "its digest is not the ledger's"),), True).ok
    False
    """

    checks: tuple[Check, ...]
    finished: bool

    @property
    def ok(self) -> bool:
        """Whether nothing failed (notes do not count)."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, in order."""
        return tuple(check for check in self.checks if check.status == "failed")


def _one_line(text: str) -> str:
    """``text`` cut to a length that is read, with everything escaped that would not show as itself."""
    short = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short)
