"""Which ledger a run of a configuration is accounted in."""

from __future__ import annotations

from pathlib import Path

from fedpriv.federation.config import Config
from fedpriv.ledger.home import home

__all__ = ["ledger_path"]


def ledger_path(config: Config) -> Path:
    """The ledger that a run of ``config`` is accounted in."""
    if config.budget.ledger is not None:
        return config.resolve(config.budget.ledger)
    return home() / "ledger.sqlite"
