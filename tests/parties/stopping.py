"""A run that dies between two rounds."""

from __future__ import annotations

from fedpriv.federation.observer import RoundRecord, Silent


class StoppedError(Exception):
    """The run is killed."""


class StopAfter(Silent):
    """Ends a run after a round, as a failure of the machine would."""

    def __init__(self, round_: int) -> None:
        self.round = round_

    def round_finished(self, record: RoundRecord) -> None:
        if record.round == self.round:
            raise StoppedError
