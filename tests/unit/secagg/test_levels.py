"""Level secrets: one of each survivor, that of the level that they reach, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import pytest
from parties.secagg import Parties, sparse_params

from fedpriv.crypto.digest import digest
from fedpriv.errors import DecodeError, UnsafeParameters, UsageError
from fedpriv.secagg import SecAggParams, Sum, Vector
from fedpriv.secagg.levels import MAX_LEVELS, level_chain, level_of, opens_level
from fedpriv.secagg.messages import sealed_bytes

VECTORS = [Vector("update", 20, 3)]


def cohort(clients: int = 6, levels: tuple[int, ...] = (5, 6), **choices: object) -> SecAggParams:
    return SecAggParams.for_cohort(clients, vectors=VECTORS, levels=levels, **choices)  # type: ignore[arg-type]


def chains(parties: Parties) -> dict[int, tuple[bytes, ...]]:
    """What each client says its level secrets are, s_1 first."""
    return {client: party.level_secrets() for client, party in parties.clients.items()}


def assert_levels(parties: Parties, result: Sum, mine: dict[int, tuple[bytes, ...]]) -> None:
    """That the survivors' secrets of the one level came out, and no other client's."""
    level = sum(count <= len(result.survivors) for count in parties.params.levels)
    assert result.level == level
    assert result.level_secrets == ({c: mine[c][level - 1] for c in result.survivors} if level else {})
    assert result.unopened == ()
    parties.assert_exact(result)


@pytest.mark.parametrize("malicious", [True, False])
def test_every_set_of_survivors_gives_the_secrets_of_its_level_and_no_others(malicious: bool) -> None:
    params = cohort(malicious=malicious, min_survivors=4)
    for gone in range(3):
        for lost in list(combinations(range(1, 7), gone))[::4]:
            parties = Parties(params=params)
            mine = chains(parties)
            parties.run_until("upload")
            parties.step(lost)
            result = parties.finish()
            assert len(result.survivors) == 6 - gone
            assert_levels(parties, result, mine)


@pytest.mark.parametrize("stage", ["consistency", "unmask"])
def test_the_secret_of_a_client_that_vanishes_after_its_upload_comes_out_too(stage: str) -> None:
    parties = Parties(params=cohort())
    mine = chains(parties)
    parties.run_until(stage)
    parties.step({2, 5})
    result = parties.finish()
    assert result.survivors == (1, 2, 3, 4, 5, 6)
    assert 2 not in result.answered["unmask"]
    assert_levels(parties, result, mine)


def test_rounds_that_are_prepared_and_clients_that_come_back() -> None:
    parties = Parties(params=cohort(), prepare=True)
    seen = []
    for number, (lost, invite) in enumerate([((), None), ((3,), ()), ((1, 6), {3}), ((), None)], start=3):
        if number > 3:
            parties.open(number, prepare=True, invite=invite)
        mine = chains(parties)
        parties.run_until("upload")
        parties.step(lost)
        result = parties.finish()
        assert_levels(parties, result, mine)
        seen += [secret for chain in mine.values() for secret in chain]
    assert len(set(seen)) == len(seen)


def test_keys_made_ahead_and_made_again_have_one_secret() -> None:
    # All of a round's level secrets are there when it begins, and noise may be drawn from them at once.
    parties = Parties(params=cohort(), prepare=True)
    parties.finish()
    parties.server = type(parties.server)(parties.params, parties.run_id, parties.roster)  # knows of no keys
    parties.open(4)
    mine = chains(parties)
    assert parties.server.stage == "advertise"
    parties.run_until("upload")
    assert chains(parties) == mine
    assert_levels(parties, parties.finish(), mine)


def _new_processes(parties: Parties, lost: Iterable[int]) -> Sum:
    while not parties.server.finished:
        upload = parties.server.stage == "upload"
        for client in parties.server.asked:
            if upload and client in lost:
                continue
            parties.restart_client(client)
            answer = list(parties.clients[client].handle(parties.server.request(client)))
            parties.restart_client(client)
            for message in answer:
                parties.server.receive(client, message)
                parties.restart_server()
        parties.server.advance()
        parties.restart_server()
    return parties.server.result()


def test_every_party_is_a_new_process_for_every_message() -> None:
    parties = Parties(params=cohort(), prepare=True)
    for lost in ((), (4,)):
        if lost:
            parties.open(parties.round + 1, invite=())
        mine = chains(parties)
        for client in parties.clients:
            parties.restart_client(client)
        assert chains(parties) == mine
        assert_levels(parties, _new_processes(parties, lost), mine)


def test_level_secrets_are_there_until_the_upload_and_then_forgotten() -> None:
    parties = Parties(params=cohort())
    client = parties.clients[1]
    mine = client.level_secrets()
    assert len(mine) == 2
    for stage in ("share", "upload"):
        parties.run_until(stage)
        assert client.level_secrets() == mine
    parties.run_until("consistency")
    with pytest.raises(UsageError, match="uploaded"):
        client.level_secrets()
    kept = client.save()
    assert client._memory.level == b""
    assert mine[1] not in kept
    assert mine[1].hex() not in repr(client._memory)
    assert "level_secrets" not in repr(parties.finish())


def test_a_session_without_levels_has_none() -> None:
    parties = Parties(5)
    assert parties.clients[1].level_secrets() == ()
    result = parties.finish()
    assert (result.level, result.level_secrets, result.unopened) == (0, {}, ())


def test_each_secret_gives_those_below_it() -> None:
    chain = level_chain(7, 3, bytes(32), 4)
    assert chain[4] == bytes(32)
    for level in range(4, 0, -1):
        fields = (7).to_bytes(8, "big"), (3).to_bytes(4, "big"), level.to_bytes(4, "big"), chain[level]
        assert digest("fedpriv secagg v2 level", *fields) == chain[level - 1]
        assert level_chain(7, 3, chain[level], level) == chain[: level + 1]
        assert opens_level(7, 3, level, chain[level], chain[0])
        assert not opens_level(7, 3, level, chain[level - 1], chain[0])
        assert not opens_level(7, 2, level, chain[level], chain[0])
        assert not opens_level(8, 3, level, chain[level], chain[0])
    assert len(set(chain)) == 5


def test_the_owner_may_draw_the_secrets_once_a_round() -> None:
    parties, asked = Parties(params=cohort()), []

    def draw(round_: int) -> bytes:
        asked.append(round_)
        return bytes([round_]) * 32

    client = parties.clients[2]
    parties.clients[2] = mine = type(client)(
        parties.params,
        parties.run_id,
        2,
        parties.identities[2],
        parties.roster,
        parties.stream.read,
        draw_level=draw,
    )
    parties.open(4, prepare=True)
    assert mine.level_secrets()[-1] == b"\x04" * 32
    parties.finish()
    parties.open(5, invite=())
    assert mine.level_secrets()[-1] == b"\x05" * 32
    parties.finish()
    assert asked == [4, 5]


@pytest.mark.parametrize("drawn", [b"", bytes(31), 5, bytearray(32)])
def test_a_drawn_secret_that_is_none_is_refused_and_no_round_begins(drawn: object) -> None:
    parties = Parties(params=cohort())
    client = parties.clients[2]
    client._draw_level_of = lambda round_: drawn  # type: ignore[assignment,return-value]
    before = client.sequence
    with pytest.raises(UsageError, match="level secret"):
        client.open_round(9, bytes(32))
    assert client.sequence == before


@pytest.mark.parametrize("levels", [[5], (4,), (6, 5), (5, 5), (7,), (True,), (5.0,)])
def test_levels_that_are_none_are_refused(levels: object) -> None:
    with pytest.raises(UsageError, match="levels"):
        cohort(levels=levels)  # type: ignore[arg-type]


def test_there_are_not_too_many_levels() -> None:
    many = tuple(range(201, 202 + MAX_LEVELS))
    assert cohort(400, many[:-1], min_survivors=200, malicious=False).levels == many[:-1]
    with pytest.raises(UsageError, match="at most"):
        cohort(400, many, min_survivors=200, malicious=False)


def test_the_level_is_the_highest_that_is_reached() -> None:
    assert [level_of((5, 7), u) for u in (4, 5, 6, 7, 8)] == [0, 1, 1, 2, 2]
    assert level_of((), 9) == 0


def test_levels_are_part_of_the_session() -> None:
    encoded = {cohort(levels=levels).encode() for levels in ((), (5,), (6,), (5, 6))}
    assert len(encoded) == 4
    assert cohort(levels=(5,)).encode().startswith(cohort(levels=()).encode())


def test_messages_of_a_session_with_other_levels_are_none() -> None:
    other, parties = Parties(params=cohort(levels=(5,))), Parties(params=cohort())
    plain = Parties(params=cohort(levels=()))
    assert [sealed_bytes(p.params) for p in (plain, other, parties)] == [94, 127, 160]
    for stage in ("advertise", "share"):
        assert plain.server.stage == other.server.stage == stage
        for one, two in ((plain, other), (other, plain)):
            reply = one.answer(1)[0]
            with pytest.raises(DecodeError, match="other levels"):
                two.read_reply(reply)
            one.deliver(1, [reply])
            one.step()


def test_on_a_sparse_graph_levels_need_a_server_that_follows_the_protocol() -> None:
    with pytest.raises(UnsafeParameters, match="no client can check how many survive"):
        _sparse(malicious=True)
    parties = Parties(params=_sparse(malicious=False))
    mine = chains(parties)
    parties.run_until("upload")
    parties.step({5})
    assert_levels(parties, parties.finish(), mine)


def _sparse(*, malicious: bool) -> SecAggParams:
    made = sparse_params(9, degree=4, threshold=3, min_survivors=6, malicious=malicious)
    fields = {name: getattr(made, name) for name in made.__dataclass_fields__}
    return SecAggParams(**{**fields, "levels": (7, 8)})
