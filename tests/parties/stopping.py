"""A run that dies between two rounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedpriv.federation.config import Config
from fedpriv.federation.observer import RoundRecord, Silent
from fedpriv.federation.run import run


class StoppedError(Exception):
    """The run is killed."""


class StopAfter(Silent):
    """Ends a run after a round, as a failure of the machine would."""

    def __init__(self, round_: int) -> None:
        self.round = round_

    def round_finished(self, record: RoundRecord) -> None:
        if record.round == self.round:
            raise StoppedError


def straight_and_stopped(folder: Path, config: Callable[[str], Config], after: int) -> tuple[Path, Path]:
    """The folders of a run that goes straight through, and of one that dies after a round and is resumed.

    ``config`` gives the configuration of the ``straight`` and of the ``stopped`` one, each with its own
    ledger.
    """
    straight, stopped = folder / "straight", folder / "stopped"
    run(config("straight"), straight)
    with pytest.raises(StoppedError):
        run(config("stopped"), stopped, observer=StopAfter(after))
    run(config("stopped"), stopped, resume=True)
    return straight, stopped
