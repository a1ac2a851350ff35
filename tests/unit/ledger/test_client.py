"""A client's own ledger beside a server's: what it takes, writes down, signs and refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.errors import BudgetExceeded, IntegrityError
from fedpriv.ledger import Checkpoint, ClientLedger, Head, Ledger
from fedpriv.ledger.countersigned import withdrawal_holds

OWN = "c1" * 32
ROUNDS = 5


@pytest.fixture
def event() -> PoissonGaussian:
    return PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.05)


@pytest.fixture
def planned(ledger: Ledger, dataset: str, event: PoissonGaussian) -> Ledger:
    """A server's ledger with one run planned on it."""
    ledger.set_budget(dataset, "films", 3.0, 1e-5)
    ledger.plan("r1", dataset, event=event, rounds=ROUNDS, details={})
    return ledger


@pytest.fixture
def reopen(
    tmp_path: Path, planned: Ledger, dataset: str, clock: Callable[[], str]
) -> Iterator[Callable[[], ClientLedger]]:
    """The same client, in a new process each time: only its disk is kept."""
    opened: list[ClientLedger] = []

    def again() -> ClientLedger:
        for earlier in opened:
            earlier.close()
        own = Ledger.open(tmp_path / "client.db", SigningKey.from_seed(bytes([7]) * 32), clock)
        opened.append(ClientLedger(own, OWN, server=planned.public, server_dataset=dataset))
        return opened[-1]

    yield again
    for earlier in opened:
        earlier.close()


@pytest.fixture
def client(
    reopen: Callable[[], ClientLedger], event: PoissonGaussian, planned: Ledger, dataset: str
) -> ClientLedger:
    joined = reopen()
    joined.follow(planned.rows(dataset))
    joined.willing(event=event, rounds=ROUNDS, epsilon=3.0, name="mine", delta=1e-5)
    joined.join("r1", event=event, rounds=ROUNDS)
    return joined


def reserve(server: Ledger, client: ClientLedger, dataset: str, round_: int) -> None:
    server.reserve("r1", round_)
    client.follow(server.rows(dataset, client.length))


def release(server: Ledger, client: ClientLedger, dataset: str, round_: int) -> bytes | None:
    server.release("r1", round_, {"survivors": [1]})
    client.follow(server.rows(dataset, client.length))
    return client.countersign()


def test_a_round_is_in_both_ledgers_and_the_head_is_signed(
    planned: Ledger, client: ClientLedger, dataset: str
) -> None:
    reserve(planned, client, dataset, 1)
    client.reserve("r1", 1)
    signature = release(planned, client, dataset, 1)
    last = planned.rows(dataset)[-1]
    assert signature is not None
    assert Head.of(last).countersigned(client.key.public, signature)
    assert client.remembered == Head.of(last)
    other = Head(dataset, last.seq, bytes(32), last.signer)
    assert not other.countersigned(client.key.public, signature)


def test_what_was_countersigned_is_on_the_disk_before_it_is_given(
    planned: Ledger, client: ClientLedger, dataset: str, reopen: Callable[[], ClientLedger]
) -> None:
    reserve(planned, client, dataset, 1)
    client.reserve("r1", 1)
    release(planned, client, dataset, 1)
    assert reopen().remembered == Head.of(planned.rows(dataset)[-1])


def test_a_client_that_reserved_nothing_signs_nothing(
    planned: Ledger, client: ClientLedger, dataset: str
) -> None:
    reserve(planned, client, dataset, 1)
    assert release(planned, client, dataset, 1) is None


def test_a_round_that_was_released_while_the_client_was_away_is_written_down_later(
    planned: Ledger,
    client: ClientLedger,
    dataset: str,
    event: PoissonGaussian,
    reopen: Callable[[], ClientLedger],
) -> None:
    reserve(planned, client, dataset, 1)
    client.reserve("r1", 1)
    planned.release("r1", 1, {})
    planned.reserve("r1", 2)
    back = reopen()
    back.follow(planned.rows(dataset))
    back.join("r1", event=event, rounds=ROUNDS)
    signature = back.countersign()
    assert signature is not None
    assert Head.of(planned.rows(dataset)[-1]).countersigned(back.key.public, signature)


def test_its_own_cap_refuses_whatever_the_server_allows(
    tmp_path: Path, planned: Ledger, dataset: str, event: PoissonGaussian, clock: Callable[[], str]
) -> None:
    key = SigningKey.from_seed(bytes([8]) * 32)
    with Ledger.open(tmp_path / "small.db", key, clock) as own:
        own.set_budget(OWN, "mine", 0.01, 1e-5)
        small = ClientLedger(own, OWN, server=planned.public, server_dataset=dataset)
        planned.set_budget(dataset, "films", 300.0, 1e-5)  # the server raises what it can raise
        small.follow(planned.rows(dataset))
        with pytest.raises(BudgetExceeded, match=r"allows 0\.01"):
            small.willing(event=event, rounds=ROUNDS, epsilon=300.0, name="mine", delta=1e-5)
        with pytest.raises(BudgetExceeded):
            small.join("r1", event=event, rounds=ROUNDS)
        assert own.spent(OWN).epsilon == 0.0


def test_a_withdrawal_names_one_round_and_ends_it_for_good(
    planned: Ledger, client: ClientLedger, dataset: str, reopen: Callable[[], ClientLedger]
) -> None:
    reserve(planned, client, dataset, 1)
    row = planned.rows(dataset)[-1]
    word = client.withdraw("r1", 1)
    assert word is not None
    said = {"dataset": dataset, "run": "r1", "round": 1, "reserve": row.hash}
    assert withdrawal_holds(client.key.public, word, **said)
    for change in ({"round": 2}, {"run": "r2"}, {"reserve": bytes(32)}):
        assert not withdrawal_holds(client.key.public, word, **(said | change))
    again = reopen()
    again.follow(planned.rows(dataset))
    with pytest.raises(Exception, match="already voided"):
        again.reserve("r1", 1)


def test_a_client_that_may_have_sent_something_does_not_withdraw(
    planned: Ledger, client: ClientLedger, dataset: str
) -> None:
    reserve(planned, client, dataset, 1)
    client.reserve("r1", 1)
    assert client.withdraw("r1", 1) is None


def test_finished_runs_are_closed_in_the_clients_ledger_too(
    planned: Ledger, client: ClientLedger, dataset: str, tmp_path: Path
) -> None:
    reserve(planned, client, dataset, 1)
    client.reserve("r1", 1)
    release(planned, client, dataset, 1)
    planned.finish("r1", {})
    client.follow(planned.rows(dataset, client.length))
    client.settle()
    client.close()
    with Ledger.open(tmp_path / "client.db", SigningKey.from_seed(bytes([7]) * 32), lambda: "") as own:
        (run,) = own.runs(OWN)
        assert run.finished
        assert run.released == (1,)


def test_a_checkpoint_reads_back_and_judges_itself(
    planned: Ledger, client: ClientLedger, dataset: str
) -> None:
    reserve(planned, client, dataset, 1)
    client.reserve("r1", 1)
    signature = release(planned, client, dataset, 1)
    assert signature is not None
    last = planned.rows(dataset)[-1]
    kept = Checkpoint(Head.of(last), last.signature, "r1", 1, {4: (client.key.public, signature)})
    assert Checkpoint.from_dict(kept.to_dict()) == kept
    assert kept.faults() == []
    forged = Checkpoint(kept.head, bytes(64), "r1", 1, {4: (client.key.public, bytes(64))})
    assert len(forged.faults()) == 2


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b'{"format": "x"}', b"[" * 100_000])
def test_bytes_that_are_no_checkpoint_are_one_error(text: bytes) -> None:
    with pytest.raises(IntegrityError):
        Checkpoint.from_json(text)
