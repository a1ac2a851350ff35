"""What a run tells while it goes, written to a file by the server's process and read by another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fedpriv.federation.observer import RoundRecord, RunObserver, RunResult
from fedpriv.federation.planning.plan import Plan
from fedpriv.local_file import PRIVATE, append_to_file, replace_file

__all__ = ["PROGRESS", "Progress", "ProgressFile"]

PROGRESS: Final = "progress.jsonl"
"""Its name in the server's folder."""

_WHAT: Final = "file of the run's progress"


class ProgressFile:
    """An observer that writes one line an event; each run begins the file anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        replace_file(path, b"", what=_WHAT, mode=PRIVATE)

    def started(self, plan: Plan, resumed_from: int) -> None:
        """The plan is committed; all that read know it."""
        self._write("started", resumed_from=resumed_from)

    def round_finished(self, record: RoundRecord) -> None:
        """A sum was released, accounted and applied."""
        self._write("round_finished", **record.to_dict())

    def round_lost(self, round_: int, reason: str) -> None:
        """A round ended without a sum."""
        self._write("round_lost", round=round_, reason=reason)

    def finished(self, result: RunResult) -> None:
        """The adapter is written and the run is closed in the ledger."""
        self._write("finished", **result.to_dict())

    def failed(self, text: str, hint: str) -> None:
        """The run stopped."""
        self._write("failed", text=text, hint=hint)

    def _write(self, event: str, **values: Any) -> None:
        append_to_file(self._path, (json.dumps({"event": event, **values}) + "\n").encode(), what=_WHAT)


class Progress:
    """Reads a file of progress as it grows, and tells an observer.

    Attributes:
        result: of the run, once it is finished.
        failure: what the run said when it stopped, and what to do.
    """

    def __init__(self, path: Path, plan: Plan, observer: RunObserver) -> None:
        self._path = path
        self._plan = plan
        self._observer = observer
        self._read = 0
        self.result: RunResult | None = None
        self.failure: tuple[str, str] | None = None

    def look(self) -> None:
        """Tell what was written since the last look."""
        for line in self._lines():
            event = json.loads(line)
            getattr(self, f"_{event.pop('event')}")(**event)

    def _lines(self) -> Iterator[bytes]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):  # half of it is not written yet
                    return
                self._read += len(line)
                yield line

    def _started(self, resumed_from: int) -> None:
        self._observer.started(self._plan, resumed_from)

    def _round_finished(self, **values: Any) -> None:
        self._observer.round_finished(_record(values))

    def _round_lost(self, round: int, reason: str) -> None:  # noqa: A002 - the key's name in the file
        self._observer.round_lost(round, reason)

    def _finished(self, **values: Any) -> None:
        from fedpriv.training import Continuations

        places = {name: Path(values[name]) for name in ("run_dir", "adapter")}
        written = {
            name: Continuations(**values[name])
            for name in ("continuations", "base_continuations")
            if values[name] is not None
        }
        self.result = RunResult(**{**values, **places, **written})
        self._observer.finished(self.result)

    def _failed(self, text: str, hint: str) -> None:
        self.failure = (text, hint)


def _record(values: Mapping[str, Any]) -> RoundRecord:
    dropped = tuple((int(client), str(stage)) for client, stage in values["dropped"])
    return RoundRecord(**{**values, "survivors": tuple(values["survivors"]), "dropped": dropped})
