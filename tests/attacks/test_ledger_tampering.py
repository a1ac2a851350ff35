"""Someone with the file, and without the key, edits the past. Each edit is found on the next opening."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.errors import BudgetExceeded, IntegrityError, UsageError
from fedpriv.ledger import Ledger, verify_bundle
from fedpriv.ledger.rows import seal

DATASET = "d5" * 32
KEY = SigningKey.from_seed(bytes(range(32)))
EVENT = PoissonGaussian(noise_multiplier=1.0, sampling_rate=0.02)


def clock() -> str:
    return "2026-01-31T12:00:00Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with one plan of four rounds, three of them reserved."""
    path = tmp_path / "ledger.db"
    with Ledger.open(path, KEY, clock) as ledger:
        ledger.set_budget(DATASET, "reviews", 3.0, 1e-5)
        ledger.plan("a", DATASET, event=EVENT, rounds=4, details={})
        for number in range(3):
            ledger.reserve("a", number)
        ledger.release("a", 0, {"survivors": [1, 2, 3]})
    return path


def edit(path: Path, *statements: str) -> None:
    """What anybody with write access can do: take the triggers away, then change rows."""
    connection = sqlite3.connect(path)
    for name in ("entries_are_not_changed", "entries_are_not_removed", "entries_follow_one_another"):
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


SWAP = (
    "UPDATE entries SET seq = 99 WHERE seq = 2",
    "UPDATE entries SET seq = 2 WHERE seq = 3",
    "UPDATE entries SET seq = 3 WHERE seq = 99",
)


RAISE = """UPDATE entries SET body = replace(body, '"epsilon":"3.0"', '"epsilon":"9.0"') WHERE seq = 0"""
EXTEND = """UPDATE entries SET body = replace(body, '"rounds":4', '"rounds":9') WHERE kind = 'PLAN'"""


@pytest.mark.parametrize(
    ("statements", "names"),
    [
        ([RAISE], "Row 0"),
        ([EXTEND], "Row 1"),
        (["UPDATE entries SET time = '2026-02-01T12:00:00Z' WHERE seq = 3"], "Row 3"),
        (["UPDATE entries SET hash = zeroblob(32) WHERE seq = 3"], "Row 3"),
        (["UPDATE entries SET prev = zeroblob(32) WHERE seq = 3"], "Row 3"),
        (["UPDATE entries SET signature = zeroblob(64) WHERE seq = 5"], "signature of row 5"),
        (["UPDATE entries SET body = 'nonsense' WHERE seq = 3"], "Row 3"),
        (["UPDATE entries SET body = body || ' ' WHERE seq = 3"], "Row 3"),
        (["DELETE FROM entries WHERE seq = 3"], "Row 4"),
        (["DELETE FROM entries WHERE seq = 0"], "Row 1"),
        (SWAP, "Row 2"),
        (["UPDATE entries SET dataset = 'ee' || substr(dataset, 3)"], "Row 0"),
    ],
)
def test_an_edited_row_is_found_on_opening(path: Path, statements: list[str], names: str) -> None:
    edit(path, *statements)
    with pytest.raises(IntegrityError, match=names) as caught:
        Ledger.open(path, KEY, clock)
    assert "copy" in caught.value.hint


def test_a_round_cannot_be_voided_by_hand_without_the_key(path: Path) -> None:
    with Ledger.open(path, KEY, clock) as ledger:
        last = ledger.rows(DATASET)[-1]
    stranger = SigningKey.from_seed(bytes(32))
    body = {"run": "a", "round": 1, "evidence": "it never happened"}
    forged = seal(stranger, seq=6, dataset=DATASET, kind="VOID", time=clock(), body=body, prev=last.hash)
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            DATASET,
            6,
            "VOID",
            clock(),
            json.dumps(body, sort_keys=True, separators=(",", ":")),
            forged.prev,
            KEY.public,  # claims to be of the owner
            forged.hash,
            forged.signature,
        ),
    )
    connection.commit()
    connection.close()
    with pytest.raises(IntegrityError, match="Row 6"):
        Ledger.open(path, KEY, clock)


def test_a_copy_with_the_last_rows_taken_away_shows_to_who_knows_a_later_head(path: Path) -> None:
    with Ledger.open(path, KEY, clock) as ledger:
        head = ledger.head(DATASET)
    edit(path, "DELETE FROM entries WHERE seq >= 4")
    with Ledger.open(path, KEY, clock) as ledger:  # by itself a shorter chain is a sound one
        bundle = ledger.export(DATASET)
    assert verify_bundle(bundle, signer=KEY.public) == []
    assert [m.where for m in verify_bundle(bundle, signer=KEY.public, expected_head=head)] == ["head"]


def test_rows_changed_under_an_open_ledger_are_noticed_before_the_next_is_written(path: Path) -> None:
    with Ledger.open(path, KEY, clock) as ledger:
        edit(path, "DELETE FROM entries WHERE seq = 5")
        with pytest.raises(IntegrityError, match="changed while the ledger was open"):
            ledger.reserve("a", 3)
    with Ledger.open(path, KEY, clock) as ledger:
        assert len(ledger.rows(DATASET)) == 5


def test_the_same_round_is_not_replayed(path: Path) -> None:
    """A RESERVE row copied to the end of the chain, as it is, does not become a second one."""
    edit(
        path,
        "INSERT INTO entries SELECT dataset, 6, kind, time, body, prev, signer, hash, signature "
        "FROM entries WHERE seq = 2",
    )
    with pytest.raises(IntegrityError, match="Row 6"):
        Ledger.open(path, KEY, clock)


def test_another_ledgers_chain_is_not_taken_for_this_one(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with Ledger.open(other, SigningKey.from_seed(bytes(32)), clock) as ledger:
        ledger.set_budget(DATASET, "reviews", 100.0, 1e-5)
    path.write_bytes(other.read_bytes())
    with pytest.raises(UsageError, match="belongs to the signer"):
        Ledger.open(path, KEY, clock)


def test_a_run_cannot_be_renamed_to_start_with_a_fresh_budget(path: Path) -> None:
    with Ledger.open(path, KEY, clock) as ledger:
        with pytest.raises(BudgetExceeded):
            ledger.plan("b", DATASET, event=EVENT, rounds=600, details={})
        ledger.plan("b", DATASET, event=EVENT, rounds=10, details={})
        assert ledger.spent(DATASET).rule == "RDP filter"


def test_a_flipped_byte_anywhere_never_lowers_what_is_spent(path: Path, tmp_path: Path) -> None:
    """A bad disk or a clumsy editor: the file is refused, or says what it said before."""
    data = path.read_bytes()
    with Ledger.open(path, KEY, clock) as ledger:
        truth = [row.hash for row in ledger.rows(DATASET)]
    opened = 0
    for position in range(0, len(data), len(data) // 300):
        broken = tmp_path / f"{hashlib.sha256(str(position).encode()).hexdigest()[:8]}.db"
        broken.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        try:
            ledger = Ledger.open(broken, KEY, clock)
        except (IntegrityError, UsageError):
            continue
        with ledger:
            opened += 1
            assert [row.hash for row in ledger.rows(DATASET)] == truth
    assert opened < 300  # unused space may change unseen, but not everything is unused
