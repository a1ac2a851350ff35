"""The SQLite file that holds the rows: append-only, durable, one writer (protocols/ledger/spec.md, 8)."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fedpriv.errors import FedprivError, IntegrityError, UsageError
from fedpriv.ledger.body import parse_body
from fedpriv.ledger.rows import Row
from fedpriv.local_file import put_in_place

__all__ = ["Store"]

APPLICATION_ID: Final = 0x46505242  # "FPRB"
VERSION: Final = 1
BUSY_SECONDS: Final = 60.0

_MAGIC: Final = b"SQLite format 3\x00"
_COLUMNS: Final = "seq, dataset, kind, time, body, prev, signer, hash, signature"

_SCHEMA: Final = """
CREATE TABLE entries (
    dataset   TEXT    NOT NULL,
    seq       INTEGER NOT NULL CHECK (seq >= 0),
    kind      TEXT    NOT NULL,
    time      TEXT    NOT NULL,
    body      TEXT    NOT NULL,
    prev      BLOB    NOT NULL CHECK (length(prev) = 32),
    signer    BLOB    NOT NULL CHECK (length(signer) = 32),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    signature BLOB    NOT NULL CHECK (length(signature) = 64),
    PRIMARY KEY (dataset, seq)
) STRICT;

CREATE UNIQUE INDEX one_plan_a_run ON entries (json_extract(body, '$.run')) WHERE kind = 'PLAN';

CREATE TRIGGER entries_are_not_changed BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END;

CREATE TRIGGER entries_are_not_removed BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END;

CREATE TRIGGER entries_follow_one_another BEFORE INSERT ON entries
WHEN NEW.seq <> (SELECT coalesce(max(seq) + 1, 0) FROM entries WHERE dataset = NEW.dataset)
  OR (NEW.seq > 0 AND NEW.prev <> (
        SELECT hash FROM entries WHERE dataset = NEW.dataset AND seq = NEW.seq - 1))
BEGIN SELECT RAISE(ABORT, 'a ledger row must follow the last one'); END;

"""
_STAMP: Final = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"


class Store:
    """Rows in a file: what was appended before `transaction` returned is there after a crash.

    A missing file is created whole, with mode 0600, or not at all: a file that exists and holds no ledger is
    always an error, so that a truncated one cannot pass for a new one.  At rest every row is in the file
    itself and SQLite's log is empty: what SQLite cannot read at the end of a log, it drops without a word.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not os.path.lexists(self.path):
            _create(self.path)
        _check_file(self.path)
        with self._translated():
            self._connection = _connect(self.path)
        try:
            with self._translated():
                self._check_contents()
                self._empty_log()
        except FedprivError:
            self._connection.close()
            raise

    def close(self) -> None:
        """Release the file. Nothing is lost without it."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the write lock; commit durably at the end, or write nothing if anything was raised."""
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._empty_log()

    def append(self, row: Row) -> None:
        """Write ``row`` within a `transaction`."""
        self._connection.execute(
            f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 -- a constant
            (
                row.seq,
                row.dataset,
                row.kind,
                row.time,
                row.body_json.decode("utf-8"),
                row.prev,
                row.signer,
                row.hash,
                row.signature,
            ),
        )

    def rows(self, dataset: str, start: int = 0) -> list[Row]:
        """The rows of a data set from number ``start`` on, in order."""
        with self._translated():
            found = self._connection.execute(
                f"SELECT {_COLUMNS} FROM entries WHERE dataset = ? AND seq >= ? ORDER BY seq",  # noqa: S608
                (dataset, start),
            ).fetchall()
        return [_row(values) for values in found]

    def datasets(self) -> list[str]:
        """The data sets that have a chain, in the order of their fingerprints."""
        with self._translated():
            found = self._connection.execute("SELECT DISTINCT dataset FROM entries ORDER BY dataset")
            return [str(dataset) for (dataset,) in found]

    def dataset_of(self, run_id: str) -> str | None:
        """The data set that a run was planned on, ``None`` for an unknown run."""
        query = "SELECT dataset FROM entries WHERE kind = 'PLAN' AND json_extract(body, '$.run') = ?"
        with self._translated():
            found = self._connection.execute(query, (run_id,)).fetchone()
        return None if found is None else str(found[0])

    def _check_contents(self) -> None:
        """Refuse what is not a sound ledger of this version."""
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise _not_a_ledger(self.path)
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise IntegrityError(
                f"{self.path} was written by a newer version of fedpriv (ledger format {version}; this one "
                f"reads {VERSION}).",
                hint="Use the version that wrote it; an older one could miss what was spent.",
            )
        # The full check: only it compares a table with its indices, and so notices a row that fell out.
        (verdict,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if version < VERSION or verdict != "ok":
            raise _damaged(self.path)
        (mode,) = self._connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            raise _damaged(self.path)

    def _empty_log(self) -> None:
        """Bring the committed rows from the log into the file, and cut the log to nothing.

        They are durable in the log already.  Where another process reads or writes just now, the log is left
        to the next one that writes or opens; where the disk refuses, the next row will say so.
        """
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            with suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with _translated(self.path):
            yield


def _connect(path: Path) -> sqlite3.Connection:
    """An open connection whose commits reach the disk before they return."""
    # mode=rw: opening must never make a file, which only `_create` may.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for pragma in ("synchronous = FULL", "fullfsync = ON", "recursive_triggers = ON"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make an empty ledger beside ``path`` and give it its name in one step, unless another was faster."""
    if not os.path.isdir(path.parent):  # Path.is_dir raises where a folder may not be entered
        raise UsageError(
            f"The ledger {path} cannot be created: the folder {path.parent} does not exist or is closed to "
            "this user.",
            hint="Create the folder, or choose another place for the ledger.",
        )
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    os.close(handle)
    fresh = Path(name)
    try:
        with _translated(path):
            connection = sqlite3.connect(fresh, isolation_level=None)
            try:
                connection.executescript(f"BEGIN; {_SCHEMA} {_STAMP} COMMIT;")
                connection.execute("PRAGMA journal_mode = WAL")
            finally:
                connection.close()
        put_in_place(fresh, path)
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    finally:
        for leftover in (fresh, Path(f"{name}-wal"), Path(f"{name}-shm")):
            leftover.unlink(missing_ok=True)


def _check_file(path: Path) -> None:
    """Refuse what is no file, cannot be written, or does not begin as a ledger does."""
    if not path.is_file():
        raise UsageError(f"The ledger {path} is not a file.", hint="Choose the path of a file.")
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
        raise _unwritable(path, "permission denied")
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if not start:
        raise IntegrityError(
            f"The ledger {path} is empty; a ledger never is, so this one was truncated.",
            hint="Restore it from a copy. A new ledger in its place would forget what was spent.",
        )
    if start != _MAGIC:
        raise _not_a_ledger(path)


def _row(values: tuple[int, str, str, str, str, bytes, bytes, bytes, bytes]) -> Row:
    """A row from its columns; whether it holds is for the chain to say."""
    seq, dataset, kind, time, body, prev, signer, hash_, signature = values
    try:
        parsed = parse_body(body)
    except IntegrityError as error:
        raise IntegrityError(f"Row {seq} of data set {dataset}: {error}", hint=_RESTORE) from error
    return Row(seq, dataset, kind, time, parsed, prev, signer, hash_, signature)


_RESTORE: Final = "Restore the ledger from a copy, and find out who or what changed the file."


def _damaged(path: Path) -> IntegrityError:
    return IntegrityError(f"The ledger {path} is damaged: SQLite cannot read it as a whole.", hint=_RESTORE)


def _not_a_ledger(path: Path) -> IntegrityError:
    return IntegrityError(f"{path} is not a fedpriv ledger.", hint="Check the path of the ledger.")


def _unwritable(path: Path, reason: str | None) -> UsageError:
    return UsageError(
        f"The ledger {path} cannot be written: {(reason or 'the system refused').lower()}.",
        hint="Give this user write permission on the file and its folder, or choose another path.",
    )


def _disk_refused(path: Path, what: str) -> UsageError:
    return UsageError(
        f"The ledger {path} cannot be written: {what}.",
        hint="Make room on its disk, or find out what is wrong with it, and try again; no row that the "
        "ledger answered is lost.",
    )


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, by its result code."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise UsageError(f"The ledger {path} was closed.", hint="Open it again.") from error
    except UnicodeDecodeError as error:  # what sqlite3 raises where its own error quotes damaged text
        raise _damaged(path) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UsageError(
                f"The ledger {path} was in use by another process for {BUSY_SECONDS:.0f} seconds.",
                hint="Wait until the other process ends, then try again.",
            ) from error
        if code == sqlite3.SQLITE_FULL:
            raise _disk_refused(path, "its disk is full") from error
        if code == sqlite3.SQLITE_IOERR:
            raise _disk_refused(path, "the disk refused to read or write") from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            raise _unwritable(path, str(error)) from error
        raise _damaged(path) from error
