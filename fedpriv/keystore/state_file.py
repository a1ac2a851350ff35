"""A party's sealed state between two messages, and a number beside it that shows when the state went back.

A state machine of the protocol seals itself into bytes that carry a sequence number.  `StateFile` keeps the
bytes in one file and the number in another, the *anchor*, meant for a place that backups do not restore.  An
older copy of the state then stands below its anchor, and is refused: a client that forgot its answer would
give a second one, and two answers open what one does not (protocols/secagg/spec.md, SA-6).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.local_file import PRIVATE, read_private, replace_file, writable

__all__ = ["StateFile"]

MOST_SEQUENCE: Final = 2**63 - 1

_WHAT: Final = "state"
_ANCHOR: Final = "state's anchor"
_MAGIC: Final = b"fedpriv state 1\n"
_SEQUENCE_BYTES: Final = 8
_HEAD_BYTES: Final = len(_MAGIC) + _SEQUENCE_BYTES + hashlib.sha256().digest_size
_ANCHOR_TEXT: Final = re.compile(rb"fedpriv anchor 1 ([0-9]{1,19})\n")
_ENDED: Final = (
    "This party's part in the run has ended: what it answered is not known, and a second answer could open "
    "its vector. Put no older copy in its place, keep the files, and go on in a new run or session."
)


class StateFile:
    """Keeps one opaque byte string with its sequence number; one process at a time may have it open.

    `store` brings the state to the disk, then its number to the anchor, each all or nothing, before it
    returns: what follows from a state (an answer to the server) is sent after that.  A crash in between
    leaves the new state with the old anchor, and `load` brings the anchor up before anybody acts on that
    state.  An anchor that says 0 stands for "nothing stored yet", so sequence numbers begin at 1.

    The checksum in the file tells damage; who may write the file can forge it.  That the sealed bytes are
    authentic, and that the number inside them is at least the one that `load` gives, is for the owner of the
    sealing key to check.  Whoever can put back both files, or remove both, is not noticed here.

    Args:
        path: the state, mode 0600.
        anchor: the number, mode 0600; default: ``path`` + ``.sequence``.  Better on another disk, and in any
            case left out of backups.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with StateFile(f"{folder.name}/client.state") as state:
    ...     state.load() is None
    ...     state.store(b"sealed", 1)
    ...     state.load()
    True
    (b'sealed', 1)
    >>> folder.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str], anchor: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path)
        self.anchor = _beside(self.path, "sequence") if anchor is None else Path(anchor)
        if self.anchor == self.path:
            raise UsageError(
                "A state and its anchor are two files.", hint="Name another file for the anchor."
            )
        self._locks: ExitStack | None = None
        self._floor: int | None = None

    def __repr__(self) -> str:
        return f"<StateFile {str(self.path)!r}, {'closed' if self._locks is None else 'open'}>"

    def __enter__(self) -> Self:
        """Take the locks, which end with the process at the latest.

        Raises:
            UsageError: another process, or this one, has the state or its anchor open; the folder does not
                exist or cannot be written.
        """
        with ExitStack() as locks:
            # Both: a copy of the state with the same anchor, and the state with a copy of the anchor, are two
            # clients where there may be one.
            for path in (self.path, self.anchor):
                locks.callback(os.close, _lock(_beside(path, "lock"), self.path))
            self._locks = locks.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        locks, self._locks, self._floor = self._locks, None, None
        if locks is not None:
            locks.close()

    def load(self) -> tuple[bytes, int] | None:
        """The bytes last stored, and the least sequence number that may stand in them; ``None`` at first.

        Raises:
            IntegrityError: the state or its anchor is missing or damaged, or the state is older than the
                anchor.
            UsageError: not open; others than the owner may use the files; they cannot be read.
        """
        self._check_open()
        anchored, stored = self._read_anchor(), self._read_state()
        if stored is None:
            if anchored:
                raise IntegrityError(
                    f"The state {self.path} is lost: its anchor says that number {anchored} was stored.",
                    hint=_ENDED,
                )
            self._floor = 0
            return None
        data, sequence = stored
        if anchored is None:
            raise IntegrityError(
                f"The state {self.path} has lost its anchor {self.anchor}: nothing tells whether it is old.",
                hint=_ENDED,
            )
        if sequence < anchored:
            raise IntegrityError(
                f"The state {self.path} went back in time, from number {anchored} to {sequence}.",
                hint=_ENDED,
            )
        if sequence > anchored:  # a crash came between the two files
            self._write_anchor(sequence)
        self._floor = sequence
        return data, sequence

    def store(self, data: bytes, sequence: int) -> None:
        """Replace the state, durable on return, and raise its anchor to ``sequence``.

        Args:
            data: the sealed state.
            sequence: 1 to 2**63 - 1, higher than that of the state before.

        Raises:
            UsageError: not open, a sequence number that does not grow, or the system refuses.  If it refuses,
                the old state is there or the new one: act on neither, but `store` again or `load`.
            IntegrityError: what is there is not what `load` would take.
        """
        self._check_open()
        if not isinstance(data, bytes) or type(sequence) is not int or not 1 <= sequence <= MOST_SEQUENCE:
            raise UsageError("A state is bytes with a whole number from 1 to 2**63 - 1.")
        if self._floor is None:
            self.load()
        floor = self._floor or 0
        if sequence <= floor:
            raise UsageError(
                f"The state {self.path} is number {floor}; {sequence} would not be a later one.",
                hint="Load the state and go on from it.",
            )
        if not floor:
            self._write_anchor(0)
        number = sequence.to_bytes(_SEQUENCE_BYTES, "big")
        replace_file(self.path, _MAGIC, number, _checksum(number, data), data, what=_WHAT)
        self._write_anchor(sequence)
        self._floor = sequence

    def _check_open(self) -> None:
        if self._locks is None:
            raise UsageError(
                f"The state {self.path} is not open.", hint="Use it as `with StateFile(…) as state`."
            )

    def _read_state(self) -> tuple[bytes, int] | None:
        try:
            content = read_private(self.path, what=_WHAT, follow_links=False)
        except FileNotFoundError:
            return None
        number = content[len(_MAGIC) : len(_MAGIC) + _SEQUENCE_BYTES]
        data = content[_HEAD_BYTES:]
        if content[:_HEAD_BYTES] != _MAGIC + number + _checksum(number, data):
            raise IntegrityError(
                f"The state {self.path} is damaged, or is none.",
                hint=_ENDED,
            )
        return data, int.from_bytes(number, "big")

    def _read_anchor(self) -> int | None:
        try:
            content = read_private(self.anchor, what=_ANCHOR, follow_links=False)
        except FileNotFoundError:
            return None
        match = _ANCHOR_TEXT.fullmatch(content)
        if match is None:
            raise IntegrityError(
                f"The state's anchor {self.anchor} is damaged, or is none.",
                hint=_ENDED,
            )
        return int(match[1])

    def _write_anchor(self, sequence: int) -> None:
        replace_file(self.anchor, b"fedpriv anchor 1 %d\n" % sequence, what=_ANCHOR)


def _checksum(number: bytes, data: bytes) -> bytes:
    """SHA-256 over number and data, without a copy of the data."""
    checksum = hashlib.sha256(_MAGIC + number)
    checksum.update(data)
    return checksum.digest()


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _lock(path: Path, state: Path) -> int:
    """The handle of a locked file, which stays when the lock ends: removing it would let two hold it."""
    with writable(path, "lock"):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                raise _in_use(state) from None
            raise
    return handle


def _in_use(path: Path) -> UsageError:
    return UsageError(
        f"The state {path} is in use by another process.",
        hint="Wait until it ends; two processes with one state would give two answers where one is allowed.",
    )
