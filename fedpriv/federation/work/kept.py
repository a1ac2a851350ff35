"""What each client keeps of the model to itself from round to round (protocols/dp/spec.md, 11.10).

It is as private as the client's records: it is made of them without noise, and never sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.federation.workplace import Workplace
from fedpriv.local_file import PRIVATE, replace_file, writable
from fedpriv.peft import KeptPart, Manifest, PeftSpec

__all__ = ["Kept", "newest_part"]

_WHAT: Final = "client's own part of the model"
_NAME: Final = re.compile(r"round-([0-9]{6,})\.safetensors")
_OWNER: Final = 0o700
_NEWEST: Final = 2
"""Rounds that are kept of a client: the last, and the one before it, from which the last can be run again."""


@dataclass(slots=True)
class Kept:
    """The kept values of each client after its rounds, on its own disk or in memory.

    Attributes:
        manifest, spec: of the model.
        mask: which of its coordinates are kept, bool, shape (d,).
        start: the model that the run starts from, float32, shape (d,).
        folders: the folder of a client, by its number; ``None``: nothing is written down.
    """

    manifest: Manifest
    spec: PeftSpec
    mask: NDArray[np.bool_]
    start: NDArray[np.float32]
    folders: Callable[[int], Path] | None = None
    _memory: dict[int, dict[int, NDArray[np.float32]]] = field(default_factory=dict, init=False)

    @classmethod
    def of_work(cls, work: Workplace, folders: Callable[[int], Path] | None = None) -> Self | None:
        """What clients keep in a run; ``None`` where its method lets them keep nothing."""
        mask = work.spec.kind.keeps(work.manifest, work.spec)
        return None if mask is None else cls(work.manifest, work.spec, mask, work.start, folders)

    def of(self, client: int, *, before: int | None = None) -> NDArray[np.float32]:
        """The values that a client has, float32, shape (kept,).

        Args:
            client: its number, from 1.
            before: those that it had before this round, also where the round has been run already; ``None``:
                the newest.

        Raises:
            IntegrityError: its file is damaged, or belongs to another model.
        """
        rounds = [round_ for round_ in self._rounds(client) if before is None or round_ < before]
        if not rounds:
            return self.start[self.mask]
        if self.folders is None:
            return self._memory[client][max(rounds)].copy()
        path = self._path(client, max(rounds))
        part = _read(path)
        if (part.spec, part.manifest_digest) != (self.spec, self.manifest.digest()):
            raise IntegrityError(
                f"{path} is a client's own part of another model.",
                hint="Is the folder that of another run?",
            )
        return part.values()

    def part(self, client: int) -> KeptPart:
        """The newest that a client has, as it is written down."""
        return KeptPart.of(self.manifest, self.spec, max(self._rounds(client), default=0), self.of(client))

    def joined(
        self, client: int, parameters: NDArray[np.float32], *, before: int | None = None
    ) -> NDArray[np.float32]:
        """A client's own model, shape (d,): the shared ``parameters`` with what it keeps (see :meth:`of`)."""
        own = parameters.copy()
        own[self.mask] = self.of(client, before=before)
        return own

    def keep(self, client: int, round_: int, model: NDArray[np.floating]) -> None:
        """Keep a client's part of ``model``, shape (d,), as it is after ``round_``; durable on return.

        Raises:
            UsageError: it cannot be written.
        """
        values = model[self.mask].astype(np.float32)
        if self.folders is None:
            self._memory.setdefault(client, {})[round_] = values
        else:
            path, part = self._path(client, round_), KeptPart.of(self.manifest, self.spec, round_, values)
            with writable(path, _WHAT):
                path.parent.mkdir(mode=_OWNER, parents=True, exist_ok=True)
            replace_file(path, part.encode(), what=_WHAT, mode=PRIVATE)
        # What is of a later round is of a history that did not come to be.
        upto = sorted(known for known in self._rounds(client) if known <= round_)
        for known in set(self._rounds(client)) - set(upto[-_NEWEST:]):
            if self.folders is None:
                del self._memory[client][known]
            else:
                self._path(client, known).unlink(missing_ok=True)

    def _rounds(self, client: int) -> list[int]:
        if self.folders is None:
            return list(self._memory.get(client, ()))
        return list(_files(self.folders(client)))

    def _path(self, client: int, round_: int) -> Path:
        assert self.folders is not None  # noqa: S101 -- asked for where files are kept only
        return self.folders(client) / f"round-{round_:06d}.safetensors"


def newest_part(place: Path) -> KeptPart:
    """The part in a file, or the newest of those in a client's folder.

    Raises:
        UsageError: there is none.
        IntegrityError: it is damaged.
    """
    files = _files(place)
    path = files[max(files)] if files else place
    if not path.is_file():
        raise UsageError(
            f"{place} holds no part of a model that a client keeps.",
            hint="Name the folder that ends in `kept` or a file in it.",
        )
    return _read(path)


def _files(folder: Path) -> dict[int, Path]:
    """The files of a client's folder, by their round."""
    if not folder.is_dir():
        return {}
    found = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in found if match}


def _read(path: Path) -> KeptPart:
    try:
        return KeptPart.decode(path.read_bytes())
    except (OSError, IntegrityError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise IntegrityError(
            f"{path} cannot be used: {reason}.",
            hint="Without it the client goes on from the round before, or from the start.",
        ) from None
