"""Whatever is lost, and wherever: the exact sum of the survivors, or TooFewParties, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parties.secagg import Parties

from fedpriv.errors import PeerFault, TooFewParties

SCHEDULES = st.fixed_dictionaries(
    {
        "clients": st.integers(3, 7),
        "colluders": st.integers(0, 1),
        "check": st.booleans(),
        "bits": st.sampled_from([1, 9, 16, 31, 32, 40, 62]),
        "dimension": st.integers(1, 5),
        "seed": st.integers(0, 2**32),
    }
)


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(SCHEDULES, st.data())
def test_any_pattern_of_lost_messages(schedule: dict[str, int], data: st.DataObject) -> None:
    parties = _parties(schedule)
    uploaded: set[int] = set()
    try:
        while not parties.server.finished:
            stage = parties.server.stage
            requests = parties.server.requests()
            # Few losses more often than many, or no round would ever end well.
            losses = data.draw(
                st.dictionaries(
                    st.sampled_from(sorted(requests)), st.sampled_from(["request", "reply"]), max_size=2
                )
            )
            heard = _exchange(parties, requests, losses, data)
            if stage == "upload":
                uploaded = heard
            assert stage in parties.params.stages
            too_few = len(heard) < parties.params.threshold
            if too_few:
                with pytest.raises(TooFewParties):
                    parties.server.advance()
                raise TooFewParties("as it must")
            parties.server.advance()
    except TooFewParties:
        assert parties.server.stage == "aborted"
        assert not parties.server.finished
        return
    result = parties.server.result()
    assert set(result.survivors) == uploaded
    assert len(uploaded) >= parties.params.threshold
    assert np.array_equal(result.total, parties.plain_sum(uploaded))


def _exchange(
    parties: Parties, requests: dict[int, bytes], losses: dict[int, str], data: st.DataObject
) -> set[int]:
    """One stage in any order, with losses and repeated deliveries; who was heard."""
    heard = set()
    for client in data.draw(st.permutations(sorted(requests))):
        if losses.get(client) == "request":
            continue
        reply = parties.clients[client].handle(requests[client])
        if data.draw(st.booleans()):
            with pytest.raises(PeerFault):
                parties.clients[client].handle(requests[client])
        if losses.get(client) == "reply":
            continue
        parties.server.receive(client, reply)
        heard.add(client)
        if data.draw(st.booleans()):
            with pytest.raises(PeerFault):
                parties.server.receive(client, reply)
    return heard


@settings(max_examples=25, deadline=None)
@given(SCHEDULES, st.data())
def test_messages_of_any_earlier_moment_change_nothing(schedule: dict[str, int], data: st.DataObject) -> None:
    # Every message sent so far is kept, and any of them may be delivered again to anyone at any time.
    parties = _parties(schedule)
    sent_to_clients: list[bytes] = []
    sent_to_server: list[bytes] = []
    while not parties.server.finished:
        for client, request in parties.server.requests().items():
            for stale in (
                data.draw(st.lists(st.sampled_from(sent_to_clients), max_size=2)) if sent_to_clients else ()
            ):
                if stale != request:
                    with pytest.raises(PeerFault):
                        parties.clients[client].handle(stale)
            for stale in (
                data.draw(st.lists(st.sampled_from(sent_to_server), max_size=2)) if sent_to_server else ()
            ):
                with pytest.raises(PeerFault):
                    parties.server.receive(client, stale)
            reply = parties.clients[client].handle(request)
            parties.server.receive(client, reply)
            sent_to_clients.append(request)
            sent_to_server.append(reply)
        parties.server.advance()
    assert np.array_equal(parties.server.result().total, parties.plain_sum(parties.roster))


def _parties(schedule: dict[str, int]) -> Parties:
    return Parties(
        schedule["clients"],
        bits=schedule["bits"],
        dimension=schedule["dimension"],
        seed=schedule["seed"],
        consistency_check=bool(schedule["check"]),
        max_colluders=schedule["colluders"],
    )
