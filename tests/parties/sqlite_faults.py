"""What reaches the disk below SQLite: recorded, refused at one place, or laid out as after a power failure.

The callbacks of SQLite's own file layer (its VFS) are replaced in this process, through ctypes, in the
library that Python's sqlite3 module uses; `available` says whether that library can be reached.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_FULL, _IOERR = 13, 10
_REFUSALS = {"write": _IOERR | (3 << 8), "sync": _IOERR | (4 << 8), "truncate": _IOERR | (6 << 8)}
_NAMES = (
    *("Close", "Read", "Write", "Truncate", "Sync", "FileSize", "Lock", "Unlock", "CheckReservedLock"),
    *("FileControl", "SectorSize", "DeviceCharacteristics", "ShmMap", "ShmLock", "ShmBarrier", "ShmUnmap"),
    *("Fetch", "Unfetch"),
)

_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_OPEN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
)


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods``."""

    _fields_ = [("version", ctypes.c_int), *((name, ctypes.c_void_p) for name in _NAMES)]


class _File(ctypes.Structure):
    """The head of every ``sqlite3_file``."""

    _fields_ = [("methods", ctypes.POINTER(_Methods))]


class _Vfs(ctypes.Structure):
    """The head of ``sqlite3_vfs``."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
    ]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing asked of the disk: ``kind`` is write, sync or truncate, ``file`` the name of a file."""

    kind: str
    file: str
    offset: int = 0
    data: bytes = field(default=b"", repr=False)


# Asked before each operation with its place in the sequence; gives how it goes wrong, None for not at all.
Fault = Callable[[int, Operation], str | None]


def available() -> bool:
    """Whether the library below Python's sqlite3 module is one that ctypes can reach."""
    return _library() is not None


@contextmanager
def watched(fault: Fault = lambda _, __: None) -> Iterator[list[Operation]]:
    """Record what SQLite does to the files that it opens from here on, and let ``fault`` interfere.

    A fault is ``refused`` (an input or output error, nothing done), ``short`` (half of a write done, then the
    error) or ``full`` (half of a write done, then: the disk is full).
    """
    library = _library()
    assert library is not None
    vfs = _Vfs.from_address(library.sqlite3_vfs_find(None))
    original = vfs.open
    done: list[Operation] = []
    alive: list[object] = []  # callbacks that SQLite may still call

    def opened(own: int, name: int | None, file: int, flags: int, out: int) -> int:
        code = int(_OPEN(original)(own, name, file, flags, out))
        if code == 0 and name:
            head = _File.from_address(file)
            head.methods = _interposed(
                head.methods.contents, Path(ctypes.string_at(name).decode()).name, done, fault, alive
            )
        return code

    replacement = _OPEN(opened)
    vfs.open = ctypes.cast(replacement, ctypes.c_void_p).value
    try:
        yield done
    finally:
        vfs.open = original


def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        library.sqlite3_vfs_find.restype = ctypes.c_void_p
    except (OSError, AttributeError):
        return None
    return library


def _interposed(
    below: _Methods, name: str, done: list[Operation], fault: Fault, alive: list[object]
) -> ctypes.POINTER[_Methods]:  # type: ignore[type-arg]
    """The methods ``below`` with write, truncate and sync recorded, for one open file."""
    write, truncate, sync = _WRITE(below.Write), _TRUNCATE(below.Truncate), _SYNC(below.Sync)

    def begin(operation: Operation) -> str | None:
        done.append(operation)
        return fault(len(done) - 1, operation)

    def on_write(file: int, data: int, size: int, offset: int) -> int:
        wrong = begin(Operation("write", name, offset, ctypes.string_at(data, size)))
        if wrong is None:
            return int(write(file, data, size, offset))
        if wrong != "refused":
            write(file, data, size // 2, offset)
        return _FULL if wrong == "full" else _REFUSALS["write"]

    def on_truncate(file: int, size: int) -> int:
        wrong = begin(Operation("truncate", name, size))
        return int(truncate(file, size)) if wrong is None else _REFUSALS["truncate"]

    def on_sync(file: int, flags: int) -> int:
        wrong = begin(Operation("sync", name))
        return int(sync(file, flags)) if wrong is None else _REFUSALS["sync"]

    above = _Methods.from_buffer_copy(below)
    callbacks = _WRITE(on_write), _TRUNCATE(on_truncate), _SYNC(on_sync)
    for method, callback in zip(("Write", "Truncate", "Sync"), callbacks, strict=True):
        setattr(above, method, ctypes.cast(callback, ctypes.c_void_p).value)
    alive += [above, *callbacks]
    return ctypes.pointer(above)


class Disk:
    """What the files hold after a prefix of recorded operations: safely, and not yet safely."""

    def __init__(self, start: dict[str, bytes]) -> None:
        self.safe = {name: bytearray(content) for name, content in start.items()}
        self.pending: list[Operation] = []

    def take(self, operation: Operation) -> None:
        """One more operation; a sync makes all of its file safe."""
        if operation.kind != "sync":
            self.pending.append(operation)
            return
        for earlier in [one for one in self.pending if one.file == operation.file]:
            _apply(self.safe, earlier)
        self.pending = [one for one in self.pending if one.file != operation.file]

    def after_kill(self, last: Operation | None = None) -> dict[str, bytes]:
        """All that was asked is there; of ``last``, where given, the first half."""
        files = {name: bytearray(content) for name, content in self.safe.items()}
        for operation in self.pending:
            _apply(files, operation)
        if last is not None and last.kind == "write":
            half = last.data[: len(last.data) // 2]
            _apply(files, Operation("write", last.file, last.offset, half))
        return {name: bytes(content) for name, content in files.items()}

    def after_power_failure(self, chance: random.Random) -> dict[str, bytes]:
        """Of what was not synchronised, each 512-byte sector is there or not; so is each truncation."""
        files = {name: bytearray(content) for name, content in self.safe.items()}
        for operation in self.pending:
            if operation.kind == "truncate":
                if chance.random() < 0.5:
                    _apply(files, operation)
                continue
            end = operation.offset + len(operation.data)
            start = operation.offset
            while start < end:
                stop = min(end, start // 512 * 512 + 512)
                if chance.random() < 0.5:
                    piece = operation.data[start - operation.offset : stop - operation.offset]
                    _apply(files, Operation("write", operation.file, start, piece))
                start = stop
        return {name: bytes(content) for name, content in files.items()}


def _apply(files: dict[str, bytearray], operation: Operation) -> None:
    content = files.setdefault(operation.file, bytearray())
    if operation.kind == "truncate":
        del content[operation.offset :]
        return
    if len(content) < operation.offset:
        content.extend(bytes(operation.offset - len(content)))
    content[operation.offset : operation.offset + len(operation.data)] = operation.data
