"""The key beside the ledger: one, whole, private, and never replaced."""

from __future__ import annotations

import resource
import stat
import threading
from pathlib import Path

import pytest

from fedpriv.errors import FedprivError, IntegrityError, UsageError
from fedpriv.ledger.home import open_ledger


def test_a_new_ledger_gets_a_private_key_that_is_kept(tmp_path: Path) -> None:
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        first = ledger.public
    key = tmp_path / "ledger.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.stat().st_size == 32
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.public == first
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ledger.key", "ledger.sqlite"]


def test_half_a_key_is_refused_and_left_alone(tmp_path: Path) -> None:
    key = tmp_path / "ledger.key"
    key.write_bytes(bytes(16))
    with pytest.raises(IntegrityError, match="16 bytes, not 32") as caught:
        open_ledger(tmp_path / "ledger.sqlite")
    assert str(key) in str(caught.value)
    assert caught.value.hint
    assert key.read_bytes() == bytes(16)


def test_a_key_that_cannot_be_written_whole_is_not_there_at_all(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        with pytest.raises(UsageError, match="cannot be read or made") as caught:
            open_ledger(tmp_path / "ledger.sqlite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []
    open_ledger(tmp_path / "ledger.sqlite").close()


def test_a_folder_in_the_place_of_the_key_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.key").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        open_ledger(tmp_path / "ledger.sqlite")


def test_all_who_open_a_new_ledger_at_once_have_one_key(tmp_path: Path) -> None:
    for trial in range(10):
        path = tmp_path / str(trial) / "ledger.sqlite"
        found: list[bytes] = []
        failed: list[FedprivError] = []
        together = threading.Barrier(4)

        def first(
            path: Path = path,
            found: list[bytes] = found,
            failed: list[FedprivError] = failed,
            together: threading.Barrier = together,
        ) -> None:
            together.wait()
            try:
                with open_ledger(path) as ledger:
                    found.append(ledger.public)
            except FedprivError as error:
                failed.append(error)

        threads = [threading.Thread(target=first) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert len(found) == 4
        assert len(set(found)) == 1
