"""Native objects of SEAL as bytes, by way of a file.

The bindings give no access to the residues of an object.  But they save objects to files and load them, in a
documented form: a header, and the residues as 64-bit words.  Here the file is in memory and has no name
(``memfd_create``).  A system without such files gets a temporary file that only this user may read and that
is removed at once; secret shares pass through it, so its directory should not be on a disk.

Nothing here imports TenSEAL: objects come with the methods ``save`` and ``load``.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["load", "saved", "split"]

_HEADER: Final = struct.Struct("<5sBHQ")  # magic, sizes and version; compression; reserved; bytes in all
_UNCOMPRESSED, _ZSTANDARD = 0, 2
_HEAD_ROOM: Final = 1024  # of what is not residues in a saved object: about a hundred bytes


def saved(native: Any, size: int) -> tuple[bytes, bytes]:
    """What SEAL saves of an object of ``size`` bytes of residues: the start of its header, and the body."""
    import zstandard

    with _file() as (descriptor, path):
        native.save(path)
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    start, compression, _, _ = _HEADER.unpack_from(data)
    body = memoryview(data)[_HEADER.size :]
    if compression == _ZSTANDARD:
        return start, zstandard.ZstdDecompressor().decompress(body, max_output_size=size + _HEAD_ROOM)
    if compression == _UNCOMPRESSED:
        return start, bytes(body)
    raise UsageError(
        "This build of TenSEAL compresses in an unknown way.", hint="Install tenseal from PyPI's wheels."
    )


def split(saved: tuple[bytes, bytes], size: int) -> tuple[bytes, bytes]:
    """The start of the header, and what stands in the body before ``size`` bytes of residues."""
    start, body = saved
    return start, body[: len(body) - size]


def load(native: Any, context: Any, start: bytes, head: bytes, *residues: NDArray[np.uint64]) -> None:
    """Load an object as SEAL would have saved it, uncompressed."""
    pieces = [np.ascontiguousarray(piece, dtype="<u8").data for piece in residues]
    size = _HEADER.size + len(head) + sum(piece.nbytes for piece in pieces)
    with _file() as (descriptor, path):
        written = os.writev(descriptor, [_HEADER.pack(start, _UNCOMPRESSED, 0, size), head, *pieces])
        if written != size:
            raise OSError(f"only {written} of {size} bytes could be handed to SEAL")
        native.load(context, path)


@contextmanager
def _file() -> Iterator[tuple[int, str]]:
    """An empty file that the bindings can open: its descriptor and its path."""
    if _has_memory_files():
        descriptor = os.memfd_create("fedpriv-ckks")
        try:
            yield descriptor, f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    descriptor, path = tempfile.mkstemp(prefix="fedpriv-ckks-")
    try:
        yield descriptor, path
    finally:
        os.close(descriptor)
        os.unlink(path)


def _has_memory_files() -> bool:
    return hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")
