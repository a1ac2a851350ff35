"""The file: how it is made, and what is refused in its place."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.ledger import Ledger

Clock = Callable[[], str]


def test_new_ledger_is_private_and_durable(path: Path, ledger: Ledger) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connection = ledger._store._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []


def test_rows_are_there_after_reopening(
    path: Path, signer: SigningKey, clock: Clock, dataset: str, event: PoissonGaussian
) -> None:
    with Ledger.open(path, signer, clock) as ledger:
        ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
        ledger.plan("a", dataset, event=event, rounds=10, details={"clip": 0.5})
        ledger.reserve("a", 0)
        written = ledger.rows(dataset)
    with Ledger.open(path, signer, clock) as ledger:
        assert ledger.rows(dataset) == written
        assert [row.kind for row in written] == ["BUDGET", "PLAN", "RESERVE"]
        assert written[1].body["details"] == {"clip": "0.5"}
        assert ledger.head(dataset) == written[-1].hash
        assert ledger.run("a").event == event


def test_an_empty_file_is_a_truncated_ledger_never_a_new_one(
    path: Path, signer: SigningKey, clock: Clock
) -> None:
    path.touch()
    with pytest.raises(IntegrityError, match="truncated") as caught:
        Ledger.open(path, signer, clock)
    assert caught.value.hint
    assert path.stat().st_size == 0


@pytest.mark.parametrize("content", [b"hello", b"SQLite format 3\x00" + b"\xff" * 4096, bytes(4096)])
def test_a_file_that_is_no_ledger(path: Path, signer: SigningKey, clock: Clock, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        Ledger.open(path, signer, clock)
    assert path.read_bytes() == content


def test_another_programs_database_is_not_a_ledger(path: Path, signer: SigningKey, clock: Clock) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE entries (x)")
    connection.close()
    with pytest.raises(IntegrityError, match="not a fedpriv ledger"):
        Ledger.open(path, signer, clock)


def test_a_ledger_of_a_newer_version_is_left_alone(path: Path, signer: SigningKey, clock: Clock) -> None:
    Ledger.open(path, signer, clock).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(IntegrityError, match="newer version"):
        Ledger.open(path, signer, clock)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_ledger_cut_short_is_refused(
    path: Path, signer: SigningKey, clock: Clock, dataset: str, event: PoissonGaussian, kept: float
) -> None:
    with Ledger.open(path, signer, clock) as ledger:
        ledger.set_budget(dataset, "reviews", 8.0, 1e-5)
        ledger.plan("a", dataset, event=event, rounds=100, details={})
        for number in range(30):
            ledger.reserve("a", number, {"padding": "x" * 500})
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(IntegrityError) as caught:
        Ledger.open(path, signer, clock)
    assert caught.value.hint


def test_a_folder_and_a_missing_folder_are_refused(tmp_path: Path, signer: SigningKey, clock: Clock) -> None:
    with pytest.raises(UsageError, match="not a file"):
        Ledger.open(tmp_path, signer, clock)
    with pytest.raises(UsageError, match="does not exist"):
        Ledger.open(tmp_path / "nowhere" / "ledger.db", signer, clock)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_ledger_that_cannot_be_written(path: Path, signer: SigningKey, clock: Clock) -> None:
    Ledger.open(path, signer, clock).close()
    path.chmod(0o400)
    with pytest.raises(UsageError, match="cannot be written"):
        Ledger.open(path, signer, clock)


def test_another_signer_cannot_go_on_with_a_ledger(
    path: Path, ledger: Ledger, clock: Clock, dataset: str
) -> None:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    with pytest.raises(UsageError, match="belongs to the signer"):
        Ledger.open(path, SigningKey.from_seed(bytes(32)), clock)


def test_a_closed_ledger_says_so(path: Path, signer: SigningKey, clock: Clock, dataset: str) -> None:
    ledger = Ledger.open(path, signer, clock)
    ledger.close()
    with pytest.raises(UsageError, match="was closed"):
        ledger.set_budget(dataset, "reviews", 3.0, 1e-5)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET kind = 'VOID' WHERE seq = 0",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE seq = 0",
        "INSERT INTO entries SELECT dataset, 7, kind, time, body, prev, signer, hash, signature FROM entries",
        "INSERT INTO entries SELECT dataset, 1, kind, time, body, prev, signer, hash, signature FROM entries",
    ],
)
def test_the_file_itself_refuses_what_is_not_an_append(
    path: Path, ledger: Ledger, dataset: str, statement: str
) -> None:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    before = ledger.rows(dataset)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="ledger"):
        connection.execute(statement)
    connection.close()
    assert ledger.rows(dataset) == before


def test_a_failing_clock_writes_nothing(path: Path, signer: SigningKey, dataset: str) -> None:
    with Ledger.open(path, signer, lambda: "yesterday") as ledger:
        with pytest.raises(UsageError, match="clock"):
            ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
        assert ledger.rows(dataset) == []
        assert ledger.datasets() == []
