"""A server that wins back a budget, or lies about it, before clients that keep ledgers of their own.

Clauses: protocols/ledger/spec.md, 12.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.errors import IntegrityError
from fedpriv.ledger import ClientLedger, Ledger, Row

ALL, OWN = "a1" * 32, "c1" * 32
EVENT = PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.05)
SERVER, CLIENT = (SigningKey.from_seed(bytes([k]) * 32) for k in (1, 2))


def clock() -> str:
    return "2026-01-31T12:00:00Z"


class Federation:
    """A server's ledger, and one client that follows it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Ledger.open(folder / "server.db", SERVER, clock)
        self.client = self.new_process()
        self.numbers = itertools.count(1)

    def new_process(self) -> ClientLedger:
        own = Ledger.open(self.folder / "client.db", CLIENT, clock)
        return ClientLedger(own, OWN, server=SERVER.public, server_dataset=ALL)

    def plan(self, run: str = "r1") -> None:
        self.server.set_budget(ALL, "films", 3.0, 1e-5)
        self.server.plan(run, ALL, event=EVENT, rounds=4, details={})
        self.show()
        self.client.willing(event=EVENT, rounds=4, epsilon=3.0, name="mine", delta=1e-5)
        self.client.join(run, event=EVENT, rounds=4)

    def show(self) -> None:
        self.client.follow(self.server.rows(ALL, self.client.length))

    def round(self, run: str = "r1") -> None:
        number = next(self.numbers)
        self.server.reserve(run, number)
        self.show()
        self.client.reserve(run, number)
        self.server.release(run, number, {})
        self.show()
        assert self.client.countersign() is not None

    def close(self) -> None:
        self.server.close()
        self.client.close()


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    opened = Federation(tmp_path)
    opened.plan()
    yield opened
    opened.close()


def put_back(federation: Federation, copy: Path) -> None:
    federation.server.close()
    shutil.copy(copy, federation.folder / "server.db")
    federation.server = Ledger.open(federation.folder / "server.db", SERVER, clock)


def test_an_older_copy_of_the_servers_ledger_is_refused_at_the_next_start(
    federation: Federation, tmp_path: Path
) -> None:
    federation.round()
    shutil.copy(tmp_path / "server.db", tmp_path / "copy.db")
    federation.round()
    put_back(federation, tmp_path / "copy.db")
    assert federation.server.spent(ALL).reserved == 1  # the budget is won back, as far as the file says
    with pytest.raises(IntegrityError, match="older copy"):
        federation.new_process().follow(federation.server.rows(ALL))


def test_nor_does_it_help_to_go_on_from_the_older_copy(federation: Federation, tmp_path: Path) -> None:
    federation.round()
    shutil.copy(tmp_path / "server.db", tmp_path / "copy.db")
    federation.round()
    put_back(federation, tmp_path / "copy.db")
    for number in (11, 12, 13):  # longer than what the client remembers
        federation.server.reserve("r1", number)
    with pytest.raises(IntegrityError, match="that row is another one"):
        federation.new_process().follow(federation.server.rows(ALL))


def test_a_new_ledger_under_another_key_is_refused(federation: Federation, tmp_path: Path) -> None:
    federation.round()
    with Ledger.open(tmp_path / "new.db", SigningKey.from_seed(bytes([9]) * 32), clock) as fresh:
        fresh.set_budget(ALL, "films", 3.0, 1e-5)
        with pytest.raises(IntegrityError, match="another key"):
            federation.new_process().follow(fresh.rows(ALL))


def test_a_new_ledger_under_the_same_key_is_refused(federation: Federation, tmp_path: Path) -> None:
    federation.round()
    with Ledger.open(tmp_path / "new.db", SERVER, clock) as fresh:
        fresh.set_budget(ALL, "films", 3.0, 1e-5)
        with pytest.raises(IntegrityError, match="it ends at row 0"):
            federation.new_process().follow(fresh.rows(ALL))


@pytest.mark.parametrize("fault", ["left out", "changed", "signed by another", "unsigned"])
def test_rows_that_do_not_follow_are_refused(federation: Federation, fault: str) -> None:
    federation.server.reserve("r1", 1)
    federation.server.release("r1", 1, {"survivors": [1, 2, 3]})
    rows = federation.server.rows(ALL, federation.client.length)
    bad: list[Row] = {
        "left out": rows[1:],
        "changed": [replace(rows[0], body={**rows[0].body, "round": 3}), rows[1]],
        "signed by another": [replace(row, signer=CLIENT.public) for row in rows],
        "unsigned": [rows[0], replace(rows[1], signature=bytes(64))],
    }[fault]
    with pytest.raises(IntegrityError):
        federation.client.follow(bad)


def test_no_upload_without_the_rounds_own_reserve_row_at_the_end(federation: Federation) -> None:
    federation.server.reserve("r1", 1)
    federation.show()
    with pytest.raises(IntegrityError, match="does not end with the RESERVE row of round 2"):
        federation.client.reserve("r1", 2)
    federation.server.reserve("r1", 2)
    with pytest.raises(IntegrityError, match="RESERVE row of round 2"):
        federation.client.reserve("r1", 2)  # it is in the server's file, and was not shown


def test_a_plan_that_the_chain_does_not_hold_is_not_joined(federation: Federation) -> None:
    cheaper = PoissonGaussian(noise_multiplier=4.0, sampling_rate=0.05)
    with pytest.raises(IntegrityError, match="no plan of run r1"):
        federation.client.join("r1", event=cheaper, rounds=4)


def test_a_raised_budget_of_the_server_raises_no_cap(federation: Federation) -> None:
    for _ in range(4):
        federation.round()
    federation.server.finish("r1", {})
    federation.server.set_budget(ALL, "films", 300.0, 1e-5)
    strong = PoissonGaussian(noise_multiplier=0.7, sampling_rate=0.5)
    federation.server.plan("r2", ALL, event=strong, rounds=40, details={})
    federation.show()
    federation.client.settle()
    with pytest.raises(Exception, match="allowed at delta") as refused:
        federation.client.join("r2", event=strong, rounds=40)
    assert "3 allowed" in str(refused.value)
