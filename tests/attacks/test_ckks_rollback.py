"""Attacks on a stored state of the encrypted sum: an older one is put back, or another version's (CK-18)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from parties.ckks import STAGES, Parties, params

from fedpriv.ckks import Client, Holder, memory
from fedpriv.ckks.messages import OpenChunk
from fedpriv.ckks.modular import subtract
from fedpriv.ckks.opened import unpack_sums
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.errors import IntegrityError, ProtocolViolation
from fedpriv.keystore import StateFile

COMMITTEE = params("threshold", 4)
AUTHORITY = params("authority", 5, min_survivors=3)


@pytest.mark.parametrize("stage", STAGES)
def test_a_rolled_back_state_is_refused_at_every_stage(stage: str) -> None:
    parties = Parties(COMMITTEE)
    parties.run_until(stage)
    party = parties.parties[1]
    old = party.save()
    parties.deliver(1, parties.answer(1))
    before = parties.state_of(1)
    for place in (party, parties.party(1)):
        with pytest.raises(IntegrityError, match="went back in time"):
            place.restore(old, least_sequence=party.sequence)
    assert all(one is two for one, two in zip(before, parties.state_of(1), strict=True))
    parties.finish_exactly()


def test_a_state_from_before_the_round_is_refused() -> None:
    # Opening a round is a step: otherwise a round could be opened again with another model.
    parties = Parties(AUTHORITY)
    parties.finish_exactly()
    old = {number: party.save() for number, party in parties.parties.items()}
    parties.open(4)
    for number, party in parties.parties.items():
        with pytest.raises(IntegrityError, match="went back in time"):
            party.restore(old[number], least_sequence=party.sequence)
    parties.finish_exactly()


def _opened(parties: Parties, request: bytes) -> np.ndarray:
    """What the authority answers, as sums."""
    (reply,) = parties.answer(0, request)
    (answer,) = parties.read_reply(reply).answers
    return unpack_sums(parties.params, answer, 0)


def _without(parties: Parties, request: bytes, left_out: int) -> bytes:
    """The request for the sum without one client."""
    message, primes = parties.read_request(request), parties.params.ring.primes
    uploads = parties.server._uploads
    assert uploads is not None
    chunk = message.chunks[0]
    kept = [place for place, seal in enumerate(message.seals) if seal.client != left_out]
    first = subtract(
        unpack_rows(chunk.first, primes, parties.params.layout.used(0)),
        uploads.sum_first((left_out,), 0),
        primes,
    )
    return parties.forge_request(
        request,
        seals=tuple(message.seals[place] for place in kept),
        chunks=(OpenChunk(pack_rows(first, primes), tuple(chunk.seconds[place] for place in kept)),),
    )


def test_a_holder_that_forgot_its_answer_opens_a_vector_by_the_difference_of_two_sums() -> None:
    # Where nobody keeps the sequence number: the sums of 1..5 and of 1..4, of one round under one key.
    parties = Parties(AUTHORITY)
    request: bytes = parties.run_until("open")[0]
    other = _without(parties, request, left_out=5)
    holder = parties.holder(0)
    old = holder.save()
    everybody = _opened(parties, request)
    parties.refuses(0, other, "CK-13")
    with pytest.raises(IntegrityError, match="went back in time"):
        holder.restore(old, least_sequence=holder.sequence)
    parties.refuses(0, other, "CK-13")

    holder.restore(old, least_sequence=0)
    assert np.array_equal(everybody - _opened(parties, other), parties.vectors[5])


def test_a_holder_that_forgot_a_sum_opens_more_of_them_than_were_agreed_on() -> None:
    parties = Parties(params("authority", 4, sums_per_key=2))
    parties.finish_exactly()
    holder = parties.holder(0)
    old = holder.save()
    parties.open(4)
    parties.finish_exactly()
    with pytest.raises(IntegrityError, match="went back in time"):
        holder.restore(old, least_sequence=holder.sequence)
    holder.restore(old, least_sequence=0)
    key = parties.server._key
    assert key is not None
    key.opened = 1  # a server that is in league with whoever set the holder back
    parties.open(5)
    parties.finish_exactly()


def test_a_failed_decryption_is_a_step_and_stays_the_last_question() -> None:
    # CK-4: set back to before it, the key would answer one such question after the other.
    parties = Parties(AUTHORITY)
    request = parties.run_until("open")[0]
    holder, primes = parties.holder(0), parties.params.ring.primes
    old, reached = holder.save(), holder.sequence
    chunk = parties.read_request(request).chunks[0]
    rows = unpack_rows(chunk.first, primes, parties.params.layout.used(0))
    rows[0] = (rows[0] + np.uint64(primes[0] // 2)) % np.uint64(primes[0])
    shifted = msgspec.structs.replace(chunk, first=pack_rows(rows, primes))
    with pytest.raises(ProtocolViolation, match="CK-4"):
        parties.answer(0, parties.forge_request(request, chunks=(shifted,)))
    assert holder.sequence > reached
    with pytest.raises(IntegrityError, match="went back in time"):
        holder.restore(old, least_sequence=holder.sequence)
    fresh = parties.party(0)
    fresh.restore(holder.save(), least_sequence=holder.sequence)
    parties.parties[0] = fresh
    assert fresh.state == "keyless"
    parties.refuses(0, request, "CK-17")


def test_a_client_that_forgot_its_upload_seals_two_vectors_for_one_round() -> None:
    parties = Parties(AUTHORITY)
    parties.run_until("upload")
    client = parties.parties[1]
    assert isinstance(client, Client)
    old, request = client.save(), parties.server.request(1)
    first = parties.answer(1)
    parties.refuses(1, request, "CK-11")
    with pytest.raises(IntegrityError, match="went back in time"):
        client.restore(old, least_sequence=client.sequence)
    client.restore(old, least_sequence=0)
    client.set_vectors(parties.draw())
    second = parties.answer(1, request)
    assert parties.read_reply(first[-1]).seal != parties.read_reply(second[-1]).seal
    parties.deliver(1, first)
    parties.finish_exactly()


def test_a_state_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parties = Parties(COMMITTEE)
    parties.run_until("open")
    saved = parties.parties[1].save()
    monkeypatch.setattr(memory, "VERSION", memory.VERSION + 1)
    with pytest.raises(IntegrityError, match="not that of client 1"):
        parties.party(1).restore(saved, least_sequence=0)


def test_a_stored_state_shows_nothing_to_whoever_finds_it() -> None:
    parties = Parties(COMMITTEE)
    hidden: list[bytes] = [parties.identities[1].seed]
    saved = b""
    while not parties.server.finished:
        held = parties.holder(1).memory
        for secrets in (held.making, held.key):
            hidden += _secrets_of(secrets)
        saved += parties.parties[1].save()
        parties.step()
    assert len(hidden) > 20
    assert all(secret not in saved for secret in hidden)
    assert parties.parties[1].save() != parties.parties[1].save()  # under fresh nonces


def _secrets_of(part: Any) -> list[bytes]:
    if part is None:
        return []
    named = (getattr(part, name, {}) for name in ("contributions", "base", "secrets"))
    return [secret for by_subset in named for secret in by_subset.values()] + [
        secret for secret in (getattr(part, "seed", b""), getattr(part, "part", b"")) if secret
    ]


def test_a_holder_that_was_stopped_between_its_step_and_its_answer_does_not_answer_twice(
    tmp_path: Path,
) -> None:
    parties = Parties(COMMITTEE)
    parties.run_until("open")
    request = parties.server.request(1)
    with StateFile(tmp_path / "client.state") as files:
        parties.parties[1].handle(request)  # the answer is never sent
        files.store(parties.parties[1].save(), parties.parties[1].sequence)
        parties.parties[1] = _loaded(parties, files)
    parties.refuses(1, request, "CK-15")
    parties.step({1})
    parties.assert_exact(parties.server.result())


def test_an_older_file_is_put_in_the_place_of_a_holders_state(tmp_path: Path) -> None:
    parties = Parties(COMMITTEE)
    parties.run_until("reveal")
    path = tmp_path / "client.state"
    with StateFile(path) as files:
        files.store(parties.parties[1].save(), parties.parties[1].sequence)
        older = path.read_bytes()
        parties.deliver(1, parties.answer(1))
        files.store(parties.parties[1].save(), parties.parties[1].sequence)
    path.write_bytes(older)
    with StateFile(path) as files, pytest.raises(IntegrityError, match="went back in time"):
        _loaded(parties, files)
    parties.finish_exactly()


def _loaded(parties: Parties, files: StateFile) -> Client | Holder:
    fresh = parties.party(1)
    stored = files.load()
    assert stored is not None
    fresh.restore(stored[0], least_sequence=stored[1])
    return fresh
