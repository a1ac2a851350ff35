"""What a data set may lose over all runs, as a caller of the library says it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from fedpriv import dp
from fedpriv.errors import UsageError

__all__ = ["Budget"]


@dataclass(frozen=True, slots=True)
class Budget:
    """The privacy budget of one data set over all runs on it, kept in a ledger.

    The first run on a data set sets it; later ones find it there, and what stands there counts
    (`fedpriv budget set` changes it).

    Args:
        epsilon: ε of all runs together.
        delta: δ, below one over the number of records.
        data: a name for the data set, for people; it identifies nothing.
        fingerprint: 16 to 128 lower-case hexadecimal digits that stand for the data set.  Left out, the
            records as the training sees them are compared with those of the ledger's data sets, so that data
            reordered, grown or cut are known again.  The same people's data in another form (cut or tokenised
            otherwise) are other records, and would get a budget of their own: give one fingerprint to all
            forms of them.
        version: declares the records a version with a budget of its own, where they share records with data
            that have one.  For whoever is in both, the two add up.
        ledger: the ledger's file; default: the one in ``$FEDPRIV_HOME``, else in the user's data directory.
        allow_large: an ε of 20 or more is meant.

    Raises:
        UsageError: an ε that is not positive and finite, or a δ outside (0, 1).
        UnsafeParameters: an ε of 20 or more that is not allowed.

    >>> Budget(epsilon=8, delta=1e-5)
    Budget(epsilon=8, delta=1e-05, data=None, fingerprint=None, version=None, ledger=None, allow_large=False)
    """

    epsilon: float
    delta: float
    data: str | None = None
    fingerprint: str | None = None
    version: str | None = None
    ledger: str | os.PathLike[str] | None = None
    allow_large: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon > 0.0):
            raise UsageError(f"the epsilon of a budget must be positive and finite, not {self.epsilon}")
        if not 0.0 < self.delta < 1.0:
            raise UsageError(f"the delta of a budget must lie between 0 and 1, not {self.delta}")
        dp.check_epsilon(self.epsilon, allow_large=self.allow_large)

    @property
    def path(self) -> Path | None:
        """The ledger's file, ``None`` for the default."""
        return None if self.ledger is None else Path(self.ledger)
