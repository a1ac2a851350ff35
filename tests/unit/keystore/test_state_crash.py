"""A process that dies while it stores: at every call to the system in turn, and killed at any moment.

The dying processes are forked by one small program, so that hundreds of deaths cost one start of Python.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROLOGUE = """
import json, os, random, select, signal, sys, time
from pathlib import Path
from fedpriv.keystore import StateFile

folder = Path(sys.argv[1])

def anchored(path):
    anchor = path.with_name(path.name + ".sequence")
    return int(anchor.read_text().split()[-1]) if anchor.exists() else None

def loaded(path):
    "What a new process finds, and the anchor before and after it looked."
    before = anchored(path)
    with StateFile(path) as state:
        found = state.load()
    return before, found, anchored(path)
"""

AT_EVERY_CALL = """
CALLS = ("open", "fchmod", "fsync", "unlink", "replace", "close")

def store_and_die_at(path, point, sequence):
    "0: the store returned; 7: the process died at its call number `point`, before or after the call."
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with StateFile(path) as state:
        state.load()
        calls = 0
        def dying(call):
            def called(*arguments):
                nonlocal calls
                calls += 1
                if calls == point:
                    os._exit(7)
                return call(*arguments)
            return called
        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        state.store(b"new", sequence)
        os._exit(0)

results = []
for sequence in (1, 2):
    for point in range(1, 100):
        path = folder / f"{sequence}-{point}"
        if sequence == 2:
            with StateFile(path) as state:
                state.store(b"old", 1)
        code = store_and_die_at(path, point, sequence)
        before, found, after = loaded(path)
        results.append([sequence, code, before, found and [found[0].decode(), found[1]], after])
        with StateFile(path) as state:  # and it goes on
            state.store(b"next", sequence + 1)
        if code == 0:
            break
print(json.dumps(results))
"""

AT_ANY_MOMENT = """
def content(sequence):
    return sequence.to_bytes(8, "big") + bytes([sequence % 251]) * (sequence * 7919 % 200_000)

def write_forever(path, pipe):
    with StateFile(path) as state:
        found = state.load()
        sequence = found[1] if found else 0
        while True:
            sequence += 1
            state.store(content(sequence), sequence)
            os.write(pipe, sequence.to_bytes(8, "big"))

chance, kills, answered_before, between, most, path = random.Random(3), int(sys.argv[2]), 0, 0, 0, None
for trial in range(kills):
    if trial % 10 == 0:  # from nothing
        path, answered_before = folder / str(trial), 0
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        write_forever(path, writer)
    os.close(writer)
    time.sleep(chance.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = b""
    while piece := os.read(reader, 65536):
        said += piece
    os.close(reader)
    answered = int.from_bytes(said[-8:], "big") if said else answered_before
    before, found, after = loaded(path)
    data, sequence = found or (b"", 0)
    assert sequence == 0 or data == content(sequence), "torn"
    assert (before or 0) <= sequence == (after or 0), (before, sequence, after)
    assert answered <= sequence <= answered + 1, (answered, sequence)
    between += before is not None and before < sequence
    answered_before, most = sequence, max(most, sequence)
print(json.dumps([most, between]))
"""


def program(code: str, *arguments: object) -> object:
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_death_at_any_call_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    results = program(AT_EVERY_CALL, tmp_path)
    assert isinstance(results, list)
    outcomes = {1: set(), 2: set()}  # type: dict[int, set[tuple[int, str | None]]]
    for sequence, code, before, found, after in results:
        data, number = found or (None, 0)
        assert code in (0, 7)
        assert (data, number) in {1: [(None, 0), ("new", 1)], 2: [("old", 1), ("new", 2)]}[sequence]
        assert code == 7 or data == "new"  # what was answered is there
        assert (before or 0) <= number
        assert (after or 0) == number  # whoever acts on a state has it vouched for
        outcomes[sequence].add((code, data))
    assert outcomes == {1: {(7, None), (7, "new"), (0, "new")}, 2: {(7, "old"), (7, "new"), (0, "new")}}
    assert len(results) > 30


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_what_was_answered(tmp_path: Path) -> None:
    written, between = program(AT_ANY_MOMENT, tmp_path, 400)  # type: ignore[misc]
    assert written > 1  # how many more is the speed of the disk
    assert between > 0  # some died with the new state and the old anchor
