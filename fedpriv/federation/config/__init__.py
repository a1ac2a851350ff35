"""What a run was told: the configuration file, its tables and rules, and its commented form."""

from __future__ import annotations

from fedpriv.federation.config.config import Config, load

__all__ = ["Config", "load"]
