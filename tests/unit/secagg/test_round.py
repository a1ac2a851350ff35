"""Whole rounds: whoever vanishes wherever, the sum of the survivors is exact, or there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from parties.secagg import Parties, sparse_params

from fedpriv.errors import TooFewParties
from fedpriv.secagg import SecAggParams, Vector, run_in_process

STAGES = ("advertise", "share", "upload", "consistency", "unmask")
WIDTHS = (1, 16, 20, 33, 62)
SMALL = {
    malicious: sparse_params(10, degree=6, threshold=4, min_survivors=8, malicious=malicious)
    for malicious in (True, False)
}


def _vanish_at(stage: str, lost: set[int]) -> Callable[[str, int], bool]:
    """Clients that answer everything before ``stage`` and nothing from it on."""
    return lambda now, client: not (client in lost and STAGES.index(now) >= STAGES.index(stage))


@pytest.mark.parametrize("dropouts", ["none", "one", "most"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("clients", "colluders"), [(3, 0), (6, 2)])
def test_the_sum_of_the_survivors_is_exact(stage: str, dropouts: str, clients: int, colluders: int) -> None:
    parties = Parties(clients, max_colluders=colluders, dimension=11, seed=clients)
    count = {"none": 0, "one": 1, "most": parties.params.max_dropouts}[dropouts]
    # Spread, so that a lost client stands before some survivors and after others.
    order = [*range(2, clients + 1, 2), *range(1, clients + 1, 2)]
    lost = set(order[:count])

    result = run_in_process(parties.server, parties.clients, _vanish_at(stage, lost))

    in_sum = set(parties.roster) - (lost if STAGES.index(stage) <= STAGES.index("upload") else set())
    assert result.survivors == tuple(sorted(in_sum))
    parties.assert_exact(result)
    assert result.answered[stage] == tuple(sorted(set(parties.roster) - lost))
    assert result.vectors["update"].dtype == np.uint64


@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("stage", STAGES)
def test_one_dropout_too_many_aborts_at_once(stage: str, malicious: bool) -> None:
    if not malicious and stage == "consistency":
        return
    parties = Parties(5, malicious=malicious)
    lost = set(range(1, parties.params.max_dropouts + 2))
    if stage == "unmask" and not malicious:  # there the threshold counts, not the fewest survivors
        lost = {1, 2, 3, 4}
    with pytest.raises(TooFewParties, match=f"'{stage}'|share of client" if stage == "unmask" else stage):
        run_in_process(parties.server, parties.clients, _vanish_at(stage, lost))
    assert parties.server.stage == "aborted"
    assert parties.server.asked == ()
    parties.open(4)
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("stage", STAGES)
def test_one_client_lost_at_each_stage_in_one_round(stage: str) -> None:
    parties = Parties(8)
    order = dict(zip(STAGES, (3, 8, 1), strict=False))
    lost = {client: at for at, client in order.items() if STAGES.index(at) <= STAGES.index(stage)}

    def reachable(now: str, client: int) -> bool:
        return client not in lost or STAGES.index(now) < STAGES.index(lost[client])

    parties.assert_exact(run_in_process(parties.server, parties.clients, reachable))


@pytest.mark.parametrize("malicious", [True, False])
def test_the_floor_counts_until_the_upload_and_the_threshold_after_it(malicious: bool) -> None:
    # Fewest survivors 8, threshold 6 (or 2): five of ten may be silent once the vectors are in.
    parties = Parties(10, min_survivors=8, malicious=malicious)
    parties.run_until("upload")
    parties.step({1, 2})
    parties.step({3, 4})
    parties.assert_exact(parties.finish())
    parties.open(4)
    parties.run_until("upload")
    with pytest.raises(TooFewParties, match="7 clients"):
        parties.step({1, 2, 3})


@pytest.mark.parametrize("bits", [1, 7, 8, 16, 17, 20, 32, 33, 61, 62])
def test_every_width_of_word(bits: int) -> None:
    parties = Parties(4, bits=bits, dimension=129, seed=bits)
    parties.vectors[2] = {"update": np.full(129, 2**bits - 1, dtype=np.uint64)}
    parties.clients[2].set_vectors(parties.vectors[2])
    parties.assert_exact(run_in_process(parties.server, parties.clients, _vanish_at("upload", {3})))


@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("sparse", [False, True])
def test_vectors_of_several_widths_in_one_session(sparse: bool, malicious: bool) -> None:
    vectors = [Vector(f"v{bits:02}", bits, 5 + bits) for bits in WIDTHS]
    if sparse:
        params = sparse_params(
            8, degree=4, threshold=3, min_survivors=7, malicious=malicious, vectors=vectors
        )
    else:
        params = SecAggParams.for_cohort(4, vectors=vectors, malicious=malicious)
    parties = Parties(params=params, prepare=not sparse)
    parties.run_until("upload")
    parties.step({2})
    result = parties.finish()
    assert tuple(result.vectors) == ("v01", "v16", "v20", "v33", "v62")
    assert 2 not in result.survivors
    parties.assert_exact(result)


def test_a_vector_of_several_parts() -> None:
    params = SecAggParams.for_cohort(3, vectors=[Vector("a", 7, 2**18 + 1), Vector("b", 62, 3)])
    parties = Parties(params=params)
    parties.run_until("upload")
    messages = parties.answer(1)
    assert len(messages) == 1 + 2 + 1
    parties.deliver(1, messages)
    parties.step({2})
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("stage", ["none", "advertise", "share", "upload", "consistency", "unmask"])
def test_a_sparse_round_with_drops(stage: str, malicious: bool) -> None:
    if not malicious and stage == "consistency":
        return
    # Six neighbours and four shares: any two clients may be gone.
    parties, lost = Parties(params=SMALL[malicious]), {2, 7}
    if stage != "none":
        parties.run_until(stage)
        parties.step(lost)
    result = parties.finish()
    late = stage in {"none", "consistency", "unmask"}
    assert result.survivors == tuple(sorted(set(parties.roster) - (set() if late else lost)))
    parties.assert_exact(result)


def test_without_the_consistency_check_there_are_four_stages() -> None:
    parties = Parties(5, malicious=False)
    result = run_in_process(parties.server, parties.clients, _vanish_at("upload", {1, 2}))
    assert tuple(result.answered) == parties.params.stages == ("advertise", "share", "upload", "unmask")
    parties.assert_exact(result)


def test_a_reply_lost_on_its_way_counts_as_a_dropout() -> None:
    parties = Parties(5)
    parties.run_until("upload")
    parties.answer(4)
    parties.step({4})
    result = parties.finish()
    assert result.survivors == (1, 2, 3, 5)
    parties.assert_exact(result)


def test_uploads_that_come_interleaved_are_summed_all_the_same() -> None:
    params = SecAggParams.for_cohort(3, vectors=[Vector("a", 9, 3), Vector("b", 20, 3), Vector("c", 40, 3)])
    parties = Parties(params=params)
    parties.run_until("upload")
    answers = [iter(parties.answer(client)) for client in (3, 1, 2)]
    for messages in zip(*answers, strict=True):
        for client, message in zip((3, 1, 2), messages, strict=True):
            parties.server.receive(client, message)
    assert parties.server.waiting == ()
    parties.assert_exact(parties.finish())


def test_the_same_entropy_gives_the_same_bytes() -> None:
    first, second = Parties(4, seed=9, prepare=True), Parties(4, seed=9, prepare=True)
    assert first.run_until("unmask") == second.run_until("unmask")
    for parties in (first, second):
        parties.finish()
        parties.open(4, invite=())
    assert first.run_until("unmask") == second.run_until("unmask")
