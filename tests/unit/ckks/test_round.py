"""Whole rounds in every mode: dropouts at every stage, rotation, those that come back, and exact sums."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest
from parties.ckks import CONTEXT, STAGES, Parties, chunked, params, ring_of

from fedpriv.ckks import CkksParams, Client, Holder, Server, messages
from fedpriv.errors import UsageError

AUTHORITY = params("authority")
THRESHOLD = params("threshold", 6, holders=(1, 2, 4, 5, 6), max_colluders=1)
SHARED = params("shared-key", 4)


@pytest.mark.parametrize("chosen", [AUTHORITY, THRESHOLD, SHARED], ids=lambda chosen: chosen.mode)
def test_rounds_give_the_exact_sums(chosen: CkksParams) -> None:
    parties = Parties(chosen)
    for round_ in (3, 4, 9):
        if round_ > 3:
            parties.open(round_)
            assert parties.server.stage == "upload"  # the key is still there
        result = parties.finish()
        assert result.survivors == tuple(range(1, chosen.clients + 1))
        parties.assert_exact(result)
    assert list(result.answered) == ["upload", "open"]


def test_a_semi_honest_server_sends_the_sum_only() -> None:
    for mode in ("authority", "threshold"):
        parties = Parties(params(mode, 4, malicious=False))
        requests = parties.run_until("open")
        for request in requests.values():
            assert {len(chunk.seconds) for chunk in parties.read_request(request).chunks} == {1}
        parties.finish_exactly()


@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("mode", ["authority", "threshold", "shared-key"])
def test_several_chunks_in_several_exchanges(
    mode: str, malicious: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = chunked(mode, 4, 3, malicious=malicious)
    monkeypatch.setattr(messages, "EXCHANGE_BYTES", 1)
    parties = Parties(chosen)
    parties.run_until("open")
    exchanges = 0
    while not parties.server.finished:
        exchanges += 1
        parties.step()
    assert exchanges == 3
    parties.assert_exact(parties.server.result())


def test_an_exchange_holds_as_many_chunks_as_fit() -> None:
    chosen = chunked("threshold", 4, 3)
    of_one = 4 * messages.second_bytes(chosen)
    assert messages.chunks_per_exchange(chosen, 4) == messages.EXCHANGE_BYTES // of_one
    parties = Parties(chosen)
    request = parties.read_request(next(iter(parties.run_until("open").values())))
    assert len(request.chunks) == 3
    parties.finish_exactly()


def test_clients_may_vanish_down_to_the_floor_and_leave_nothing_in_the_sum() -> None:
    parties = Parties(chunked("authority", 4, 2, min_survivors=3))
    parties.run_until("upload")
    parties.deliver(2, parties.answer(2)[:1])  # half an upload
    result = parties.finish({"upload": {2}})
    assert result.survivors == (1, 3, 4)
    parties.assert_exact(result)
    parties.open(4)
    parties.run_until("upload")
    sentence = parties.too_few({1, 2})
    assert "2 clients are left after the stage 'upload' and 3 are needed" in sentence


def test_without_the_authority_there_is_no_key_and_no_sum() -> None:
    parties = Parties(AUTHORITY)
    assert parties.server.asked == (0,)
    assert "0 holders are left after the stage 'confirm'" in parties.too_few({0})
    parties.open(4)
    parties.run_until("open")
    assert "0 of the key's holders answered and 1 are needed" in parties.too_few({0})
    parties.open(5)
    assert parties.server.stage == "confirm"  # a new key, and the round works again
    parties.finish_exactly()


SPARE = len(THRESHOLD.holders) - THRESHOLD.threshold


@pytest.mark.parametrize("stage", STAGES)
def test_as_many_holders_as_the_threshold_spares_may_vanish_at_any_stage(stage: str) -> None:
    assert SPARE == 1
    gone = {2}
    parties = Parties(THRESHOLD)
    parties.run_until(stage)
    result = parties.finish(dict.fromkeys(STAGES[STAGES.index(stage) :], gone))
    parties.assert_exact(result)
    assert (2 in result.survivors) == (stage == "open")
    parties.open(4, absent=gone)  # a key that all of them have serves on without it
    assert parties.server.stage == ("upload" if stage in ("upload", "open") else "advertise")
    parties.assert_exact(parties.finish(dict.fromkeys(STAGES, gone)))


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "upload"])
def test_one_more_that_vanishes_ends_the_round_with_a_clear_sentence(stage: str) -> None:
    parties = Parties(THRESHOLD)
    parties.run_until(stage)
    assert "4 are needed" in parties.too_few({2, 5})
    parties.open(4)
    assert parties.server.stage == "advertise"
    parties.finish_exactly()


def test_different_holders_vanish_at_different_stages() -> None:
    chosen = params("threshold", 5, malicious=False, threshold=2)
    for first, second, third in (("deal", "commit", "reveal"), ("commit", "reveal", "open")):
        parties = Parties(chosen)
        gone: set[int] = set()
        while not parties.server.finished:
            for stage, holder in ((first, 1), (second, 3), (third, 5)):
                if parties.server.stage == stage:
                    gone.add(holder)
            parties.step(gone if parties.server.stage != "upload" else ())
        parties.assert_exact(parties.server.result())


def test_holders_vanish_in_the_middle_of_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "EXCHANGE_BYTES", 1)
    parties = Parties(chunked("threshold", 5, 3, malicious=False, threshold=3))
    parties.run_until("open")
    parties.step()
    parties.step({1})
    parties.step({1, 4})
    parties.assert_exact(parties.server.result())
    parties.open(4)
    parties.run_until("open")
    parties.step({2})
    assert "2 of the key's holders answered and 3 are needed: the round ends after 1 of 3 chunks" in (
        parties.too_few({2, 3, 4})
    )


def test_with_a_shared_key_the_next_client_answers_for_one_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages, "EXCHANGE_BYTES", 1)
    parties = Parties(chunked("shared-key", 4, 2))
    parties.run_until("open")
    assert parties.server.asked == (1,)
    parties.step()
    parties.step({1})
    assert parties.server.asked == (2,)
    parties.step({2})
    parties.step()
    result = parties.server.result()
    parties.assert_exact(result)
    assert result.answered["open"] == (1, 3)


@pytest.mark.parametrize("mode", ["authority", "threshold"])
def test_a_key_is_replaced_after_its_sums(mode: str) -> None:
    parties = Parties(params(mode, 4, sums_per_key=2))
    names = []
    for round_ in range(3, 8):
        if round_ > 3:
            parties.open(round_)
        parties.finish_exactly()
        names.append(parties.key_name)
    assert names[0] == names[1] != names[2] == names[3] != names[4]


def test_a_client_that_comes_back_is_shown_the_key_again() -> None:
    parties = Parties(params("authority", 4, min_survivors=3, sums_per_key=3))
    parties.finish_exactly()
    parties.open(4, absent={2})
    parties.assert_exact(parties.finish({"upload": {2}}))
    parties.open(5)
    parties.parties[2] = fresh = parties.party(2)  # a new process, without the key
    fresh.open_round(5, CONTEXT)
    fresh.set_vectors(parties.vectors[2])  # type: ignore[union-attr]
    requests = parties.run_until("upload")
    assert [parties.read_request(request).key is None for request in requests.values()] == [
        True,
        False,
        True,
        True,
    ]
    parties.finish_exactly()


def test_a_key_that_a_holder_missed_serves_one_round() -> None:
    """Else another one that vanished in the next round would be one too many."""
    parties = Parties(params("threshold", 6, holders=(1, 2, 4, 5, 6)))
    parties.assert_exact(parties.finish({stage: {4} for stage in ("reveal", "confirm", "upload")}))
    parties.open(4)
    result = parties.finish({"open": {5}})
    assert result.answered["open"] == (1, 2, 4, 6)
    parties.assert_exact(result)


@pytest.mark.parametrize("mode", ["authority", "threshold", "shared-key"])
def test_eight_clients_at_their_extremes(mode: str) -> None:
    chosen = params(mode, 8, dimension=3000, bound=2**20)
    parties = Parties(chosen)
    for sign, client in product((1, -1), range(1, 9)):
        parties.vectors[client][:] = sign * chosen.bound
        parties.parties[client].set_vectors(parties.vectors[client])  # type: ignore[union-attr]
    result = parties.finish()
    assert set(result.values.tolist()) == {-8 * 2**20}
    parties.assert_exact(result)


def test_uploads_live_in_a_file_that_is_closed_with_the_round() -> None:
    files: list[io.BytesIO] = []

    def spool() -> io.BytesIO:
        files.append(io.BytesIO())
        return files[-1]

    parties = Parties(AUTHORITY)
    parties.server = Server(AUTHORITY, parties.run_id, parties.roster, spool=spool)
    parties.open(4)
    parties.run_until("open")
    chunk = messages.first_bytes(AUTHORITY, 0) + messages.second_bytes(AUTHORITY)
    assert len(files[0].getvalue()) == 3 * chunk
    parties.finish_exactly()
    assert [file.closed for file in files] == [True]


def test_what_is_sent_in_the_upload_is_what_the_parameters_say() -> None:
    parties = Parties(chunked("authority", 3, 2))
    parties.run_until("upload")
    *chunks, _ = map(parties.read_reply, parties.answer(1))
    assert sum(len(c.first) + len(c.second) for c in chunks) == parties.params.upload_bytes


def test_chunks_are_encrypted_as_they_are_read() -> None:
    chosen = chunked("authority", 3, 2)
    parties = Parties(chosen)
    parties.run_until("upload")
    vector = parties.vectors[1].copy()
    client = parties.parties[1]
    assert isinstance(client, Client)
    client.set_vectors(vector, copy=False)
    stream = client.handle(parties.server.request(1))
    next(stream)
    vector[-1] = chosen.bound + 1  # the last chunk has not been looked at yet
    with pytest.raises(UsageError, match="bound"):
        list(stream)


def test_mistakes_of_the_caller() -> None:
    parties = Parties(AUTHORITY)
    client, authority = parties.parties[1], parties.parties[0]
    assert isinstance(client, Client)
    for wrong, words in (
        (np.zeros(AUTHORITY.dimension + 1, dtype=np.int64), "shape"),
        (np.zeros(AUTHORITY.dimension), "int64"),
        (np.full(AUTHORITY.dimension, AUTHORITY.bound + 1), "bound"),
        (np.full(AUTHORITY.dimension, -AUTHORITY.bound - 1), "bound"),
        (np.full(AUTHORITY.dimension, -(2**63)), "bound"),
    ):
        with pytest.raises(UsageError, match=words):
            client.set_vectors(wrong)
    for party in (client, authority, parties.server):
        for round_ in (3, 2, -1, True, 2**63):
            with pytest.raises(UsageError):
                party.open_round(round_, CONTEXT)
        with pytest.raises(UsageError, match="32 bytes"):
            party.open_round(4, b"short")
    with pytest.raises(UsageError, match="not asked"):
        parties.server.request(1)
    with pytest.raises(UsageError, match="not finished"):
        parties.server.result()
    parties.finish_exactly()
    with pytest.raises(UsageError, match="No vector is awaited"):
        client.set_vectors(parties.vectors[1])
    with pytest.raises(UsageError, match="No stage is open"):
        parties.server.advance()
    with pytest.raises(UsageError, match="not one of the holders"):
        Holder(AUTHORITY, parties.run_id, 1, parties.identities[1], parties.roster, parties.stream.read)
    with pytest.raises(UsageError, match="as party 2"):
        Client(AUTHORITY, parties.run_id, 2, parties.identities[1], parties.roster, parties.stream.read)
    with pytest.raises(UsageError, match="authority"):
        Server(AUTHORITY, parties.run_id, {1: b"k" * 32})


def test_an_upload_without_a_vector_is_the_callers_mistake_and_changes_nothing() -> None:
    parties = Parties(AUTHORITY)
    parties.run_until("upload")
    parties.parties[1] = client = parties.party(1)
    assert isinstance(client, Client)
    client.open_round(3, CONTEXT)
    with pytest.raises(UsageError, match="no vector was set"):
        client.handle(parties.server.request(1))
    client.set_vectors(parties.vectors[1])
    parties.finish_exactly()


def test_nothing_secret_prints() -> None:
    parties = Parties(THRESHOLD)
    requests = parties.run_until("commit")
    making = parties.holder(1)._memory.making
    assert making is not None
    secret = next(iter(making.contributions.values()))
    shown = repr(making) + repr(parties.parties[1]) + repr(parties.read_request(requests[1]))
    parties.finish_exactly()
    key = parties.holder(1)._memory.key
    shown += repr(key) + repr(parties.server) + repr(ring_of(THRESHOLD))
    assert repr(secret)[2:-1] not in shown
    assert all(repr(value)[2:-1] not in shown for value in key.secrets.values())  # type: ignore[union-attr]
