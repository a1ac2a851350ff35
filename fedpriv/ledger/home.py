"""Where an organisation keeps what outlives a run: its ledger and the key that signs it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from fedpriv.crypto import SigningKey
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.ledger.ledger import Ledger
from fedpriv.local_file import write_once

__all__ = ["home", "now", "open_ledger"]

_SEED_BYTES = 32


def home() -> Path:
    """``$FEDPRIV_HOME``, else the user's data directory (XDG base directory specification)."""
    if explicit := os.environ.get("FEDPRIV_HOME"):
        return Path(explicit).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "fedpriv"


def now() -> str:
    """The time in UTC, RFC 3339, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def open_ledger(path: Path | None = None) -> Ledger:
    """Open the ledger at ``path`` (default: the one in :func:`home`), making it and its key where missing."""
    path = path or home() / "ledger.sqlite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the ledger's folder {path.parent} cannot be made: {error.strerror}",
            hint="set FEDPRIV_HOME or [budget] ledger to a place that can be written",
        ) from None
    return Ledger.open(path, _signing_key(path.with_suffix(".key")), now)


def _signing_key(path: Path) -> SigningKey:
    """Read the ledger's key, or make one from the operating system's entropy; never overwrite."""
    try:
        if not path.exists():
            write_once(path, os.urandom(_SEED_BYTES))  # half a key would lock its owner out
        seed = path.read_bytes()  # where another process was faster, its key is the one
    except OSError as error:
        raise UsageError(
            f"the ledger's key {path} cannot be read or made: {error.strerror}",
            hint="give this user access to it, or set FEDPRIV_HOME or [budget] ledger to another place",
        ) from None
    if len(seed) != _SEED_BYTES:
        raise IntegrityError(
            f"the ledger's key {path} has {len(seed)} bytes, not {_SEED_BYTES}",
            hint="restore it from a backup; without it the ledger can be read but not continued",
        )
    return SigningKey.from_seed(seed)
