"""What a server asks holders to open: one sum a round, of at least m clients that signed for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from parties.ckks import Parties, chunked, params

from fedpriv.ckks import Server, messages
from fedpriv.ckks.messages import OpenChunk
from fedpriv.ckks.modular import residues
from fedpriv.ckks.opened import read_sums
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.errors import ProtocolViolation

MODES = {mode: params(mode, 5, min_survivors=3) for mode in ("authority", "threshold", "shared-key")}


@pytest.fixture(params=MODES)
def parties(request: pytest.FixtureRequest) -> Parties:
    """Before the opening, in each mode."""
    some = Parties(MODES[request.param])
    some.run_until("open")
    return some


def _first(parties: Parties) -> tuple[int, bytes, Any]:
    """A holder that is asked, its request, and that as a message."""
    holder = parties.server.asked[0]
    request = parties.server.request(holder)
    return holder, request, parties.read_request(request)


def _of(parties: Parties, clients: tuple[int, ...]) -> dict[str, Any]:
    """The fields of a request to open the sum of some of the survivors, as a server can make it."""
    uploads = parties.server._uploads
    assert uploads is not None
    first = b""
    if parties.params.threshold == 1:
        first = pack_rows(uploads.sum_first(clients, 0), parties.params.ring.primes)
    seconds = tuple(uploads.second(client, 0) for client in clients)
    if not parties.params.malicious:
        seconds = (pack_rows(uploads.sum_second(clients, 0), parties.params.ring.primes),)
    return {
        "seals": tuple(uploads.seals[client] for client in clients),
        "chunks": (OpenChunk(first, seconds),),
    }


def test_fewer_than_the_floor(parties: Parties) -> None:
    holder, request, _ = _first(parties)
    for clients in ((2,), (2, 4)):
        parties.refuses(holder, parties.forge_request(request, **_of(parties, clients)), "CK-12")
    parties.refuses(holder, parties.forge_request(request, seals=()), "CK-12")
    parties.finish_exactly()


def test_a_client_that_is_counted_twice(parties: Parties) -> None:
    holder, request, _ = _first(parties)
    for clients in ((2, 2, 2), (1, 2, 2), (3, 2, 1)):
        parties.refuses(holder, parties.forge_request(request, **_of(parties, clients)), "CK-12")
    parties.finish_exactly()


def test_one_clients_ciphertext_in_place_of_anothers(parties: Parties) -> None:
    """The sum of one vector with itself, behind the seals of three clients."""
    holder, request, message = _first(parties)
    chunk = message.chunks[0]
    copies = msgspec.structs.replace(chunk, seconds=(chunk.seconds[1],) * len(chunk.seconds))
    parties.refuses(holder, parties.forge_request(request, chunks=(copies,)), "CK-12")
    fewer = msgspec.structs.replace(chunk, seconds=chunk.seconds[:1])
    parties.refuses(holder, parties.forge_request(request, chunks=(fewer,)), "CK-12")
    parties.finish_exactly()


def test_with_a_server_that_is_trusted_to_be_honest_the_same_opens_one_vector() -> None:
    """The documented gain: `semi-honest` rests on the server."""
    parties = Parties(params("authority", 5, min_survivors=3, malicious=False))
    parties.run_until("open")
    holder, request, message = _first(parties)
    alone = _of(parties, (2,))["chunks"]
    (reply,) = parties.answer(holder, parties.forge_request(request, chunks=alone))
    assert len(message.seals) == 5
    parties.server.receive(holder, reply)
    parties.server.advance()
    assert np.array_equal(parties.server.result().values, parties.vectors[2])


def test_seals_of_another_round_context_or_key(parties: Parties) -> None:
    holder, request, message = _first(parties)
    chunk = (_packed(parties, 2),)
    forgeries: list[dict[str, Any]] = [
        {"round_": 2},
        {"context": bytes(32)},
        {"key": bytes(32)},
        {"session": bytes(32)},
        {"signer": 1},
    ]
    for changes in forgeries:
        forged = parties.seal(2, chunk, **changes)
        seals = tuple(forged if seal.client == 2 else seal for seal in message.seals)
        parties.refuses(holder, parties.forge_request(request, seals=seals), "CK-12")
    parties.finish_exactly()


def _packed(parties: Parties, client: int) -> tuple[bytes, bytes]:
    uploads = parties.server._uploads
    assert uploads is not None
    first = pack_rows(uploads.sum_first((client,), 0), parties.params.ring.primes)
    return first, uploads.second(client, 0)


def test_seals_of_those_that_are_no_clients_of_the_run(parties: Parties) -> None:
    holder, request, message = _first(parties)
    for stranger in (0, 6, 1000):
        for seal in (message.seals[0], message.seals[-1]):
            forged = msgspec.structs.replace(seal, client=stranger)
            seals = tuple(sorted({*message.seals, forged} - {seal}, key=lambda one: one.client))
            parties.refuses(holder, parties.forge_request(request, seals=seals), "CK-12")
    short = msgspec.structs.replace(message.seals[0], digests=message.seals[0].digests[:32])
    seals = (short, *message.seals[1:])
    parties.refuses(holder, parties.forge_request(request, seals=seals), "CK-12")
    parties.finish_exactly()


def test_an_authority_that_signs_as_a_client() -> None:
    parties = Parties(MODES["authority"])
    parties.run_until("open")
    holder, request, message = _first(parties)
    own = parties.seal(0, [_packed(parties, 2)])
    chunk = message.chunks[0]
    chunks = (msgspec.structs.replace(chunk, seconds=(chunk.seconds[1], *chunk.seconds)),)
    forged = parties.forge_request(request, seals=(own, *message.seals), chunks=chunks)
    parties.refuses(holder, forged, "CK-12")
    parties.finish_exactly()


def test_two_sums_in_one_round_are_not_opened(parties: Parties) -> None:
    """Differencing: the sums of 1..5 and of 1..4 give client 5's vector."""
    holder, request, _ = _first(parties)
    other = parties.forge_request(request, **_of(parties, (1, 2, 3, 4)))
    parties.deliver(holder, parties.answer(holder))
    parties.refuses(holder, other, "CK-13")
    parties.finish_exactly()


@pytest.mark.parametrize("mode", MODES)
def test_a_new_key_within_a_round_opens_no_second_sum(mode: str) -> None:
    """The sum of half of the clients under one key, and that of the others under the next."""
    parties = Parties(params(mode, 6, min_survivors=3))
    parties.assert_exact(parties.finish({"upload": (4, 5, 6)}))
    again = Server(parties.params, parties.run_id, parties.roster)
    again._number = parties.server._number
    again.open_round(parties.round, parties.context)
    parties.server = again
    requests = parties.run_until("open", {"upload": (1, 2, 3)})
    for holder, request in requests.items():
        parties.refuses(holder, request, "CK-13")


def test_two_sums_of_one_round_never_find_enough_holders_each() -> None:
    """CK-1: each holder opens one sum, so one that is shown to some leaves too few for the other."""
    chosen = MODES["threshold"]
    assert 2 * chosen.threshold > len(chosen.holders) + chosen.max_colluders
    parties = Parties(chosen)
    requests = parties.run_until("open")
    forged = {
        holder: parties.forge_request(request, **_of(parties, (1, 2, 3, 4)))
        for holder, request in requests.items()
    }
    for holder in list(requests)[: chosen.threshold]:
        assert parties.answer(holder, forged[holder])
    answered = 0
    for holder, request in requests.items():
        try:
            answered += bool(parties.answer(holder, request))
        except ProtocolViolation as violation:
            assert violation.clause == "CK-13"  # noqa: PT017 - the others do answer
    assert answered < chosen.threshold


def test_a_chunk_is_answered_once(parties: Parties) -> None:
    holder, request, _ = _first(parties)
    parties.deliver(holder, parties.answer(holder))
    parties.refuses(holder, request, "CK-15")
    parties.refuses(holder, parties.forge_request(request, seals=()), "CK-15")
    parties.finish_exactly()


def test_chunks_of_a_sum_go_forward_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "EXCHANGE_BYTES", 1)
    parties = Parties(chunked("authority", 3, 3))
    parties.run_until("open")
    holder, first, message = _first(parties)
    for chunk, chunks in (
        (3, message.chunks),
        (2, (*message.chunks, OpenChunk(b"", ()))),
        (0, ()),
        (2**31 - 1, message.chunks),
    ):
        parties.refuses(holder, parties.forge_request(first, chunk=chunk, chunks=chunks), "CK-15")
    parties.refuses(holder, parties.forge_request(first, chunk=1), "CK-12")  # the second is not the first
    parties.step()
    parties.step()
    parties.refuses(holder, first, "CK-15")
    parties.finish_exactly()


def test_a_round_that_is_not_open(parties: Parties) -> None:
    holder, request, _ = _first(parties)
    for round_ in (2, 4):
        parties.refuses(holder, parties.forge_request(request, round=round_), "CK-13")
    parties.refuses(holder, parties.forge_request(request, key=bytes(32)), "CK-12")
    parties.deliver(holder, parties.answer(holder))
    parties.finish_exactly()
    parties.open(4)
    parties.run_until("open")
    parties.refuses(holder, request, "CK-13")
    parties.refuses(holder, parties.forge_request(request, round=4), "CK-12")
    parties.finish_exactly()


@pytest.mark.parametrize("mode", MODES)
def test_a_key_opens_no_more_sums_than_were_agreed_on(mode: str) -> None:
    parties = Parties(params(mode, 4, sums_per_key=2))
    parties.finish_exactly()
    parties.open(4)
    parties.finish_exactly()
    key = parties.server._key
    assert key is not None
    key.opened = 0  # a server that does not count
    parties.open(5)
    assert parties.server.stage == "upload"
    parties.run_until("open")
    for holder in parties.server.asked:
        parties.refuses(holder, parties.server.request(holder), "CK-14")


def test_a_shifted_noise_residue_is_one_question_and_no_more() -> None:
    """CK-4: with c_0 + δ modulo p_0 the limit would tell e by bisection; the key is gone after one no."""
    parties = Parties(MODES["authority"])
    parties.run_until("open")
    holder, request, message = _first(parties)
    primes = parties.params.ring.primes
    chunk = message.chunks[0]
    rows = unpack_rows(chunk.first, primes, parties.params.layout.used(0))
    rows[0] = (rows[0] + np.uint64(primes[0] // 2)) % np.uint64(primes[0])
    shifted = msgspec.structs.replace(chunk, first=pack_rows(rows, primes))
    forged = parties.forge_request(request, chunks=(shifted,))
    with pytest.raises(ProtocolViolation) as violation:
        parties.answer(holder, forged)
    assert violation.value.clause == "CK-4"
    assert parties.holder(holder)._memory.key is None
    for again in (forged, request):
        parties.refuses(holder, again, "CK-17")


@pytest.mark.parametrize("sign", [1, -1])
def test_noise_beyond_the_limit_is_no_sum_even_where_the_values_are_right(sign: int) -> None:
    """CK-4, at the limit and one beyond it."""
    chosen = MODES["authority"]
    primes, used = chosen.ring.primes, chosen.layout.used(0)
    noise = np.zeros(used, dtype=np.int64)
    noise[3] = sign * chosen.noise_limit
    assert not read_sums(chosen, residues(noise, primes), 0).any()
    noise[3] += sign
    with pytest.raises(ProtocolViolation, match="CK-4"):
        read_sums(chosen, residues(noise, primes), 0)


def test_a_holder_of_a_share_is_given_no_first_half() -> None:
    parties = Parties(MODES["threshold"])
    parties.run_until("open")
    holder, request, message = _first(parties)
    chunk = msgspec.structs.replace(message.chunks[0], first=message.chunks[0].seconds[0])
    parties.refuses(holder, parties.forge_request(request, chunks=(chunk,)), "CK-12")
    parties.finish_exactly()


def test_what_is_to_be_opened_is_read_before_native_code_sees_it() -> None:
    """Wrong lengths and residues beyond their primes, where no digest stands in the way."""
    parties = Parties(params("authority", 4, malicious=False))
    parties.run_until("open")
    holder, request, message = _first(parties)
    (chunk,) = message.chunks
    for field, right in (("first", chunk.first), ("seconds", chunk.seconds[0])):
        for wrong in (b"", right[:-1], right + b"\0", b"\xff" * len(right)):
            value = wrong if field == "first" else (wrong,)
            forged = msgspec.structs.replace(chunk, **{field: value})
            parties.refuses(holder, parties.forge_request(request, chunks=(forged,)), None)
    for seconds in ((), chunk.seconds * 2):
        forged = msgspec.structs.replace(chunk, seconds=seconds)
        parties.refuses(holder, parties.forge_request(request, chunks=(forged,)), "CK-12")
    parties.finish_exactly()


def test_the_floor_is_the_holders_own() -> None:
    """No message carries it: a server with a lower one shares no session with the holder."""
    lower = replace(MODES["authority"], min_survivors=2, max_colluders=0)
    parties = Parties(MODES["authority"])
    parties.parties[0] = parties.party(0, chosen=lower)
    parties.parties[0].open_round(3, parties.context)
    parties.refuses(0, parties.server.request(0), "CK-17")
