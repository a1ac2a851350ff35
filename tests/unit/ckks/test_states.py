"""The transition tables, what they forbid, and the pages drawn from them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import msgspec
import pytest
from parties.ckks import STAGES, Parties, params

from fedpriv.ckks.messages import OpenChunk, OpenRequest, Reply, Request, Seal, SignedKey, UploadRequest
from fedpriv.ckks.states import (
    CLIENT_TRANSITIONS,
    HOLDER_TRANSITIONS,
    SERVER_REPLIES,
    SERVER_TRANSITIONS,
    ClientState,
    Closing,
    HolderState,
    Stage,
    client_after,
    diagrams,
    holder_after,
)
from fedpriv.errors import ProtocolViolation

PROTOCOL = Path(__file__).resolve().parents[3] / "protocols" / "ckks"


def test_the_published_diagrams_are_those_of_the_tables() -> None:
    assert (PROTOCOL / "states.md").read_text(encoding="utf-8") == diagrams()


def test_the_published_schema_names_every_message_and_field() -> None:
    schema = (PROTOCOL / "messages.md").read_text(encoding="utf-8")
    for message in (*Request.__args__, *Reply.__args__):
        assert f"| `{message.__struct_config__.tag}` |" in schema
    for struct in (*Request.__args__, *Reply.__args__, SignedKey, Seal, OpenChunk):
        for field in msgspec.structs.fields(struct):
            assert f"`{field.encode_name}`" in schema


@pytest.mark.parametrize("sole", [True, False])
def test_every_open_stage_ends_and_only_those(sole: bool) -> None:
    table = SERVER_TRANSITIONS[sole]
    open_stages = {stage for stage, _ in table}
    assert open_stages == ({Stage.CONFIRM, Stage.UPLOAD, Stage.OPEN} if sole else set(SERVER_REPLIES))
    assert all((stage, Closing.TOO_FEW) in table for stage in open_stages)
    assert {Stage.FINISHED, Stage.ABORTED} <= set(table.values())


def test_a_holder_opens_only_with_a_key_and_a_key_is_confirmed_last() -> None:
    for sole, table in HOLDER_TRANSITIONS.items():
        assert {state for state, message in table if message is OpenRequest} == {HolderState.READY}
        into_ready = {state for (state, _), after in table.items() if after is HolderState.READY}
        expected = HolderState.KEYLESS if sole else HolderState.REVEALED
        assert into_ready == {expected, HolderState.READY}


def _requests(parties: Parties, party: int) -> list[bytes]:
    requests = []
    while not parties.server.finished:
        if party in parties.server.asked:
            requests.append(parties.server.request(party))
        parties.step()
    return requests


COMMITTEE = params("threshold", 4)


def test_what_is_not_in_the_tables_is_refused() -> None:
    parties = Parties(COMMITTEE)
    requests = [parties.read_request(request) for request in _requests(parties, 1)]
    assert len(requests) == 7
    for state, request in product(ClientState, requests):
        if (state, type(request)) not in CLIENT_TRANSITIONS:
            again = state is ClientState.UPLOADED and isinstance(request, UploadRequest)
            with pytest.raises(ProtocolViolation, match="CK-11" if again else "CK-17"):
                client_after(state, request)
    for sole, state, request in product((True, False), HolderState, requests):
        if (state, type(request)) in HOLDER_TRANSITIONS[sole]:
            assert holder_after(state, request, sole=sole) in HolderState
            continue
        with pytest.raises(ProtocolViolation, match="CK-17"):
            holder_after(state, request, sole=sole)


def test_out_of_turn_requests_change_nothing_in_a_real_party() -> None:
    requests = _requests(Parties(COMMITTEE, seed=4), 1)
    parties = Parties(COMMITTEE, seed=4)
    for stage, due in zip(STAGES, requests, strict=True):
        assert parties.server.stage == stage
        before = parties.state_of(1)
        for request in requests:
            kind = type(parties.read_request(request))
            # The upload may come at any time of a round, and the opening as soon as there is a key.
            if request == due or (kind is UploadRequest) or (stage == "upload" and kind is OpenRequest):
                continue
            with pytest.raises(ProtocolViolation):
                parties.answer(1, request)
        assert all(one is two for one, two in zip(before, parties.state_of(1), strict=True))
        parties.step()
    assert parties.server.finished
    parties.assert_exact(parties.server.result())


def test_the_server_takes_only_what_its_stage_awaits() -> None:
    rehearsal, parties = Parties(COMMITTEE, seed=4), Parties(COMMITTEE, seed=4)
    replies: dict[str, bytes] = {}
    while not rehearsal.server.finished:
        for party in rehearsal.server.asked:
            answer = rehearsal.answer(party)
            if party == 1:
                replies[rehearsal.server.stage] = answer[0]
            rehearsal.deliver(party, answer)
        rehearsal.server.advance()
    while not parties.server.finished:
        for stage, reply in replies.items():
            if stage != parties.server.stage:
                parties.server_refuses(1, reply, "CK-17")
        parties.step()
    for reply in replies.values():
        parties.server_refuses(1, reply, "CK-17")
