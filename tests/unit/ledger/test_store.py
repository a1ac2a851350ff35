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


def test_at_rest_a_copy_of_the_one_file_is_the_whole_ledger(
    path: Path, tmp_path: Path, signer: SigningKey, clock: Clock, dataset: str, event: PoissonGaussian
) -> None:
    copy = tmp_path / "copy.db"
    with Ledger.open(path, signer, clock) as ledger:
        ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
        ledger.plan("a", dataset, event=event, rounds=10, details={})
        for number in range(3):
            ledger.reserve("a", number)
            copy.write_bytes(path.read_bytes())
            with Ledger.open(copy, signer, clock) as copied:
                assert copied.rows(dataset) == ledger.rows(dataset)


def test_rows_are_answered_while_another_process_reads(
    path: Path, ledger: Ledger, signer: SigningKey, clock: Clock, dataset: str
) -> None:
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM entries").fetchall()
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    ledger.set_budget(dataset, "reviews", 4.0, 1e-5)
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    reader.close()
    ledger.set_budget(dataset, "reviews", 5.0, 1e-5)
    assert path.with_name(f"{path.name}-wal").stat().st_size == 0


def test_a_damaged_declaration_that_is_not_even_text_is_refused(
    path: Path, signer: SigningKey, clock: Clock
) -> None:
    Ledger.open(path, signer, clock).close()
    content = path.read_bytes()
    assert content.count(b"CREATE TRIGGER") == 3
    path.write_bytes(content.replace(b"CREATE TRIGGER", b"CREATE TRIGG\xd4R"))
    with pytest.raises(IntegrityError, match="damaged"):
        Ledger.open(path, signer, clock)


def test_a_changed_row_is_refused_with_the_name_of_the_file(
    path: Path, signer: SigningKey, clock: Clock, dataset: str
) -> None:
    with Ledger.open(path, signer, clock) as ledger:
        ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    path.write_bytes(path.read_bytes().replace(b'"reviews"', b'"reviewz"'))
    with pytest.raises(IntegrityError, match=r"ledger\.db is not as it was written: Row 0 ") as caught:
        Ledger.open(path, signer, clock)
    assert caught.value.hint


def test_a_damaged_signer_is_damage_and_not_another_signer(
    path: Path, signer: SigningKey, clock: Clock, dataset: str
) -> None:
    with Ledger.open(path, signer, clock) as ledger:
        ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    path.write_bytes(path.read_bytes().replace(signer.public, bytes(32)))
    with pytest.raises(IntegrityError, match="hash does not fit"):
        Ledger.open(path, signer, clock)


def test_a_full_disk_is_told_from_a_missing_permission(path: Path, ledger: Ledger, dataset: str) -> None:
    connection = ledger._store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for _ in range(100):
            ledger.set_budget(dataset, "reviews" * 30, 3.0, 1e-5)

    with pytest.raises(UsageError, match="its disk is full") as caught:
        fill()
    assert "Make room" in caught.value.hint
    answered = ledger.rows(dataset)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.set_budget(dataset, "reviews", 3.0, 1e-5).seq == len(answered)
