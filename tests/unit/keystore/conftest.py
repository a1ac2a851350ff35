"""What the tests of this room share."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user whom permissions bind, as the superuser is not."""
    folder = Path(tempfile.mkdtemp(prefix="fedpriv-unprivileged-"))
    superuser = os.geteuid() == 0
    if superuser:
        os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if superuser:
            os.seteuid(0)
        shutil.rmtree(folder)


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """Within ``full_disk(room)`` no file can grow beyond ``room`` bytes: a write ends part of the way."""

    @contextmanager
    def limited(room: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
