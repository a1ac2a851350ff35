"""A ledger on a disk that refuses, fills up, loses power or decays: each ends well or in one clear error.

Every function here counts how its trials ended.  It raises `AssertionError`, or an error that is none of
fedpriv's, at the first one in which an answered row is missing, an ε is lower than what was answered costs,
or an error does not name the file and say what to do.
"""

from __future__ import annotations

import itertools
import random
import resource
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parties.ledger_work import Answer, Found, answer, begin, examine, explained, one_step, opened
from parties.sqlite_faults import Disk, Operation, watched

from fedpriv.errors import FedprivError, IntegrityError

NAME = "ledger.db"
LOG = f"{NAME}-wal"


@dataclass(frozen=True, slots=True)
class Recording:
    """A run of a ledger as the disk saw it.

    ``start`` is the file before, ``given`` what was answered by then and later, and ``answered[i]`` how many
    of these answers were out before operation ``i``; one more entry stands for the end.
    """

    start: dict[str, bytes]
    operations: list[Operation]
    given: list[Answer]
    answered: list[int]

    def disks(self) -> Iterator[tuple[Disk, Operation | None, list[Answer]]]:
        """The disk before every operation, and at the end, with what was answered by then."""
        disk = Disk(self.start)
        for operation, count in itertools.zip_longest(self.operations, self.answered):
            yield disk, operation, self.given[:count]
            if operation is not None:
                disk.take(operation)

    def end(self) -> tuple[dict[str, bytes], list[Answer]]:
        """The files at the end, and every answer."""
        *_, (disk, _, given) = self.disks()
        return disk.after_kill(), given


def record(folder: Path, *, rows: int, seed: int) -> Recording:
    """Let a ledger answer ``rows`` times while its disk is watched."""
    path = folder / NAME
    given = begin(path)
    start = {NAME: path.read_bytes()}
    chance = random.Random(seed)
    answered: list[int] = []
    with watched() as operations, opened(path) as ledger:
        for _ in range(rows):
            row = one_step(ledger, chance)
            answered += [len(given)] * (len(operations) - len(answered))
            given.append(answer(row))
        seen = list(operations)
    return Recording(start, seen, given, [*answered, len(given)])


def laid_out(folder: Path, files: dict[str, bytes], given: list[Answer]) -> Found:
    """Open a ledger whose files are these."""
    path = folder / NAME
    for leftover in folder.glob(f"{NAME}*"):
        leftover.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return examine(path, given)


def ending(found: Found, given: list[Answer]) -> str:
    """How a trial ended, in a word or two."""
    return found.refused or ("last row kept" if found.rows > len(given) else "as answered")


def kill_points(folder: Path, recording: Recording) -> Counter[str]:
    """The process ends before every operation, and half-way through every write."""
    ends: Counter[str] = Counter()
    for disk, operation, given in recording.disks():
        for half in (None, operation) if operation and operation.kind == "write" else (None,):
            found = laid_out(folder, disk.after_kill(half), given)
            assert not found.refused, found
            ends[ending(found, given)] += 1
    return ends


def power_failures(folder: Path, recording: Recording, *, draws: int, seed: int) -> Counter[str]:
    """The power fails before every operation: of what was not synchronised, any sectors are there."""
    ends: Counter[str] = Counter()
    chance = random.Random(seed)
    for disk, _, given in recording.disks():
        for _ in range(draws if disk.pending else 1):
            found = laid_out(folder, disk.after_power_failure(chance), given)
            assert not found.refused, found
            ends[ending(found, given)] += 1
    return ends


def cut_logs(folder: Path, recording: Recording, *, every: int = 512) -> Counter[str]:
    """SQLite's log cut at every 512 bytes and at every frame, at each moment when it holds a row; or gone."""
    ends: Counter[str] = Counter()
    for disk, operation, given in recording.disks():
        if operation is None or operation.file != NAME or operation.kind != "write" or operation.offset == 0:
            continue
        files = disk.after_kill()
        log = files.pop(LOG, b"")
        frames = range(32, len(log), 24 + 4096)
        for size in sorted({*range(0, len(log), every), *frames}):
            found = laid_out(folder, files | {LOG: log[:size]}, given)
            ends[ending(found, given)] += 1
        ends[ending(laid_out(folder, files, given), given)] += 1
    return ends


def cut_files(folder: Path, recording: Recording, *, every: int = 512) -> Counter[str]:
    """The file itself, without a log, cut at every 512 bytes."""
    files, given = recording.end()
    whole = files[NAME]
    ends: Counter[str] = Counter()
    for size in range(0, len(whole), every):
        ends[ending(laid_out(folder, {NAME: whole[:size]}, given), given)] += 1
    ends["whole: " + ending(laid_out(folder, {NAME: whole}, given), given)] += 1
    return ends


def flipped_bits(folder: Path, recording: Recording, *, count: int, seed: int, log: bool) -> Counter[str]:
    """One bit changed: in the file at rest, its first 800 and ``count`` others; or in a log left behind."""
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    if log:
        moments = [
            (disk.after_kill(), given)
            for disk, operation, given in recording.disks()
            if operation is not None
            and operation.file == LOG
            and operation.kind in ("sync", "truncate")
            and len(disk.after_kill().get(LOG, b"")) > 32
        ]
        for _ in range(count):
            files, given = chance.choice(moments)
            _flip(folder, files, LOG, chance.randrange(8 * len(files[LOG])), given, ends)
        return ends
    files, given = recording.end()
    for bit in [*range(800), *(chance.randrange(800, 8 * len(files[NAME])) for _ in range(count))]:
        _flip(folder, {NAME: files[NAME]}, NAME, bit, given, ends)
    return ends


def _flip(
    folder: Path, files: dict[str, bytes], name: str, bit: int, given: list[Answer], ends: Counter[str]
) -> None:
    changed = bytearray(files[name])
    changed[bit // 8] ^= 1 << bit % 8
    ends[ending(laid_out(folder, files | {name: bytes(changed)}, given), given)] += 1


def refused_operations(folder: Path, *, rows: int, seed: int, every: int = 1) -> Counter[str]:
    """Each write, truncation and synchronisation goes wrong, once or from then on; then all is well again."""
    ends: Counter[str] = Counter()
    for how, lasting in itertools.product(("refused", "short", "full"), (False, True)):
        for place in itertools.count(0, every):
            asked = _refused_at(folder, place, how, lasting=lasting, rows=rows, seed=seed, ends=ends)
            if asked <= place:
                break
    return ends


def _refused_at(
    folder: Path, place: int, how: str, *, lasting: bool, rows: int, seed: int, ends: Counter[str]
) -> int:
    """One run with a fault at one place; how many operations there were."""
    path = _fresh(folder)
    given = begin(path)
    broken = True

    def fault(number: int, _: Operation) -> str | None:
        return how if broken and (number == place or (lasting and number > place)) else None

    with watched(fault) as operations:
        try:
            ledger = opened(path)
        except FedprivError as error:
            explained(error, path)
            ends[f"{how}: {type(error).__name__} on opening"] += 1
        else:
            chance = random.Random(seed)
            with ledger:
                end = f"{how}: every row answered"
                for _ in range(rows):
                    try:
                        given.append(answer(one_step(ledger, chance)))
                    except FedprivError as error:
                        explained(error, path)
                        end = f"{how}: {type(error).__name__}, then on"
                        broken = broken and lasting and len(operations) <= place + 3
                broken = False
                given.append(answer(one_step(ledger, chance)))  # the disk is well again
                ends[end] += 1
    assert not examine(path, given).refused
    return len(operations)


def size_limits(folder: Path, *, rows: int, seed: int, every: int = 512) -> Counter[str]:
    """No file may grow beyond a limit (RLIMIT_FSIZE), at every size: the kernel's short writes and EFBIG."""
    ends: Counter[str] = Counter()
    for limit in itertools.count(0, every):
        path = _fresh(folder)
        given: list[Answer] = []
        with _files_up_to(limit):
            end = _until_refused(path, given, rows, seed)
        if path.exists():
            examine(path, given)
        else:
            assert not given
        ends[end] += 1
        if end == "every row answered":
            return ends
    raise AssertionError


def small_disks(folder: Path, *, rows: int, seed: int) -> Counter[str]:
    """File systems of 4 KiB to 128 KiB of their own, full at some point; empty where none can be mounted."""
    ends: Counter[str] = Counter()
    point = folder / "disk"
    point.mkdir()
    for kibibytes in range(4, 132, 4):
        mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(point)]
        if (
            shutil.which("mount") is None
            or subprocess.run(mount, capture_output=True, check=False).returncode
        ):
            return ends
        try:
            path = point / NAME
            given: list[Answer] = []
            ends[_until_refused(path, given, rows, seed)] += 1
            subprocess.run(["mount", "-o", "remount,size=1m", str(point)], check=True)
            if path.exists():
                assert not examine(path, given).refused
        finally:
            subprocess.run(["umount", str(point)], check=True)
    return ends


def _until_refused(path: Path, given: list[Answer], rows: int, seed: int) -> str:
    """Begin a ledger and let it work until it refuses; how it ended."""
    chance = random.Random(seed)
    try:
        given += begin(path)
        with opened(path) as ledger:
            for _ in range(rows):
                given.append(answer(one_step(ledger, chance)))
    except FedprivError as error:
        explained(error, path)
        if isinstance(error, IntegrityError):
            raise
        return f"{type(error).__name__} {'while it is made' if not path.exists() else 'at a row'}"
    return "every row answered"


@contextmanager
def _files_up_to(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _fresh(folder: Path) -> Path:
    for leftover in folder.glob(f"*{NAME}*"):
        leftover.unlink()
    return folder / NAME
