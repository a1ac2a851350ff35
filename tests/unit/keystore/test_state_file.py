"""Sealed state on disk: what is kept, what is refused, and that no failure loses the last good state."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.keystore import StateFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "client.state"


def put(path: Path, data: bytes, sequence: int) -> None:
    with StateFile(path) as state:
        state.store(data, sequence)


def got(path: Path) -> tuple[bytes, int] | None:
    with StateFile(path) as state:
        return state.load()


def test_what_was_stored_is_loaded_and_nobody_else_may_read_it(path: Path, tmp_path: Path) -> None:
    anchor = tmp_path / "elsewhere" / "anchor"
    anchor.parent.mkdir()
    with StateFile(path, anchor) as state:
        assert state.load() is None
        for sequence in (1, 2, 700):
            state.store(b"sealed" * sequence, sequence)
            assert state.load() == (b"sealed" * sequence, sequence)
    with StateFile(path, anchor) as state:
        assert state.load() == (b"sealed" * 700, 700)
    names = ["client.state", "client.state.lock", "elsewhere/anchor", "elsewhere/anchor.lock"]
    files = sorted(entry for entry in tmp_path.rglob("*") if entry.is_file())
    assert [str(entry.relative_to(tmp_path)) for entry in files] == names
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in files} == {0o600}


def test_the_default_anchor_lies_beside(path: Path) -> None:
    put(path, b"", 5)
    assert path.with_name("client.state.sequence").read_text() == "fedpriv anchor 1 5\n"
    assert got(path) == (b"", 5)


@pytest.mark.parametrize("sequence", [0, 1, 6, 7])
def test_a_sequence_number_only_grows(path: Path, sequence: int) -> None:
    with StateFile(path) as state:
        state.store(b"seven", 7)
        with pytest.raises(UsageError, match=r"is number 7|whole number"):
            state.store(b"again", sequence)
    with StateFile(path) as state, pytest.raises(UsageError, match=r"is number 7|whole number"):
        state.store(b"again", sequence)  # without having loaded
    assert got(path) == (b"seven", 7)


@pytest.mark.parametrize(
    ("data", "sequence"), [("text", 1), (b"", 0), (b"", -1), (b"", True), (b"", 1.0), (b"", 2**63)]
)
def test_what_is_no_state(path: Path, data: Any, sequence: Any) -> None:
    with StateFile(path) as state, pytest.raises(UsageError, match="whole number from 1"):
        state.store(data, sequence)
    assert got(path) is None


def test_a_state_from_a_backup_is_refused(path: Path, tmp_path: Path) -> None:
    put(path, b"one", 1)
    shutil.copy2(path, tmp_path / "backup")
    put(path, b"two", 2)
    os.replace(tmp_path / "backup", path)
    with StateFile(path) as state:
        for attempt in (state.load, lambda: state.store(b"three", 3)):
            with pytest.raises(IntegrityError, match="went back in time, from number 2 to 1") as caught:
                attempt()
            assert "part in the run has ended" in caught.value.hint


def test_a_state_that_was_only_loaded_may_not_go_back_either(path: Path, tmp_path: Path) -> None:
    # The process died between the two files, another one loaded the newer state and answered from it.
    put(path, b"one", 1)
    backup, anchor = tmp_path / "backup", path.with_name("client.state.sequence")
    shutil.copy2(path, backup)
    old_anchor = anchor.read_bytes()
    put(path, b"two", 2)
    anchor.write_bytes(old_anchor)
    assert got(path) == (b"two", 2)
    os.replace(backup, path)
    with StateFile(path) as state, pytest.raises(IntegrityError, match="went back"):
        state.load()


def test_a_state_that_is_lost_is_not_taken_for_a_new_one(path: Path) -> None:
    put(path, b"one", 1)
    path.unlink()
    with StateFile(path) as state:
        for attempt in (state.load, lambda: state.store(b"two", 2)):
            with pytest.raises(IntegrityError, match="is lost: its anchor says that number 1") as caught:
                attempt()
            assert caught.value.hint
    assert not path.exists()


def test_a_state_without_its_anchor_is_refused(path: Path) -> None:
    put(path, b"one", 1)
    path.with_name("client.state.sequence").unlink()
    with StateFile(path) as state:
        for attempt in (state.load, lambda: state.store(b"two", 2)):
            with pytest.raises(IntegrityError, match="has lost its anchor"):
                attempt()


def test_every_damage_of_the_state_is_noticed(path: Path) -> None:
    put(path, b"sealed", 258)
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :] for k in range(len(whole))]
    for content in [*damaged, whole + b"\0"]:
        path.write_bytes(content)
        with StateFile(path) as state, pytest.raises(IntegrityError, match="damaged"):
            state.load()
    anchor = path.with_name("client.state.sequence")
    assert anchor.read_text() == "fedpriv anchor 1 258\n"  # damage never raises it


@pytest.mark.parametrize(
    "content",
    [b"", b"1", b"fedpriv anchor 1 \n", b"fedpriv anchor 1 1", b"fedpriv anchor 1 -1\n", b"\xff" * 9],
)
def test_every_damage_of_the_anchor_is_noticed(path: Path, content: bytes) -> None:
    put(path, b"one", 1)
    path.with_name("client.state.sequence").write_bytes(content)
    with StateFile(path) as state, pytest.raises(IntegrityError, match=r"anchor .* is damaged"):
        state.load()


@pytest.mark.parametrize("name", ["client.state", "client.state.sequence"])
def test_files_that_others_may_use_or_links_are_refused(path: Path, tmp_path: Path, name: str) -> None:
    put(path, b"one", 1)
    file = path.with_name(name)
    file.chmod(0o660)
    with StateFile(path) as state, pytest.raises(UsageError, match="Others than its owner"):
        state.load()
    file.chmod(0o600)
    file.rename(tmp_path / "moved")
    file.symlink_to(tmp_path / "moved")
    with StateFile(path) as state, pytest.raises(UsageError, match="is a link"):
        state.load()


def test_one_opener_at_a_time(path: Path, tmp_path: Path) -> None:
    other_process = "import sys; from fedpriv.keystore import StateFile; StateFile(sys.argv[1]).__enter__()"
    with StateFile(path) as state:
        state.store(b"one", 1)
        with pytest.raises(UsageError, match="in use by another process"), StateFile(path):
            pass
        with pytest.raises(UsageError, match="in use"), state:
            pass
        done = subprocess.run(
            [sys.executable, "-c", other_process, str(path)], capture_output=True, text=True, check=False
        )
        assert "in use by another process" in done.stderr
        state.store(b"two", 2)
    assert got(path) == (b"two", 2)


def test_neither_a_copy_of_the_state_nor_one_of_the_anchor_is_a_second_client(
    path: Path, tmp_path: Path
) -> None:
    put(path, b"one", 1)
    copy, anchor = tmp_path / "copy", path.with_name("client.state.sequence")
    shutil.copy2(path, copy)
    shutil.copy2(anchor, tmp_path / "anchor")
    with StateFile(path) as state:
        for clone in (StateFile(copy, anchor), StateFile(path, tmp_path / "anchor")):
            with pytest.raises(UsageError, match="in use"), clone:
                pass
        state.store(b"two", 2)
    with StateFile(copy, anchor) as clone, pytest.raises(IntegrityError, match="went back"):
        clone.load()


def test_a_closed_state_says_so(path: Path) -> None:
    state = StateFile(path)
    for _ in range(2):
        with pytest.raises(UsageError, match="is not open"):
            state.load()
        with pytest.raises(UsageError, match="is not open"):
            state.store(b"", 1)
        with state:
            pass
    with pytest.raises(UsageError, match="two files"):
        StateFile(path, path)


def test_a_full_disk_keeps_the_last_good_state(
    path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with StateFile(path) as state:
        state.store(b"one", 1)
        with full_disk(1000), pytest.raises(UsageError, match="cannot be written: file too large") as caught:
            state.store(bytes(100_000), 2)
        assert "room on its disk" in caught.value.hint
        assert not path.with_name("client.state.new").exists()
        assert state.load() == (b"one", 1)
        state.store(b"two", 2)
    assert got(path) == (b"two", 2)


def test_a_folder_that_cannot_be_written_keeps_the_last_good_state(unprivileged: Path) -> None:
    path = unprivileged / "client.state"
    with StateFile(path) as state:
        state.store(b"one", 1)
        unprivileged.chmod(0o500)
        with pytest.raises(UsageError, match="permission denied"):
            state.store(b"two", 2)
        assert state.load() == (b"one", 1)
        unprivileged.chmod(0o700)
    unprivileged.chmod(0o500)
    for name in ("new.state", "nowhere/new.state"):
        with pytest.raises(UsageError, match="cannot be written"), StateFile(unprivileged / name):
            pass


def test_a_state_whose_anchor_failed_is_stored_again_or_loaded(unprivileged: Path) -> None:
    path, anchor = unprivileged / "client.state", unprivileged / "far" / "anchor"
    anchor.parent.mkdir()
    with StateFile(path, anchor) as state:
        state.store(b"one", 1)
        anchor.parent.chmod(0o500)
        with pytest.raises(UsageError, match=r"anchor .* cannot be written"):
            state.store(b"two", 2)
        with pytest.raises(UsageError, match=r"anchor .* cannot be written"):
            state.load()  # nobody may act on a state that the anchor does not vouch for
        anchor.parent.chmod(0o700)
        state.store(b"two again", 2)
        assert state.load() == (b"two again", 2)
    with StateFile(path, anchor) as state:
        assert state.load() == (b"two again", 2)


def test_what_a_dead_process_left_is_replaced_and_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path.with_name("client.state.new").symlink_to(victim)
    put(path, b"one", 1)
    path.with_name("client.state.new").write_bytes(b"half of a sta")
    put(path, b"two", 2)
    assert got(path) == (b"two", 2)
    assert victim.read_text() == "mine"
    assert not path.is_symlink()


def test_a_lock_that_is_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.with_name("client.state.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"lock .* cannot be written"), StateFile(path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_everything_is_on_the_disk_before_what_follows_from_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(handle: int) -> None:
        fsync(handle)
        done.append(f"flush {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")

    def recorded_replace(source: Path, target: Path) -> None:
        replace(source, target)
        done.append(f"rename {target.name}")

    with StateFile(path) as state:
        state.store(b"one", 1)
        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(os, "replace", recorded_replace)
        state.store(b"two", 2)
    folder = path.parent.name
    assert done == [
        "flush client.state.new",
        "rename client.state",
        f"flush {folder}",
        "flush client.state.sequence.new",
        "rename client.state.sequence",
        f"flush {folder}",
    ]
