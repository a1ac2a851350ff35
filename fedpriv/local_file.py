"""Files on one's own disk: written whole or not at all, durable on return, and private ones kept so."""

from __future__ import annotations

import errno
import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fedpriv.errors import UsageError

__all__ = [
    "PRIVATE",
    "PUBLIC",
    "USUAL",
    "append_to_file",
    "create_file",
    "put_in_place",
    "read_private",
    "read_text",
    "replace_file",
    "writable",
    "write_once",
]

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
USUAL: Final = None
"""The permissions that the user's umask leaves."""

_OTHERS: Final = 0o077
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def create_file(path: Path, content: bytes, *, what: str, mode: int) -> None:
    """Make a file that was not there, durable on return; a link in its place counts as a file.

    Args:
        path: where.
        content: all of it.
        what: what it is, for the error's sentence: ``"private key"``.
        mode: its permissions, whatever the umask is.

    Raises:
        UsageError: it exists, or the system refuses; then no part of it is left.
    """
    with writable(path, what):
        try:
            _write_new(path, (content,), mode)
        except FileExistsError:
            raise UsageError(
                f"The {what} {path} exists, and is never overwritten.",
                hint="Choose another path, or move the file away.",
            ) from None
        _sync(path.parent)


def replace_file(path: Path, *parts: bytes, what: str, mode: int | None = PRIVATE) -> None:
    """Put ``parts``, one after another, in the place of a file: all or nothing, durable on return.

    They are written beside it, under its name with ``.new`` behind.  The caller sees to it that nobody else
    does the same at the same time.

    Raises:
        UsageError: the system refuses; the old content is still there.
    """
    beside = path.with_name(f"{path.name}.new")
    with writable(path, what):
        with suppress(FileNotFoundError):
            os.unlink(beside)  # of a process that died here
        _write_new(beside, parts, mode)
        try:
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
        _sync(path.parent)


def append_to_file(path: Path, content: bytes, *, what: str) -> None:
    """Write ``content`` at the end of a file, made where it is missing; durable on return.

    Raises:
        UsageError: the system refuses; a part of it may be there.
    """
    with writable(path, what), path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_once(path: Path, content: bytes) -> None:
    """A private file that is there whole or not at all, unless there is one already; lasting when it returns.

    What a process that died here leaves is called ``.*.new``.

    Raises:
        OSError: the system refused.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        put_in_place(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def put_in_place(fresh: Path, path: Path) -> None:
    """Give the file ``fresh`` the name ``path`` as well, unless another file has it; lasting when it returns.

    Raises:
        OSError: the system refused.
    """
    _sync(fresh)
    with suppress(FileExistsError):
        os.link(fresh, path)
    _sync(path.parent)


def read_private(path: Path, *, what: str, follow_links: bool = True) -> bytes:
    """The content of a file that nobody but its owner may use.

    The permissions are those of the file that was opened, so neither a link nor a race can hide it.

    Raises:
        FileNotFoundError: there is none.
        UsageError: its group or others may read, write or execute it; it is a folder, or a link although
            ``follow_links`` is false; it cannot be read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags)
        try:
            _check_private(path, what, os.fstat(handle))
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP and not follow_links:
            raise UsageError(
                f"The {what} {path} is a link, which replacing it would break.",
                hint="Name the file itself.",
            ) from None
        raise UsageError(
            f"The {what} {path} cannot be read: {_reason(error)}.",
            hint="Run as the user that it belongs to.",
        ) from error


def read_text(path: Path, what: str) -> str:
    """A public text file, whole.

    Raises:
        UsageError: there is none, it cannot be read, or it is no text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise UsageError(f"There is no {what} {path}.", hint="Check the path.") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a text file, so no {what}.", hint="Check the path.") from None
    except OSError as error:
        raise UsageError(
            f"The {what} {path} cannot be read: {_reason(error)}.", hint="Check the path."
        ) from error


@contextmanager
def writable(path: Path, what: str) -> Iterator[None]:
    """Turn a refusal of the operating system to write into one sentence."""
    try:
        yield
    except OSError as error:
        missing = error.errno == errno.ENOENT
        reason = f"the folder {path.parent} does not exist" if missing else _reason(error)
        raise UsageError(
            f"The {what} {path} cannot be written: {reason}.",
            hint="See that the folder exists, may be written by this user, and has room on its disk.",
        ) from error


def _write_new(path: Path, parts: tuple[bytes, ...], mode: int | None) -> None:
    """Write a new file and bring it to the disk, or leave none."""
    handle = os.open(path, _NEW, 0o666 if mode is None else mode)
    try:
        if mode is not None:
            os.fchmod(handle, mode)
        with os.fdopen(handle, "wb", closefd=False) as file:
            for part in parts:
                file.write(part)
        os.fsync(handle)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_private(path: Path, what: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"The {what} {path} is a folder.", hint="Name a file.")
    if status.st_mode & _OTHERS:
        raise UsageError(
            f"Others than its owner may use the {what} {path} (mode {stat.S_IMODE(status.st_mode):04o}).",
            hint=f"Run: chmod 600 {shlex.quote(str(path))}; and replace it if somebody may have used it.",
        )


def _reason(error: OSError) -> str:
    return (error.strerror or "the system refused").lower()
