"""The marks of a data set's records, in a file beside the ledger (protocols/ledger/spec.md, 11.4)."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.ledger.marks import MOST, Marks
from fedpriv.local_file import write_once

__all__ = ["MarksFolder"]

_SHORT: Final = 16
_RESTORE: Final = (
    "Restore the folder from a copy that was made together with the ledger. Without it nobody can tell "
    "whether records have a budget already, so no run is planned."
)


class MarksFolder:
    """The folder ``<ledger>.records``: files ``<data set>-<16 digits of the digest>.npy``, mode 0600.

    A file is named by what it holds and is never changed, so one that a crash left behind does no harm.
    """

    def __init__(self, ledger: Path) -> None:
        self.path = ledger.with_name(f"{ledger.name}.records")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes waiting, from looking for a data set to the row that names its marks.

        Raises:
            UsageError: the folder cannot be made or written.
        """
        with self._refused():
            self.path.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            for half in self.path.glob(".*.new"):  # what a process that was killed had begun to write
                half.unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)

    def write(self, dataset: str, marks: Marks) -> None:
        """Bring ``marks`` to the disk; lasting when it returns.

        Raises:
            UsageError: the system refused.
            IntegrityError: there is such a file, and it holds something else.
        """
        path = self._file(dataset, marks.digest().hex())
        content = io.BytesIO()
        np.save(content, marks.kept.astype("<u8"), allow_pickle=False)
        with self._refused():
            write_once(path, content.getvalue())
        self.read(dataset, marks.digest().hex())

    def read(self, dataset: str, digest: str) -> Marks:
        """The marks of ``dataset`` with this digest (hex, or the first digits of it).

        Raises:
            IntegrityError: the file is missing, or not as it was written.
        """
        path = self._file(dataset, digest)
        try:
            kept = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        except OSError as error:
            raise IntegrityError(
                f"The marks of a data set's records, {path}, cannot be read: {error.strerror}.", hint=_RESTORE
            ) from None
        except (ValueError, EOFError, SyntaxError, KeyError):
            raise _changed(path) from None
        if kept.dtype != np.dtype("<u8") or kept.ndim != 1 or not 1 <= len(kept) <= MOST:
            raise _changed(path)
        marks = Marks.of(kept.astype(np.uint64))
        if not marks.digest().hex().startswith(digest) or not np.array_equal(marks.kept, kept):
            raise _changed(path)
        return marks

    def digests(self, dataset: str) -> tuple[str, ...]:
        """The first digits of the digests of the files that there are of a data set."""
        return tuple(sorted(file.stem.rpartition("-")[2] for file in self.path.glob(f"{dataset}-*.npy")))

    def keep_only(self, dataset: str, digest: str) -> None:
        """Remove the files of a data set that no row needs any more."""
        kept = self._file(dataset, digest)
        for file in self.path.glob(f"{dataset}-*.npy"):
            if file != kept:
                file.unlink(missing_ok=True)

    def _file(self, dataset: str, digest: str) -> Path:
        return self.path / f"{dataset}-{digest[:_SHORT]}.npy"

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"The marks of the records cannot be written to {self.path}: {error.strerror}.",
                hint="Give this user access to the ledger's folder and make room there; nothing was spent.",
            ) from None


def _changed(path: Path) -> IntegrityError:
    return IntegrityError(
        f"The marks of a data set's records, {path}, are not as they were written.", hint=_RESTORE
    )
