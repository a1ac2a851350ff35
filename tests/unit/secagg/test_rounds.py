"""Many rounds of one run: keys made ahead, clients that drop, come back, join; the sum is exact each time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
from parties.secagg import CONTEXT, Parties, sparse_params

from fedpriv.errors import ProtocolViolation, TooFewParties
from fedpriv.secagg import SecAggParams, Sum, Vector
from fedpriv.secagg.keys import NO_PREVIOUS

FIVE_EXCHANGES = ["advertise", "share", "upload", "consistency", "unmask"]


def _round(parties: Parties, drops: Mapping[str, Iterable[int]] | None = None) -> tuple[Sum, list[str]]:
    """The open round to its end, with some clients silent from a stage on; its sum, and the exchanges."""
    gone: set[int] = set()
    exchanges = []
    while not parties.server.finished:
        exchanges.append(parties.server.stage)
        gone |= set((drops or {}).get(parties.server.stage, ()))
        parties.step(gone)
    result = parties.server.result()
    parties.assert_exact(result)
    return result, exchanges


def _next(parties: Parties, *, invite: Iterable[int] = (), absent: Iterable[int] = (), gap: int = 1) -> None:
    parties.open(parties.round + gap, prepare=parties.params.complete, invite=invite, absent=absent)


@pytest.mark.parametrize("malicious", [True, False])
def test_a_prepared_round_with_nobody_to_invite_takes_two_exchanges_fewer(malicious: bool) -> None:
    parties = Parties(5, malicious=malicious, prepare=True)
    first = [stage for stage in FIVE_EXCHANGES if malicious or stage != "consistency"]
    assert _round(parties)[1] == first
    for _ in range(2):
        _next(parties)
        assert {client.state for client in parties.clients.values()} == {"prepared"}
        result, exchanges = _round(parties)
        assert exchanges == first[2:]
        assert len(exchanges) == (3 if malicious else 2)
        assert result.survivors == (1, 2, 3, 4, 5)


def test_keys_are_new_in_every_round_and_chain_to_the_round_before() -> None:
    parties = Parties(4, prepare=True)
    seen: set[bytes] = set()
    before = NO_PREVIOUS
    for round_ in range(4):
        if round_:
            _next(parties)
        _round(parties)
        register = parties.register
        for bundle in register.bundles.values():
            assert bundle.previous == before
            assert seen.isdisjoint({bundle.cipher_key, bundle.mask_key, bundle.seed_commitment})
            seen |= {bundle.cipher_key, bundle.mask_key, bundle.seed_commitment}
        before = register.hash
    assert len(seen) == 4 * 4 * 3


@pytest.mark.parametrize(
    ("stage", "malicious"), [("upload", True), ("consistency", True), ("unmask", True), ("upload", False)]
)
def test_drops_in_every_stage_of_prepared_rounds_with_everybody_back_in_the_next(
    stage: str, malicious: bool
) -> None:
    parties = Parties(7, malicious=malicious, prepare=True, seed=6)
    _round(parties)
    for lost in ({2}, {1, 7}, set()):
        _next(parties, invite=parties.roster)
        result, _ = _round(parties, {stage: lost})
        assert set(result.survivors) == set(parties.roster) - (lost if stage == "upload" else set())


@pytest.mark.parametrize("stage", ["advertise", "share", "upload", "consistency", "unmask"])
def test_a_client_that_drops_in_the_first_round_comes_back_in_the_second(stage: str) -> None:
    parties = Parties(5, prepare=True, min_survivors=4)
    _round(parties, {stage: {3}})
    _next(parties, invite={3})
    late = stage in {"consistency", "unmask"}  # its upload was complete, so it has keys ahead
    assert parties.server.asked == ((1, 2, 3, 4, 5) if late else (3,))
    parties.run_until("unmask")
    # Others dealt ahead to whoever had advertised; a client that had not holds no share but its own.
    held = sorted(parties.clients[3]._memory.held)
    assert held == ([3] if stage == "advertise" else [1, 2, 3, 4, 5])
    result, _ = _round(parties)
    assert result.survivors == result.answered["share"] == (1, 2, 3, 4, 5)
    assert (parties.register.bundles[3].previous == NO_PREVIOUS) == (not late)


@pytest.mark.parametrize("missed", [1, 3])
def test_a_client_comes_back_after_missing_rounds(missed: int) -> None:
    parties = Parties(5, prepare=True)
    _round(parties)
    for _ in range(missed):
        _next(parties, absent={2})
        result, exchanges = _round(parties, {"upload": {2}})
        assert result.survivors == (1, 3, 4, 5)
        assert exchanges == FIVE_EXCHANGES[2:]
    _next(parties, invite={2})
    result, exchanges = _round(parties)
    assert (result.survivors, exchanges) == ((1, 2, 3, 4, 5), FIVE_EXCHANGES)
    _next(parties)
    result, exchanges = _round(parties)
    assert (result.survivors, exchanges) == ((1, 2, 3, 4, 5), FIVE_EXCHANGES[2:])


def test_one_that_never_took_part_joins_in_a_round_that_others_prepared() -> None:
    parties = Parties(6, prepare=True, min_survivors=5)
    parties.open(4, prepare=True, invite={1, 2, 3, 4, 5}, absent={6})
    result, _ = _round(parties)
    assert result.survivors == (1, 2, 3, 4, 5)
    _next(parties, invite={6})
    assert parties.server.asked == (6,)
    result, exchanges = _round(parties, {"consistency": {1}})
    assert (result.survivors, exchanges) == ((1, 2, 3, 4, 5, 6), FIVE_EXCHANGES)
    _next(parties)
    assert _round(parties)[1] == FIVE_EXCHANGES[2:]


@pytest.mark.parametrize("lost", [{6}, {1}, {5}])
def test_one_joins_and_is_lost_or_another_is_while_it_holds_fewer_shares(lost: set[int]) -> None:
    # A joiner holds no shares of those that dealt ahead; what it lacks, the others have.
    parties = Parties(6, prepare=True, min_survivors=5)
    parties.open(4, prepare=True, invite={1, 2, 3, 4, 5}, absent={6})
    _round(parties)
    _next(parties, invite={6})
    result, _ = _round(parties, {"upload": lost})
    assert set(result.survivors) == set(parties.roster) - lost


def test_a_client_that_was_invited_and_does_not_come_holds_nobody_up() -> None:
    parties = Parties(5, prepare=True)
    _round(parties, {"upload": {5}})
    _next(parties, invite={5})
    result, exchanges = _round(parties, {"advertise": {5}})
    assert exchanges == ["advertise", "upload", "consistency", "unmask"]
    assert result.survivors == (1, 2, 3, 4)
    assert result.answered["advertise"] == (1, 2, 3, 4)


def test_several_joiners_deal_among_each_other_and_with_those_that_are_prepared() -> None:
    parties = Parties(9, prepare=True, min_survivors=7)
    parties.open(4, prepare=True, invite=range(1, 8), absent={8, 9})
    _round(parties)
    _next(parties, invite={8, 9})
    assert parties.server.asked == (8, 9)
    result, _ = _round(parties, {"upload": {2, 9}})
    assert result.survivors == (1, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize("dropped", [{2}, {2, 5}, {5, 6, 7}])
def test_with_too_many_joiners_the_round_starts_anew_for_all(dropped: set[int]) -> None:
    # Four dealt ahead, and four shares open a secret: if one of them dropped, those that join could not help.
    parties = Parties(7, prepare=True)
    parties.open(4, prepare=True, invite={1, 2, 3, 4}, absent={5, 6, 7})
    _round(parties)
    _next(parties, invite={5, 6, 7})
    assert parties.server.asked == (1, 2, 3, 4, 5, 6, 7)
    assert parties.clients[1].state == "prepared"
    result, exchanges = _round(parties, {"upload": dropped})
    assert set(result.survivors) == set(parties.roster) - dropped
    assert exchanges == FIVE_EXCHANGES


@pytest.mark.parametrize("absent", [set(), {2}], ids=["silent", "never reached"])
def test_whoever_missed_one_round_comes_back_as_a_holder_of_all_shares(absent: set[int]) -> None:
    # Four survivors are the fewest, and four shares open a secret; client 2 did not upload in round 4.
    parties = Parties(6, prepare=True)
    _round(parties)
    _next(parties, absent=absent)
    _round(parties, {"upload": {2}})
    _next(parties, invite={2})
    assert parties.server.asked == (2,)
    result, _ = _round(parties, {"upload": {1, 6}})
    assert result.survivors == (2, 3, 4, 5)


def test_a_skipped_round_starts_anew() -> None:
    parties = Parties(4, prepare=True)
    _round(parties)
    _next(parties, gap=2, invite=parties.roster)
    assert {client.state for client in parties.clients.values()} == {"new"}
    assert _round(parties)[1] == FIVE_EXCHANGES


def test_too_few_that_are_prepared_start_anew() -> None:
    # Of five only two uploads came in before the round broke off; they are not enough for the next.
    parties = Parties(5, prepare=True)
    with pytest.raises(TooFewParties):
        _round(parties, {"upload": {1, 2, 3}})
    _next(parties, invite=parties.roster)
    assert parties.clients[4].state == "prepared"
    assert parties.server.asked == (1, 2, 3, 4, 5)
    result, exchanges = _round(parties)
    assert (result.survivors, exchanges) == ((1, 2, 3, 4, 5), FIVE_EXCHANGES)


def test_a_round_that_breaks_off_after_the_uploads_leaves_the_next_one_prepared() -> None:
    parties = Parties(5, prepare=True)
    with pytest.raises(TooFewParties):
        _round(parties, {"consistency": {1, 2, 3}})
    _next(parties)
    result, exchanges = _round(parties)
    assert (result.survivors, exchanges) == ((1, 2, 3, 4, 5), FIVE_EXCHANGES[2:])


def test_everybody_lost_everything() -> None:
    # The clients are new, the server believes them prepared: that round fails, and the next is a first one.
    parties = Parties(4, prepare=True)
    _round(parties)
    parties.clients = {client: parties.client(client) for client in parties.roster}
    _next(parties)
    for client in parties.server.asked:
        with pytest.raises(ProtocolViolation, match="SA-15"):
            parties.answer(client)
    with pytest.raises(TooFewParties):
        parties.step(parties.roster)
    _next(parties, invite=parties.roster)
    result, exchanges = _round(parties)
    assert (result.survivors, exchanges) == ((1, 2, 3, 4), FIVE_EXCHANGES)


def test_the_server_lost_everything() -> None:
    parties = Parties(4, prepare=True)
    _round(parties)
    parties.server = type(parties.server)(parties.params, parties.run_id, parties.roster)
    _next(parties, invite=parties.roster)
    assert parties.clients[1].state == "prepared"
    assert _round(parties)[1] == FIVE_EXCHANGES
    _next(parties)
    assert _round(parties)[1] == FIVE_EXCHANGES[2:]


def test_one_client_lost_everything_and_comes_back_a_round_later() -> None:
    parties = Parties(4, prepare=True)
    _round(parties)
    parties.clients[2] = parties.client(2)
    _next(parties, invite={2})
    with pytest.raises(ProtocolViolation, match="SA-15"):
        parties.answer(2)
    result, _ = _round(parties, {"upload": {2}})
    assert result.survivors == (1, 3, 4)
    _next(parties, invite={2})
    result, exchanges = _round(parties)
    assert (result.survivors, exchanges) == ((1, 2, 3, 4), FIVE_EXCHANGES)


def test_a_round_that_prepares_none_is_followed_by_a_first_one() -> None:
    parties = Parties(4, prepare=True)
    _round(parties)
    parties.open(4, prepare=False, invite=())
    assert _round(parties)[1] == FIVE_EXCHANGES[2:]
    _next(parties, invite=parties.roster)
    assert _round(parties)[1] == FIVE_EXCHANGES


def test_the_context_may_change_from_round_to_round_under_keys_made_ahead() -> None:
    parties = Parties(4, prepare=True)
    _round(parties)
    for round_ in (4, 5):
        parties.open(round_, bytes([round_]) * 32, prepare=True, invite=())
        assert _round(parties)[1] == FIVE_EXCHANGES[2:]
    assert parties.context != CONTEXT


def test_several_vectors_over_several_rounds_with_drops() -> None:
    vectors = [Vector(f"v{bits:02}", bits, 3 + bits) for bits in (1, 16, 20, 33, 62)]
    parties = Parties(params=SecAggParams.for_cohort(5, vectors=vectors), prepare=True)
    _round(parties, {"upload": {4}})
    for lost, invite in (({1}, {4}), ({2}, {1}), (set(), {2})):
        _next(parties, invite=invite)
        result, _ = _round(parties, {"upload": lost})
        assert set(result.survivors) == set(parties.roster) - lost


def test_a_sparse_graph_is_drawn_anew_in_every_round() -> None:
    # Whichever two go, each client keeps the neighbours that open its secrets.
    parties = Parties(params=sparse_params(12, degree=6, threshold=4, min_survivors=9))
    graphs = set()
    for lost in ((), {3}, {1, 7}):
        result, exchanges = _round(parties, {"upload": lost})
        assert exchanges == FIVE_EXCHANGES
        assert set(result.survivors) == set(parties.roster) - set(lost)
        graphs.add(tuple(parties.register.neighbours(1)))
        parties.open(parties.round + 1)
    assert len(graphs) == 3
