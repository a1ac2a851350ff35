"""Private training as library calls: a loop of one's own, with the budget of its data set kept in the ledger.

Importing this room loads no torch; its functions do.
"""

from __future__ import annotations

from fedpriv.private.budget import Budget
from fedpriv.private.make import make_private

__all__ = ["Budget", "make_private"]
