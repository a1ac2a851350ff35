"""The transition tables, what they forbid, and the pages drawn from them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import msgspec
import pytest
from parties.secagg import Parties

from fedpriv.errors import ProtocolViolation
from fedpriv.secagg.messages import Bundle, Reply, Request, View
from fedpriv.secagg.states import (
    CLIENT_TRANSITIONS,
    SERVER_REPLIES,
    SERVER_TRANSITIONS,
    ClientState,
    Closing,
    Stage,
    after_request,
    diagrams,
)

PROTOCOL = Path(__file__).resolve().parents[3] / "protocols" / "secagg"


def test_the_published_diagrams_are_those_of_the_tables() -> None:
    assert (PROTOCOL / "states.md").read_text(encoding="utf-8") == diagrams()


def test_the_published_schema_names_every_message_and_field() -> None:
    schema = (PROTOCOL / "messages.md").read_text(encoding="utf-8")
    for message in (*Request.__args__, *Reply.__args__):
        assert f"| `{message.__struct_config__.tag}` |" in schema
    for struct in (*Request.__args__, *Reply.__args__, Bundle, View):
        for field in msgspec.structs.fields(struct):
            assert f"`{field.encode_name}`" in schema


@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("start", [ClientState.NEW, ClientState.PREPARED])
def test_from_each_start_every_way_ends_and_none_comes_back(start: ClientState, malicious: bool) -> None:
    table = CLIENT_TRANSITIONS[malicious]

    def ways(path: tuple[ClientState, ...]) -> list[tuple[ClientState, ...]]:
        following = [after for (before, _), after in table.items() if before is path[-1]]
        assert not set(following) & set(path)
        return [way for after in following for way in ways((*path, after))] or [path]

    found = ways((start,))
    assert {way[-1] for way in found} == {ClientState.ANSWERED}
    assert len(found) == (1 if start is ClientState.NEW else 2)
    assert all(way.index(ClientState.UPLOADED) < way.index(ClientState.ANSWERED) for way in found)
    assert all((ClientState.SIGNED in way) == malicious for way in found)


@pytest.mark.parametrize("malicious", [True, False])
def test_every_open_stage_ends_and_only_those(malicious: bool) -> None:
    table = SERVER_TRANSITIONS[malicious]
    open_stages = {stage for stage, _ in table}
    assert open_stages == set(SERVER_REPLIES) - (set() if malicious else {Stage.CONSISTENCY})
    assert all((stage, Closing.TOO_FEW) in table for stage in open_stages)
    assert {Stage.FINISHED, Stage.ABORTED} <= set(table.values())


def _requests_of_a_round(parties: Parties) -> list[bytes]:
    requests = []
    while not parties.server.finished:
        requests.append(parties.server.request(1))
        parties.step()
    return requests


@pytest.mark.parametrize("malicious", [True, False])
def test_what_is_not_in_the_table_is_refused(malicious: bool) -> None:
    parties = Parties(3, malicious=malicious)
    requests = [parties.read_request(request) for request in _requests_of_a_round(parties)]
    refused = 0
    for state, request in product(ClientState, requests):
        if (state, type(request)) in CLIENT_TRANSITIONS[malicious]:
            after_request(state, request, malicious=malicious)
            continue
        with pytest.raises(ProtocolViolation) as violation:
            after_request(state, request, malicious=malicious)
        assert violation.value.clause == "SA-15"
        refused += 1
    assert refused == len(ClientState) * len(requests) - len(CLIENT_TRANSITIONS[malicious])


@pytest.mark.parametrize("malicious", [True, False])
def test_out_of_turn_requests_change_nothing_in_a_real_client(malicious: bool) -> None:
    requests = _requests_of_a_round(Parties(3, malicious=malicious, seed=4))
    parties = Parties(3, malicious=malicious, seed=4)
    while not parties.server.finished:
        turn = parties.params.stages.index(parties.server.stage)
        for other, request in enumerate(requests):
            if other != turn:
                parties.refuses(1, request, "SA-15")
        parties.step()
    for request in requests:
        parties.refuses(1, request, "SA-15")
    parties.assert_exact(parties.server.result())


@pytest.mark.parametrize("malicious", [True, False])
def test_out_of_turn_requests_change_nothing_in_a_client_that_is_prepared(malicious: bool) -> None:
    rehearsal, parties = (Parties(3, malicious=malicious, prepare=True, seed=4) for _ in range(2))
    for each in (rehearsal, parties):
        each.finish()
        each.open(4, invite=())
    upload, *later = _requests_of_a_round(rehearsal)
    share = Parties(3, malicious=malicious).run_until("share")[1]
    share = parties.forge_request(share, session=parties.session)
    assert parties.clients[1].state == "prepared"
    for request in (share, *later):
        parties.refuses(1, request, "SA-15")
    assert parties.server.request(1) == upload
    parties.assert_exact(parties.finish())
