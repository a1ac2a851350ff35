"""A file that gets its name once it is whole and on the disk, or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["put_in_place"]


def put_in_place(fresh: Path, path: Path) -> None:
    """Give the file ``fresh`` the name ``path`` as well, unless another file has it; lasting when it returns.

    Raises:
        OSError: the system refused.
    """
    _sync(fresh)
    with suppress(FileExistsError):
        os.link(fresh, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
