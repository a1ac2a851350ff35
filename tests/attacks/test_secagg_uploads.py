"""Attacks around the upload: a second one, parts that do not fit, values that wrap (SA-8, SA-15, SA-16)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from parties.attackers import opens, recovered, signed_bundle, uploaded
from parties.secagg import Parties

from fedpriv.crypto import AgreementKey
from fedpriv.encoding.packing import pack, unpack
from fedpriv.errors import DecodeError, FedprivError, ProtocolViolation, UnsafeParameters, UsageError
from fedpriv.secagg import SecAggParams, Vector

# 20 bits of 7 values: 18 bytes, the last one half full.
ODD = SecAggParams.for_cohort(4, vectors=[Vector("update", 20, 7)])
# Three parts: one of "a", of 2**18 values, a shorter one, and one of "b".
LONG = SecAggParams.for_cohort(3, vectors=[Vector("a", 3, 2**18 + 5), Vector("b", 16, 3)])


def _other_lists(parties: Parties, request: bytes, without: int) -> bytes:
    """The upload request as if one client had not shared."""
    shares = tuple(item for item in parties.read_request(request).shares if item[0] != without)
    sharers = parties.members(set(parties.roster) - {without})
    return parties.forge_request(request, sharers=sharers, shares=shares)


def test_an_upload_request_is_repeated_with_another_view() -> None:
    parties = Parties(5)
    view = parties.read_request(parties.run_until("share")[1]).view
    request = parties.run_until("upload")[1]
    parties.deliver(1, parties.answer(1))
    for second in (request, _other_lists(parties, request, 5), parties.forge_request(request, view=view)):
        parties.refuses(1, second, "SA-15")
    parties.assert_exact(parties.finish())


def test_a_client_that_uploads_again_and_again_gives_one_mask_after_the_other() -> None:
    # One upload more with each partner left out: the difference is the mask with that partner.  The b of the
    # client is recovered in an honest round, and its vector lies open.
    parties = Parties(5)
    request = parties.run_until("upload")[1]
    client = parties.clients[1]
    before = client._memory
    full = unpack(uploaded(parties, parties.answer(1))[0], 20, 7)
    after, masks = client._memory, np.zeros(7, np.uint64)
    for partner in (2, 3, 4, 5):
        client._memory = before
        client.set_vectors(parties.vectors[1])
        parts = uploaded(parties, parties.answer(1, _other_lists(parties, request, partner)))
        masks += full - unpack(parts[0], 20, 7)
    client._memory = after
    parties.step({1})
    held = {holder: parties.clients[holder]._memory.held for holder in (2, 3, 4)}
    seed = recovered({holder: shares[1].seed for holder, shares in held.items()})
    bare = pack((full - masks) % np.uint64(2**20), 20)
    assert opens(parties, 1, [bare], seed=seed, partners=())


def _state(parties: Parties) -> tuple[bytes, dict[str, bytes]]:
    return msgspec.msgpack.encode(parties.server._record), parties.server._round.sum.words()


def _refused_by_the_server(parties: Parties, client: int, message: bytes) -> FedprivError:
    """The server refuses a message, names who sent it, and is as it was."""
    before = _state(parties)
    with pytest.raises((ProtocolViolation, DecodeError)) as refusal:
        parties.server.receive(client, message)
    assert refusal.value.party == client
    assert _state(parties) == before
    return refusal.value


@pytest.mark.parametrize(
    ("forge", "clause"),
    [
        (lambda data: data[:-1], "SA-8"),
        (lambda data: data + b"\0", "SA-8"),
        (lambda data: b"", "SA-8"),
        (lambda data: data[:-1] + bytes([data[-1] | 0x10]), "SA-8"),
        (lambda data: data[:-1] + bytes([data[-1] | 0x80]), "SA-8"),
        (lambda data: pack(np.full(7, 2**21 - 1, dtype=np.uint64), 21), "SA-8"),
        (lambda data: bytes(2**21), "SA-8"),
        (lambda data: bytes(2**21 + 1), None),
    ],
)
def test_a_part_is_short_oversized_or_padded(forge: Callable[[bytes], bytes], clause: str | None) -> None:
    parties = Parties(params=ODD)
    parties.run_until("upload")
    header, part = parties.answer(2)
    parties.deliver(2, [header])
    wrong = parties.forge_reply(part, data=forge(parties.read_reply(part).data))
    refusal = _refused_by_the_server(parties, 2, wrong)
    assert (refusal.clause if isinstance(refusal, ProtocolViolation) else None) == clause
    parties.deliver(2, [part])
    parties.assert_exact(parties.finish())


def test_parts_come_out_of_order_or_twice_or_without_a_header() -> None:
    parties = Parties(params=LONG)
    parties.run_until("upload")
    header, first, second, third = parties.answer(2)
    assert "SA-16" in str(_refused_by_the_server(parties, 2, first))
    parties.deliver(2, [header])
    assert "SA-15" in str(_refused_by_the_server(parties, 2, header))
    assert "SA-16" in str(_refused_by_the_server(parties, 2, second))
    parties.deliver(2, [first])
    for wrong in (first, third, parties.forge_reply(second, part=7)):
        assert "SA-16" in str(_refused_by_the_server(parties, 2, wrong))
    # The last part of another vector in this one's place.
    assert "SA-8" in str(_refused_by_the_server(parties, 2, parties.forge_reply(third, part=1)))
    parties.deliver(2, [second, third])
    for late in (header, first, third, parties.forge_reply(third, part=3)):
        assert "SA-15" in str(_refused_by_the_server(parties, 2, late))
    parties.assert_exact(parties.finish())


def test_an_upload_that_stops_in_the_middle_is_not_in_the_sum() -> None:
    parties = Parties(params=LONG)
    parties.run_until("upload")
    parties.deliver(2, parties.answer(2)[:-1])
    assert 2 in parties.server.waiting
    parties.step({2})
    result = parties.finish()
    assert result.survivors == (1, 3)
    parties.assert_exact(result)


def test_an_upload_in_the_name_of_another() -> None:
    parties = Parties(params=ODD)
    parties.run_until("upload")
    header, part = parties.answer(2)
    for message in (header, part):
        assert "SA-15" in str(_refused_by_the_server(parties, 3, message))
    renamed = parties.forge_reply(header, sender=3)
    parties.deliver(3, [renamed])  # the channel vouches for who sends; an upload is not signed (section 8)
    assert 3 in parties.server.waiting


def _bundle_ahead(parties: Parties, client: int) -> object:
    return signed_bundle(
        parties,
        client,
        cipher=AgreementKey.from_seed(b"c" * 32).public,
        mask=AgreementKey.from_seed(b"m" * 32).public,
        previous=parties.register.hash,
        round_=parties.round + 1,
    )


def test_keys_for_the_next_round_that_nobody_asked_for() -> None:
    parties = Parties(4)
    parties.run_until("upload")
    header, part = parties.answer(2)
    forged = parties.forge_reply(header, bundle=_bundle_ahead(parties, 2))
    assert "SA-16" in str(_refused_by_the_server(parties, 2, forged))
    shares = ((1, bytes(94)), (3, bytes(94)), (4, bytes(94)))
    forged = parties.forge_reply(header, shares=shares)
    assert "SA-16" in str(_refused_by_the_server(parties, 2, forged))
    parties.deliver(2, [header, part])
    parties.assert_exact(parties.finish())


def test_keys_for_the_next_round_that_were_asked_for_and_are_not_there_or_not_for_all() -> None:
    parties = Parties(4, prepare=True)
    parties.run_until("upload")
    header, part = parties.answer(2)
    shares = parties.read_reply(header).shares
    for changes in (
        {"bundle": None},
        {"bundle": None, "shares": ()},
        {"shares": shares[:-1]},
        {"shares": (shares[0], (2, bytes(94)), *shares[1:])},
    ):
        refusal = _refused_by_the_server(parties, 2, parties.forge_reply(header, **changes))
        assert "SA-16" in str(refusal)
    parties.deliver(2, [header, part])
    parties.assert_exact(parties.finish())


def test_a_refused_header_leaves_no_trace_of_its_keys() -> None:
    # The right header, with the same keys, is still taken.
    parties = Parties(4, prepare=True)
    parties.run_until("upload")
    header, part = parties.answer(2)
    forged = parties.forge_reply(header, signature=bytes(64))
    assert "SA-2" in str(_refused_by_the_server(parties, 2, forged))
    parties.deliver(2, [header, part])
    parties.assert_exact(parties.finish())
    parties.open(4, invite=())
    parties.assert_exact(parties.finish())


def test_two_clients_bring_the_same_keys_for_the_next_round() -> None:
    parties = Parties(4, prepare=True)
    parties.run_until("upload")
    answers = {client: parties.answer(client) for client in parties.roster}
    parties.deliver(1, answers[1])
    theirs = parties.read_reply(answers[1][0]).bundle
    copied = signed_bundle(
        parties,
        2,
        cipher=AgreementKey.from_seed(b"c" * 32).public,
        mask=theirs.mask_key,
        previous=parties.register.hash,
        round_=parties.round + 1,
    )
    forged = parties.forge_reply(answers[2][0], bundle=copied)
    assert "SA-1" in str(_refused_by_the_server(parties, 2, forged))
    for client in (2, 3, 4):
        parties.deliver(client, answers[client])
    parties.assert_exact(parties.finish())


def test_the_sizes_of_messages_say_nothing_of_the_vectors() -> None:
    # Weights, counts and losses are vectors of their own; what is visible is who answered, and when (SA-10).
    vectors = [Vector("loss", 20, 1), Vector("update", 16, 50), Vector("weight", 7, 1)]
    params = SecAggParams.for_cohort(3, vectors=vectors)
    sizes = []
    for top in (0, 1):
        parties = Parties(params=params, prepare=True)
        values = {v.name: np.full(v.dimension, top * (2**v.bits - 1), np.uint64) for v in vectors}
        parties.clients[2].set_vectors(values)
        sizes.append([])
        while not parties.server.finished:
            messages = {client: parties.answer(client) for client in parties.server.asked}
            for client, answer in messages.items():
                sizes[-1] += [(parties.server.stage, client, len(message)) for message in answer]
                parties.deliver(client, answer)
            parties.server.advance()
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("excess", [1, 2**19, 2**31])
def test_a_value_of_more_bits_than_agreed(excess: int) -> None:
    # It would wrap, and the sum be wrong by a multiple of 2**20 without a sign of it.
    parties = Parties(3, bits=20)
    values = np.full(7, 2**20 - 1 + excess, dtype=np.uint64)
    with pytest.raises(UsageError, match="20 bits"):
        parties.clients[1].set_vectors(values)
    parties.clients[1].set_vectors(values % 2**20)
    parties.vectors[1] = {"update": values % 2**20}
    total = parties.finish().vectors["update"]
    others = parties.vectors[2]["update"] + parties.vectors[3]["update"]
    assert not np.array_equal(total, values + others)


@pytest.mark.parametrize(
    "plan",
    [
        {"clients": 100, "largest": 2**56},
        {"clients": 3, "largest": 2**60, "signed": True},
        {"clients": 3, "largest": 1, "noise": 2**61},
    ],
)
def test_a_sum_that_could_wrap_is_refused_when_it_is_planned(plan: dict[str, int]) -> None:
    with pytest.raises(UnsafeParameters) as refusal:
        Vector.for_sum("update", **plan)
    assert "SA-8" in refusal.value.hint


def test_a_client_reveals_more_or_fewer_shares_than_it_was_asked_for() -> None:
    parties = Parties(5)
    parties.run_until("upload")
    parties.step({4})
    parties.run_until("unmask")
    reply = parties.answer(2)[0]
    shares = parties.read_reply(reply).shares
    assert [kind for _, kind, _ in shares] == ["seed", "seed", "seed", "key", "seed"]
    for wrong in (
        shares[:-1],
        shares[1:],
        (),
        tuple((owner, "seed", share) for owner, _, share in shares),
        tuple((owner, "key", share) for owner, _, share in shares),
    ):
        assert "SA-16" in str(_refused_by_the_server(parties, 2, parties.forge_reply(reply, shares=wrong)))
    not_an_element = tuple((owner, kind, b"\xff" * 33) for owner, kind, _ in shares)
    refusal = _refused_by_the_server(parties, 2, parties.forge_reply(reply, shares=not_an_element))
    assert isinstance(refusal, DecodeError)
    parties.deliver(2, [reply])
    parties.assert_exact(parties.finish())


def test_a_client_reveals_a_share_of_one_that_never_shared() -> None:
    parties = Parties(5)
    parties.run_until("share")
    parties.step({4})
    parties.run_until("unmask")
    reply = parties.answer(2)[0]
    shares = list(parties.read_reply(reply).shares)
    shares.insert(3, (4, "key", bytes(33)))
    forged = parties.forge_reply(reply, shares=tuple(shares))
    assert "SA-16" in str(_refused_by_the_server(parties, 2, forged))
    parties.deliver(2, [reply])
    parties.assert_exact(parties.finish())


@pytest.mark.parametrize("change", ["one fewer", "one of itself", "one to a stranger"])
def test_a_client_shares_with_others_than_the_holders(change: str) -> None:
    parties = Parties(5)
    parties.step({5})
    reply = parties.answer(1)[0]
    shares = parties.read_reply(reply).shares
    wrong = {
        "one fewer": shares[:-1],
        "one of itself": ((1, shares[0][1]), *shares),
        "one to a stranger": (*shares, (5, shares[0][1])),
    }[change]
    assert "SA-16" in str(_refused_by_the_server(parties, 1, parties.forge_reply(reply, shares=wrong)))
    parties.deliver(1, [reply])
    parties.assert_exact(parties.finish())
