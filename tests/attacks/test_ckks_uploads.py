"""What a client, or whoever speaks in its name, uploads: only its own sealed chunks of this round get in."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from parties.ckks import CONTEXT, Parties, chunked, params

from fedpriv.ckks import Client, RingParams
from fedpriv.ckks.layout import Layout
from fedpriv.ckks.messages import first_bytes, second_bytes
from fedpriv.ckks.workers import encrypt_chunk
from fedpriv.errors import ProtocolViolation, UsageError

AUTHORITY = params("authority", 4)


@pytest.fixture
def parties() -> Parties:
    """Before the upload."""
    some = Parties(AUTHORITY)
    some.run_until("upload")
    return some


def _sealed(parties: Parties, client: int, **changes: object) -> tuple[bytes, bytes]:
    """A client's honest chunk, and the seal of it made otherwise."""
    chunk, seal = parties.answer(client)
    message = parties.read_reply(chunk)
    forged = parties.seal(client, [(message.first, message.second)], **changes)  # type: ignore[arg-type]
    return chunk, parties.forge_reply(seal, seal=forged)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": b"another key's name, 32 bytes...."},
        {"round_": 2},
        {"context": bytes(32)},
        {"session": b"another run's session, 32 bytes."},
        {"signer": 3},
    ],
    ids=["key", "round", "context", "run", "signer"],
)
def test_a_seal_for_something_else_is_refused(parties: Parties, changes: dict[str, object]) -> None:
    chunk, seal = _sealed(parties, 2, **changes)
    parties.deliver(2, [chunk])
    parties.server_refuses(2, seal, "CK-12")
    result = parties.finish({"upload": {2}})
    assert result.survivors == (1, 3, 4)
    parties.assert_exact(result)


def test_an_unsigned_upload_is_refused(parties: Parties) -> None:
    chunk, seal = parties.answer(2)
    unsigned = msgspec.structs.replace(parties.read_reply(seal).seal, signature=bytes(64))
    parties.deliver(2, [chunk])
    parties.server_refuses(2, parties.forge_reply(seal, seal=unsigned), "CK-12")
    parties.deliver(2, [seal])
    parties.finish_exactly()


@pytest.mark.parametrize("field", ["first", "second"])
def test_a_flipped_bit_is_found_by_the_digest(parties: Parties, field: str) -> None:
    """Of 300 ciphertexts with a flipped bit TenSEAL loads 284, and decrypts them to noise."""
    chunk, seal = parties.answer(2)
    data = bytearray(getattr(parties.read_reply(chunk), field))
    data[0] ^= 1
    parties.deliver(2, [parties.forge_reply(chunk, **{field: bytes(data)})])
    parties.server_refuses(2, seal, "CK-12")
    parties.assert_exact(parties.finish({"upload": {2}}))


def test_bytes_of_another_length_reach_no_native_code(parties: Parties) -> None:
    """TenSEAL takes an empty string for a ciphertext of size zero."""
    chunk, seal = parties.answer(2)
    whole = parties.read_reply(chunk)
    for field in ("first", "second"):
        right = getattr(whole, field)
        for wrong in (b"", right[:-1], right + b"\0", right * 2):
            parties.server_refuses(2, parties.forge_reply(chunk, **{field: wrong}), None)
    parties.deliver(2, [chunk, seal])
    parties.finish_exactly()


def test_a_residue_beyond_its_prime_is_refused(parties: Parties) -> None:
    chunk, seal = parties.answer(2)
    for field, size in (("first", first_bytes(AUTHORITY, 0)), ("second", second_bytes(AUTHORITY))):
        assert len(getattr(parties.read_reply(chunk), field)) == size
        parties.server_refuses(2, parties.forge_reply(chunk, **{field: b"\xff" * size}), None)
    parties.deliver(2, [chunk, seal])
    parties.finish_exactly()


def test_an_upload_of_the_round_before_is_no_upload(parties: Parties) -> None:
    old = parties.answer(2)
    parties.deliver(2, old)
    parties.assert_exact(parties.finish())
    parties.open(4)
    parties.run_until("upload")
    for message in old:
        parties.server_refuses(2, message, "CK-17")
    chunk, seal = (parties.forge_reply(message, round=4) for message in old)
    parties.deliver(2, [chunk])  # the same ciphertext, as if it were new
    parties.server_refuses(2, seal, "CK-12")
    parties.assert_exact(parties.finish({"upload": {2}}))


def test_two_uploads_of_one_client(parties: Parties) -> None:
    chunk, seal = parties.answer(2)
    parties.deliver(2, [chunk])
    parties.server_refuses(2, chunk, "CK-17")
    parties.deliver(2, [seal])
    for message in (chunk, seal):
        parties.server_refuses(2, message, "CK-11")
    parties.finish_exactly()


def test_an_upload_in_anothers_name(parties: Parties) -> None:
    messages = parties.answer(2)
    for message in messages:
        parties.server_refuses(3, message, "CK-17")
        parties.server_refuses(3, parties.forge_reply(message, session=bytes(32)), "CK-17")
    parties.deliver(3, [parties.forge_reply(messages[0], sender=3)])
    parties.server_refuses(3, parties.forge_reply(messages[1], sender=3), "CK-12")
    parties.deliver(2, messages)
    parties.assert_exact(parties.finish({"upload": {3}}))


def test_chunks_out_of_order_or_too_many() -> None:
    parties = Parties(chunked("authority", 3, 2))
    parties.run_until("upload")
    first, second, seal = parties.answer(2)
    parties.server_refuses(2, second, "CK-17")
    parties.server_refuses(2, seal, "CK-12")
    parties.deliver(2, [first])
    parties.server_refuses(2, seal, "CK-12")
    parties.deliver(2, [second])
    parties.server_refuses(2, parties.forge_reply(second, chunk=2), "CK-17")
    parties.deliver(2, [seal])
    parties.finish_exactly()


def test_a_client_encrypts_once_for_a_round(parties: Parties) -> None:
    """Two encryptions of two vectors in one round would let the server open their difference."""
    request = parties.server.request(1)
    parties.deliver(1, parties.answer(1))
    parties.refuses(1, request, "CK-11")
    with pytest.raises(UsageError, match="No vector is awaited"):
        parties.parties[1].set_vectors(parties.vectors[1])  # type: ignore[union-attr]
    parties.finish_exactly()


def test_an_upload_for_another_round_is_not_asked_for(parties: Parties) -> None:
    request = parties.server.request(1)
    for round_ in (2, 4):
        parties.refuses(1, parties.forge_request(request, round=round_), "CK-17")
    parties.refuses(1, parties.forge_request(request, session=bytes(32)), "CK-17")
    parties.finish_exactly()


def test_a_value_beyond_the_bound_would_change_its_neighbours(parties: Parties) -> None:
    """The gain without CK-3: one client changes values that it has no part in, and the sum still opens."""
    with pytest.raises(UsageError, match="beyond the bound"):
        parties.parties[1].set_vectors(parties.vectors[1] * 100)  # type: ignore[union-attr]
    layout = Layout(RingParams.of_bits(4096, 17, 45, 1, 47), AUTHORITY.bound, 4, 3, 40)
    with pytest.raises(UsageError):
        layout.place(np.full(3, AUTHORITY.bound + 1))
    carried = np.full((1, 1), layout.base, dtype=np.uint64)  # what (B, 0, 0) would be
    assert layout.read(carried, 3).tolist() == [0, 1, 0]
    parties.finish_exactly()


@pytest.mark.parametrize("mode", ["authority", "threshold"])
def test_a_ciphertext_under_another_key_is_found_when_it_is_opened(mode: str) -> None:
    """CK-4: SEAL adds and decrypts it without a word.  A client seals it as if it were under this key."""
    other = Parties(params(mode, 4), seed=1)
    other.finish_exactly()
    parties = Parties(params(mode, 4))
    parties.run_until("upload")
    chunk, seal = parties.answer(2)
    layout = parties.params.layout
    stranger = other.parties[2]
    assert isinstance(stranger, Client)
    key = stranger._memory.key
    assert key is not None
    station = stranger._workers._station
    station.take(key.public(other.run))
    station.encrypt(parties.vectors[2])
    assert station._encryptor is not None
    first, second = encrypt_chunk(station._encryptor, layout, parties.vectors[2])
    parties.deliver(2, [parties.forge_reply(chunk, first=first, second=second)])
    parties.deliver(2, [parties.forge_reply(seal, seal=parties.seal(2, [(first, second)]))])
    parties.run_until("open")
    with pytest.raises(ProtocolViolation) as violation:
        parties.finish()
    assert violation.value.clause == "CK-4"
    assert not parties.server.finished
    if mode == "authority":
        assert parties.holder(0).state == "keyless"
    parties.open(4)  # a key that failed once serves no more
    assert parties.server.stage in ("advertise", "confirm")
    parties.finish_exactly()


def test_a_sum_past_n_clients_is_never_made(parties: Parties) -> None:
    """With twice n vectors in a sum it would wrap; each client's ciphertexts are added once."""
    requests = parties.run_until("open")
    request = parties.read_request(requests[0])
    doubled = tuple(seal for seal in request.seals for _ in range(2))
    chunk = request.chunks[0]
    seconds = tuple(second for second in chunk.seconds for _ in range(2))
    forged = parties.forge_request(
        requests[0], seals=doubled, chunks=(msgspec.structs.replace(chunk, seconds=seconds),)
    )
    parties.refuses(0, forged, "CK-12")
    parties.finish_exactly()


def test_a_client_of_another_run_shares_no_session() -> None:
    parties, other = Parties(AUTHORITY), Parties(AUTHORITY, run_id=b"run of others...")
    for some in (parties, other):
        some.run_until("upload")
    parties.refuses(1, other.server.request(1), "CK-17")
    parties.server_refuses(1, other.answer(1)[0], "CK-17")
    assert parties.context == CONTEXT
    parties.finish_exactly()
