"""Whole rounds: whoever vanishes wherever, the sum of the survivors is exact, or there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from parties.secagg import Parties

from fedpriv.errors import TooFewParties, UsageError
from fedpriv.secagg import run_in_process

STAGES = ("advertise", "share", "upload", "consistency", "unmask")


def _vanish_at(stage: str, lost: set[int]) -> Callable[[str, int], bool]:
    """Clients that answer everything before ``stage`` and nothing from it on."""
    return lambda now, client: not (client in lost and STAGES.index(now) >= STAGES.index(stage))


@pytest.mark.parametrize("dropouts", ["none", "one", "most"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("clients", "colluders"), [(3, 0), (5, 0), (6, 2), (10, 0)])
def test_the_sum_of_the_survivors_is_exact(stage: str, dropouts: str, clients: int, colluders: int) -> None:
    parties = Parties(clients, max_colluders=colluders, dimension=11, seed=clients)
    count = {"none": 0, "one": 1, "most": parties.params.max_dropouts}[dropouts]
    # Spread, so that a lost client stands before some survivors and after others.
    lost = set(list(range(2, clients + 1, 2))[:count])
    lost |= set([client for client in range(1, clients + 1) if client not in lost][: count - len(lost)])
    assert len(lost) == count

    result = run_in_process(parties.server, parties.clients, _vanish_at(stage, lost))

    in_sum = set(parties.roster) - (lost if STAGES.index(stage) <= STAGES.index("upload") else set())
    assert result.survivors == tuple(sorted(in_sum))
    assert np.array_equal(result.total, parties.plain_sum(in_sum))
    assert result.answered[stage] == tuple(sorted(set(parties.roster) - lost))
    assert result.total.dtype == np.uint64


@pytest.mark.parametrize("stage", STAGES)
def test_one_dropout_too_many_aborts_at_once(stage: str) -> None:
    parties = Parties(5)
    lost = set(range(1, parties.params.max_dropouts + 2))
    with pytest.raises(TooFewParties, match=stage):
        run_in_process(parties.server, parties.clients, _vanish_at(stage, lost))
    assert parties.server.stage == "aborted"
    assert parties.server.requests() == {}


@pytest.mark.parametrize("stage", STAGES)
def test_one_client_lost_at_each_stage_in_one_round(stage: str) -> None:
    parties = Parties(10)
    order = dict(zip(STAGES, (3, 10, 1, 6), strict=False))
    lost = {client: at for at, client in order.items() if STAGES.index(at) <= STAGES.index(stage)}

    def reachable(now: str, client: int) -> bool:
        return client not in lost or STAGES.index(now) < STAGES.index(lost[client])

    result = run_in_process(parties.server, parties.clients, reachable)
    assert np.array_equal(result.total, parties.plain_sum(result.survivors))


@pytest.mark.parametrize("bits", [1, 7, 8, 16, 17, 20, 32, 33, 61, 62])
def test_every_width_of_word(bits: int) -> None:
    parties = Parties(4, bits=bits, dimension=129, seed=bits)
    parties.vectors[2][:] = 2**bits - 1
    parties.clients[2].set_vector(parties.vectors[2])
    result = run_in_process(parties.server, parties.clients, _vanish_at("upload", {3}))
    assert np.array_equal(result.total, parties.plain_sum({1, 2, 4}))


def test_a_vector_longer_than_the_expansion_buffer() -> None:
    parties = Parties(3, bits=20, dimension=100_003)
    result = run_in_process(parties.server, parties.clients, _vanish_at("upload", {2}))
    assert np.array_equal(result.total, parties.plain_sum({1, 3}))


@pytest.mark.parametrize("dropouts", [0, 2])
def test_without_the_consistency_check_there_are_four_stages(dropouts: int) -> None:
    parties = Parties(5, consistency_check=False)
    lost = set(range(1, dropouts + 1))
    result = run_in_process(parties.server, parties.clients, _vanish_at("upload", lost))
    assert tuple(result.answered) == parties.params.stages == ("advertise", "share", "upload", "unmask")
    assert np.array_equal(result.total, parties.plain_sum(set(parties.roster) - lost))


def test_a_reply_lost_on_its_way_counts_as_a_dropout() -> None:
    parties = Parties(5)
    for client, request in parties.run_until("upload").items():
        reply = parties.clients[client].handle(request)
        if client != 4:
            parties.server.receive(client, reply)
    parties.server.advance()
    result = parties.finish()
    assert result.survivors == (1, 2, 3, 5)
    assert np.array_equal(result.total, parties.plain_sum(result.survivors))


def test_the_same_entropy_gives_the_same_bytes() -> None:
    first, second = Parties(4, seed=9), Parties(4, seed=9)
    assert first.run_until("unmask") == second.run_until("unmask")


def test_the_result_waits_for_the_end() -> None:
    parties = Parties(3)
    with pytest.raises(UsageError, match="not finished"):
        parties.server.result()
    parties.finish()
    with pytest.raises(UsageError, match="no stage to close"):
        parties.server.advance()
    assert parties.server.requests() == {}
