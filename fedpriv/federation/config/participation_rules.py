"""What ``run.participation`` can be: clients take turns in cohorts of one size, all known beforehand."""

from __future__ import annotations

from fedpriv.errors import ConfigError
from fedpriv.federation.config.tables import Peft, Privacy, Run
from fedpriv.peft import method_called

__all__ = ["check_equal_cohorts", "check_participation"]

_KEY = "run.participation"
_ROUNDED = 0.01
"""How far one over the share may be from a whole number: 0.333 means a third."""


def check_participation(run: Run, peft: Peft, privacy: Privacy) -> None:
    """Refuse a share that makes no whole number of cohorts, and what has turns or ranks of its own.

    Raises:
        ConfigError: naming the key.
    """
    if run.participation is None:
        return
    cohorts = 1 / run.participation
    if round(cohorts) < 2 or abs(cohorts - round(cohorts)) > _ROUNDED:
        raise ConfigError(
            f"`{_KEY}` is {run.participation:g}, which is not one over a whole number of cohorts",
            key=_KEY,
            hint="take 0.5, 0.25, 0.2, 0.125, ..., or leave it out for all clients in every round",
        )
    if privacy.mechanism == "banded-matrix":
        raise ConfigError(
            f"`{_KEY}` is set under 'banded-matrix', whose bands are the cohorts that take turns",
            key=_KEY,
            hint="leave it out, and set `privacy.bands`",
        )
    if "ranks" in method_called(peft.method).options:
        raise ConfigError(
            f"`{_KEY}` is set with {peft.method}: the server divides by the share of all clients that have a "
            "rank, and a cohort has another",
            key=_KEY,
            hint="leave it out, or choose another method",
        )


def check_equal_cohorts(clients: int, cohorts: int) -> int:
    """The size of each of so many cohorts.

    >>> check_equal_cohorts(12, 4)
    3

    Raises:
        ConfigError: they do not divide the clients.
    """
    if clients % cohorts:
        raise ConfigError(
            f"`{_KEY}` makes {cohorts} cohorts, and {clients} clients do not divide into them",
            key=_KEY,
            hint=f"have a multiple of {cohorts} clients: rates and noise are those of cohorts of one size",
        )
    return clients // cohorts
