"""What a run keeps on disk between two rounds, so that it can go on after a crash.

Files are replaced whole: written beside, flushed to the disk, renamed.  A reader finds the old state or the
new one, never half of either.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import IntegrityError
from fedpriv.local_file import USUAL, append_to_file, replace_file, writable

__all__ = [
    "CHECKPOINT",
    "CHECKPOINTS",
    "Checkpoint",
    "append_line",
    "json_line",
    "read_json",
    "read_lines",
    "write_file",
    "write_json",
]


CHECKPOINT = Path("checkpoint") / "state.npz"
"""Where a run's folder keeps it."""

_WHAT = "file of the run"

CHECKPOINTS = "checkpoints.jsonl"
"""Where a run's folder keeps the countersigned heads of the ledger, one a released round."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The model and the optimiser after ``round`` rounds, and the ledger's head at that time.

    ``parameters`` is float32, shape ``(dimension,)``; ``head`` is the hash of the last row of the data set's
    chain, so that a ledger which went back in time is noticed.  ``local`` is what the clients' work keeps
    between rounds, the clipping norm where it moves.
    """

    round: int
    parameters: NDArray[np.float32]
    optimizer: Mapping[str, Any]
    head: str
    local: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint to ``path``, all or nothing."""
        arrays: dict[str, Any] = {
            "round": np.int64(self.round),
            "parameters": self.parameters,
            "head": np.str_(self.head),
            **{f"optimizer.{key}": np.asarray(value) for key, value in self.optimizer.items()},
            **{f"local.{key}": np.asarray(value) for key, value in self.local.items()},
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_file(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises:
            IntegrityError: the file is missing or is not a checkpoint.
        """
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                return cls(
                    round=int(stored["round"]),
                    parameters=stored["parameters"],
                    optimizer=_under("optimizer.", stored),
                    head=str(stored["head"]),
                    local=_under("local.", stored),
                )
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise IntegrityError(
                f"the checkpoint {path} cannot be read: {error}",
                hint="start a new run; what this one spent stays in the ledger",
            ) from None


def _under(prefix: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored arrays whose names begin with ``prefix``, without it."""
    return {key.removeprefix(prefix): stored[key] for key in stored if key.startswith(prefix)}


def write_file(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, all or nothing, durable on return."""
    with writable(path, _WHAT):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, what=_WHAT, mode=USUAL)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as indented JSON."""
    write_file(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        IntegrityError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{path} cannot be read: {error}", hint="check that this is the folder of a run"
        ) from None


def json_line(value: Any) -> bytes:
    """``value`` as one line of JSON."""
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


def append_line(path: Path, value: Any) -> None:
    """Append ``value`` as one line of JSON, durable on return."""
    append_to_file(path, json_line(value), what=_WHAT)


def read_lines(path: Path) -> list[Any]:
    """Read the whole lines of a file of JSON lines; a torn last line is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from None
