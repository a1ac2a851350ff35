"""What a party saves between two messages: all of it comes back, and little has to be loaded for it."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from parties.ckks import CONTEXT, STAGES, Parties, params

COMMITTEE = params("threshold", 5)

PROCESS = """
import os, pickle, sys
from fedpriv.aggregation import Ckks
from fedpriv.crypto import SigningKey

params, run_id, seed, roster, state, sequence, request = pickle.load(sys.stdin.buffer)
client = Ckks(params, 16).client(1, run_id, SigningKey.from_seed(seed), roster, os.urandom)
client.restore(state, least_sequence=sequence)
(reply,) = client.handle(request)
assert client.sequence > sequence and client.save() != state
sys.stdout.buffer.write(pickle.dumps((reply, "tenseal" in sys.modules)))
"""


@pytest.mark.parametrize("mode", ["authority", "threshold", "shared-key"])
def test_a_saved_party_comes_back_as_it_was_at_every_stage(mode: str) -> None:
    parties = Parties(params(mode, 4))
    stages = set()
    for round_ in (3, 4):
        if round_ > 3:
            parties.open(round_)
        while not parties.server.finished:
            stages.add(parties.server.stage)
            for number, party in parties.parties.items():
                fresh = parties.party(number)
                assert fresh.sequence == 0
                fresh.restore(party.save(), least_sequence=party.sequence)
                assert fresh.sequence == party.sequence
                assert fresh._saved() == party._saved() if number else fresh._memory == party._memory  # type: ignore[union-attr]
            parties.step()
    assert stages == set(STAGES if mode != "authority" else STAGES[4:])


def test_every_step_counts_and_a_refused_one_does_not() -> None:
    parties = Parties(COMMITTEE)
    reached = parties.parties[1].sequence
    while not parties.server.finished:
        request = parties.server.request(1)
        parties.refuses(1, parties.forge_request(request, session=bytes(32)), "CK-17")
        assert parties.parties[1].sequence == reached
        parties.step()
        assert parties.parties[1].sequence == reached + 1
        reached += 1
    parties.parties[1].open_round(4, CONTEXT)
    assert parties.parties[1].sequence == reached + 2  # as a client, and as a holder


@pytest.mark.parametrize("stage", ["advertise", "deal", "reveal", "confirm"])
def test_a_new_process_answers_without_loading_what_the_stage_does_not_need(stage: str) -> None:
    parties = Parties(COMMITTEE)
    request = parties.run_until(stage)[1]
    party = parties.parties[1]
    job = (
        COMMITTEE,
        parties.run_id,
        parties.identities[1].seed,
        parties.roster,
        party.save(),
        party.sequence,
        request,
    )
    done = subprocess.run(
        [sys.executable, "-c", PROCESS], input=pickle.dumps(job), stdout=subprocess.PIPE, check=True
    )
    reply, loaded = pickle.loads(done.stdout)
    assert not loaded
    party.handle(request)  # so that it knows no more and no less than the other did
    if stage in ("reveal", "confirm"):  # the others draw fresh bytes
        parties.deliver(1, [reply])
        for holder in (2, 3, 4, 5):
            parties.deliver(holder, parties.answer(holder))
        parties.server.advance()
        parties.finish_exactly()
