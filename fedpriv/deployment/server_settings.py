"""What the server of a deployment has for itself: its data, its ledger, its patience."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fedpriv.errors import UsageError
from fedpriv.keystore.settings_file import Fields, read_settings

__all__ = ["ServerSettings", "load_server_settings"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server's own folder, in the app's absence.

    Attributes:
        roster: who takes part.
        test: held-out data, on which the model is measured.
        ledger: where the data of the roster's clients are accounted; its key lies beside it.
        run: folder of the run.
        authority: public key of the key authority, where there is one.
        model: folder of the base model, in place of the configuration's `model.id`.
        timeout: seconds after which a node that has not answered is given up, where it had not to train.
        training_timeout: the same where it had.
        start_timeout: seconds within which all nodes must be there, and have tried their data and model.
    """

    roster: Path
    test: Path
    ledger: Path
    run: Path
    authority: bytes | None = None
    model: Path | None = None
    timeout: float = 60.0
    training_timeout: float = 3600.0
    start_timeout: float = 120.0

    def __post_init__(self) -> None:
        for name in ("timeout", "training_timeout", "start_timeout"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be a number of seconds above 0.")


def load_server_settings(path: str | os.PathLike[str]) -> ServerSettings:
    """Read the server's settings; the paths in them count from their own folder.

    Raises:
        UsageError: they cannot be read, have a field too many or too few, or a value of another kind.
    """
    return read_settings(path, "server settings", _settings, see="`fedpriv deploy` writes some.")


def _settings(given: Fields) -> ServerSettings:
    return ServerSettings(
        roster=given.path("roster"),
        test=given.path("test"),
        ledger=given.path("ledger"),
        run=given.path("run"),
        authority=given.optional(given.key, "authority"),
        model=given.optional(given.path, "model"),
        timeout=given.number("timeout", 60.0),
        training_timeout=given.number("training_timeout", 3600.0),
        start_timeout=given.number("start_timeout", 120.0),
    )
