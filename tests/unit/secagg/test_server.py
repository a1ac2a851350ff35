"""What the server refuses, and that refusing leaves the round as it was."""

from __future__ import annotations

import numpy as np
import pytest
from parties.secagg import CONTEXT, Parties, sparse_params

from fedpriv.errors import DecodeError, ProtocolViolation, TooFewParties, UsageError
from fedpriv.secagg import SecAggParams, Server, Vector


def test_a_reply_twice_late_or_in_another_name_is_refused_and_the_round_goes_on() -> None:
    parties = Parties(4)
    first = parties.answer(1)[0]
    with pytest.raises(ProtocolViolation, match="SA-15") as refusal:
        parties.server.receive(2, first)
    assert refusal.value.party == 2
    parties.server.receive(1, first)
    with pytest.raises(ProtocolViolation, match="twice"):
        parties.server.receive(1, first)
    for client in (2, 3):
        parties.deliver(client, parties.answer(client))
    late = parties.answer(4)[0]
    parties.server.advance()
    with pytest.raises(ProtocolViolation, match="SA-15"):
        parties.server.receive(4, late)
    result = parties.finish()
    assert result.survivors == (1, 2, 3)
    parties.assert_exact(result)


def test_a_fault_while_masks_are_taken_off_ends_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tried again would take the first vector's masks off twice, and have a wrong sum."""
    params = SecAggParams.for_cohort(4, vectors=[Vector("a", 20, 5), Vector("b", 20, 5)])
    parties = Parties(params=params)
    taken = []

    def failing(target: object, masks: object, *, start: int = 0) -> None:
        taken.append(start)
        if len(taken) == 2:
            raise MemoryError

    monkeypatch.setattr(parties.server, "_add_masks", failing)
    parties.run_until("unmask")
    for client in parties.server.asked:
        parties.deliver(client, parties.answer(client))
    with pytest.raises(MemoryError):
        parties.server.advance()
    assert parties.server.stage == "aborted"
    for act in (parties.server.advance, parties.server.result):
        with pytest.raises(UsageError):
            act()


def test_a_client_that_dropped_out_cannot_come_back_in_the_round() -> None:
    parties = Parties(4)
    request = parties.server.request(4)
    parties.step({4})
    reply = parties.answer(4, request)[0]
    shared = parties.answer(1)[0]
    with pytest.raises(ProtocolViolation, match="SA-15"):
        parties.server.receive(4, reply)
    with pytest.raises(ProtocolViolation, match="not asked"):
        parties.server.receive(4, parties.forge_reply(shared, sender=4))
    with pytest.raises(UsageError, match="not asked"):
        parties.server.request(4)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", bytes(3_000_000), None, "text"])
def test_bytes_that_are_no_reply_name_the_client_and_it_may_still_answer(data: object) -> None:
    parties = Parties(3)
    before = parties.server.sequence
    with pytest.raises(DecodeError, match="client 2") as refusal:
        parties.server.receive(2, data)  # type: ignore[arg-type]
    assert refusal.value.party == 2
    assert parties.server.sequence == before
    result = parties.finish()
    assert result.survivors == (1, 2, 3)
    parties.assert_exact(result)


def test_a_client_beyond_the_roster_is_refused() -> None:
    parties = Parties(3)
    reply = parties.answer(1)[0]
    for client in (0, 4):
        with pytest.raises(ProtocolViolation, match="SA-15"):
            parties.server.receive(client, reply)


@pytest.mark.parametrize("stage", ["advertise", "share", "upload", "consistency", "unmask"])
def test_a_stage_may_be_closed_and_nobody_is_asked_again(stage: str) -> None:
    parties = Parties(4)
    parties.run_until(stage)
    requests = parties.requests()
    assert requests == parties.requests()  # the same each time
    parties.deliver(2, parties.answer(2))
    assert parties.server.waiting == (1, 3, 4)
    assert parties.server.asked == (1, 2, 3, 4)
    assert f"{stage}, 1 of 4" in repr(parties.server)


def test_every_message_and_every_closing_is_a_step() -> None:
    parties = Parties(3)
    assert parties.server.sequence == 1
    parties.step()
    assert parties.server.sequence == 5
    with pytest.raises(ProtocolViolation):
        parties.server.receive(1, parties.forge_reply(parties.answer(1)[0], session=bytes(32)))
    assert parties.server.sequence == 5


def test_a_server_without_a_round() -> None:
    parties = Parties(3)
    server = Server(parties.params, parties.run_id, parties.roster)
    assert (server.stage, server.finished, server.asked, server.waiting) == ("idle", False, (), ())
    for call in (server.advance, server.result, lambda: server.request(1)):
        with pytest.raises(UsageError):
            call()
    with pytest.raises(ProtocolViolation, match="SA-4"):
        server.receive(1, parties.answer(1)[0])


@pytest.mark.parametrize(
    ("invite", "message"),
    [
        ({1, 2, 9}, "Client 9"),
        ({0, 1, 2, 3}, "Client 0"),
        ({1, 2}, "cannot be the 3"),
        ((), "cannot be the 3"),
    ],
)
def test_an_invitation_that_leads_to_no_sum_is_refused(invite: object, message: str) -> None:
    parties = Parties(5)
    with pytest.raises(UsageError, match=message):
        parties.server.open_round(4, CONTEXT, invite=invite)  # type: ignore[arg-type]
    assert parties.server.stage == "advertise"
    parties.assert_exact(parties.finish())


def test_only_those_who_are_invited_are_asked() -> None:
    parties = Parties(6)
    parties.open(4, invite=(5, 1, 3, 6))
    assert parties.server.asked == (1, 3, 5, 6)
    result = parties.finish()
    assert result.survivors == (1, 3, 5, 6)
    parties.assert_exact(result)


def test_a_round_that_is_left_in_the_middle_is_given_up() -> None:
    for stage in ("share", "upload", "consistency", "unmask"):
        parties = Parties(4)
        parties.run_until(stage)
        parties.open(4)
        parties.assert_exact(parties.finish())


@pytest.mark.parametrize("malicious", [True, False])
def test_the_server_keeps_one_vector_however_many_upload(malicious: bool) -> None:
    parties = Parties(8, dimension=50_000, bits=30, malicious=malicious)
    parties.run_until("upload")
    sizes = set()
    for client in parties.server.asked:
        parties.deliver(client, parties.answer(client))
        record = parties.server._record
        assert record.uploads == {}
        sizes.add(sum(len(words) for words in parties.server._round.sum.words().values()))
    assert sizes == {4 * 50_000}
    parties.assert_exact(parties.finish())


def test_what_only_an_open_round_needs_is_let_go_when_it_ends() -> None:
    parties = Parties(4, prepare=True)
    parties.finish()
    record = parties.server._record
    assert (record.mail, record.early, record.shares, record.signatures) == ({}, {}, {}, {})
    assert sorted(record.ahead) == [1, 2, 3, 4]
    parties.open(4, invite=())
    with pytest.raises(TooFewParties):
        parties.step({1, 2})
    record = parties.server._record
    assert (record.mail, record.early, record.shares, record.uploads) == ({}, {}, {}, {})
    assert parties.server.asked == ()


def test_on_a_sparse_graph_a_client_with_too_few_neighbours_is_not_asked() -> None:
    # It would refuse.  Its vector is in the sum, and its b cannot be recovered: the round ends without a sum.
    parties = Parties(params=sparse_params(12, degree=4, threshold=3, min_survivors=9))
    parties.run_until("upload")
    lonely = 1
    gone = set(parties.register.neighbours(lonely)[:2])
    parties.step(gone)
    assert lonely not in parties.server.asked
    assert not gone & set(parties.server.asked)
    with pytest.raises(TooFewParties, match="share of client"):
        parties.finish()


@pytest.mark.parametrize(("stage", "away"), [("share", 1), ("upload", 7), ("consistency", 12), ("unmask", 4)])
def test_on_a_sparse_graph_one_may_vanish_at_any_stage(stage: str, away: int) -> None:
    parties = Parties(params=sparse_params(12, degree=4, threshold=3, min_survivors=9))
    parties.run_until(stage)
    parties.step({away})
    result = parties.finish()
    in_sum = set(parties.roster) - ({away} if stage in {"share", "upload"} else set())
    assert result.survivors == tuple(sorted(in_sum))
    parties.assert_exact(result)


def test_the_result_waits_for_the_end() -> None:
    parties = Parties(3)
    with pytest.raises(UsageError, match="not finished"):
        parties.server.result()
    result = parties.finish()
    with pytest.raises(UsageError, match="No stage is open"):
        parties.server.advance()
    assert parties.server.asked == ()
    again = parties.server.result()
    assert np.array_equal(result.vectors["update"], again.vectors["update"])
    again.vectors["update"][:] = 0
    parties.assert_exact(parties.server.result())
