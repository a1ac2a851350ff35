"""A ledger that its user may not write: what they are told."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

from parties.ledger_work import begin, examine, explained, opened

from fedpriv.errors import FedprivError

NOBODY = 65534
CLOSED = ("file", "folder", "way to the folder")


def without_permission(what: str) -> str:
    """What a user who may not write ``what`` is told; the superuser tries as another user."""
    with tempfile.TemporaryDirectory(prefix="fedpriv-ledger-") as name:
        top = Path(name)
        folder = top / "a" / "b"
        folder.mkdir(parents=True)
        path = folder / "ledger.db"
        given = begin(path)
        if os.geteuid() == 0:
            for entry in (top, folder.parent, folder, path):
                os.chown(entry, NOBODY, NOBODY)
        closed = {"file": (path, 0o400), "folder": (folder, 0o500), "way to the folder": (folder.parent, 0)}
        where, mode = closed[what]
        before = where.stat().st_mode
        where.chmod(mode)
        try:
            context = multiprocessing.get_context("forkserver")
            here, there = context.Pipe()
            child = context.Process(target=_as_nobody, args=(path, there))
            child.start()
            said = str(here.recv())
            child.join()
            here.close()
            there.close()
        finally:
            where.chmod(before)
        assert not examine(path, given).refused
        return said


def _as_nobody(path: Path, answers: Connection) -> None:
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        opened(path).close()
    except FedprivError as error:
        explained(error, path)
        answers.send(f"{type(error).__name__}: {error}")
    except BaseException as error:
        answers.send(repr(error))
        raise
    else:
        answers.send("opened")
