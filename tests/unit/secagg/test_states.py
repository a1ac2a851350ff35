"""The transition tables, what they forbid, and the pages drawn from them."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import msgspec
import pytest
from parties.secagg import Parties

from fedpriv.errors import ProtocolViolation
from fedpriv.secagg.messages import Reply, Request
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
        assert f"`{message.__struct_config__.tag}`" in schema
        for field in msgspec.structs.fields(message):
            assert f"`{field.encode_name}`" in schema


@pytest.mark.parametrize("check", [True, False])
def test_each_client_state_takes_exactly_one_request_and_none_comes_back(check: bool) -> None:
    state, path = ClientState.NEW, [ClientState.NEW]
    while state is not ClientState.ANSWERED:
        (state,) = (after for (before, _), after in CLIENT_TRANSITIONS[check].items() if before is state)
        path.append(state)
    assert len(set(path)) == len(path) == len(CLIENT_TRANSITIONS[check]) + 1


@pytest.mark.parametrize("check", [True, False])
def test_every_open_stage_ends_and_only_those(check: bool) -> None:
    table = SERVER_TRANSITIONS[check]
    open_stages = {stage for stage, _ in table}
    assert open_stages == set(SERVER_REPLIES) - (set() if check else {Stage.CONSISTENCY})
    assert all((stage, Closing.TOO_FEW) in table for stage in open_stages)
    assert {Stage.FINISHED, Stage.ABORTED} <= set(table.values())


@pytest.mark.parametrize("check", [True, False])
def test_what_is_not_in_the_table_is_refused(check: bool) -> None:
    parties = Parties(3, consistency_check=check)
    requests = []
    while not parties.server.finished:
        requests.append(parties.read_request(parties.server.requests()[1]))
        parties.step()
    refused = 0
    for state, request in product(ClientState, requests):
        if (state, type(request)) not in CLIENT_TRANSITIONS[check]:
            with pytest.raises(ProtocolViolation) as violation:
                after_request(state, request, consistency_check=check)
            assert violation.value.clause == "SA-15"
            refused += 1
    assert refused == len(ClientState) * len(requests) - len(CLIENT_TRANSITIONS[check])


@pytest.mark.parametrize("check", [True, False])
def test_out_of_turn_requests_change_nothing_in_a_real_client(check: bool) -> None:
    rehearsal = Parties(3, consistency_check=check, seed=4)
    requests = []
    while not rehearsal.server.finished:
        requests.append(rehearsal.server.requests()[1])
        rehearsal.step()

    parties = Parties(3, consistency_check=check, seed=4)
    while not parties.server.finished:
        turn = parties.params.stages.index(parties.server.stage)
        for other, request in enumerate(requests):
            if other != turn:
                with pytest.raises(ProtocolViolation, match="SA-15"):
                    parties.clients[1].handle(request)
        parties.step()
    assert parties.server.result().total.tolist() == parties.plain_sum({1, 2, 3}).tolist()
