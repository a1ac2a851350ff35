"""Holders that answer falsely: the server finds out, and nothing false is taken for a sum."""

from __future__ import annotations

import numpy as np
import pytest
from parties.ckks import Parties, params

from fedpriv.ckks.committee import lagrange
from fedpriv.ckks.modular import add, residues, scale
from fedpriv.ckks.opened import packed_sums_size
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.crypto import seal
from fedpriv.errors import ProtocolViolation

THRESHOLD = params("threshold", 6, holders=(1, 2, 3, 4, 5))


def _answers(parties: Parties, gone: tuple[int, ...] = ()) -> dict[int, bytes]:
    parties.run_until("open")
    return {holder: parties.answer(holder)[0] for holder in parties.server.asked if holder not in gone}


def _rows(parties: Parties, reply: bytes) -> np.ndarray:
    (answer,) = parties.read_reply(reply).answers
    return unpack_rows(answer, parties.params.ring.primes, parties.params.layout.used(0))


def _changed(parties: Parties, reply: bytes, rows: np.ndarray) -> bytes:
    return parties.forge_reply(reply, answers=(pack_rows(rows, parties.params.ring.primes),))


def _ends_with(parties: Parties, clause: str) -> None:
    with pytest.raises(ProtocolViolation) as violation:
        parties.server.advance()
    assert violation.value.clause == clause
    assert parties.server.stage == "aborted"
    parties.open(parties.round + 1)
    parties.finish_exactly()


def test_a_small_false_answer_is_found_by_another_set_of_holders() -> None:
    """CK-16: the answer is off by what moves one value by one, and looks like an answer."""
    parties = Parties(THRESHOLD)
    replies = _answers(parties)
    primes = THRESHOLD.ring.primes
    rows = _rows(parties, replies[2])
    offset = np.zeros((len(primes), rows.shape[1]), dtype=np.uint64)
    offset[1:, 0] = 1
    # Multiplied so that it is 1 once it is weighted with the holder's λ.
    inverse = [pow(lagrange(THRESHOLD.holders, (1, 2, 3, 4), 2, prime), -1, prime) for prime in primes]
    rows = add(rows, scale(offset, inverse, primes), primes)
    replies[2] = _changed(parties, replies[2], rows)
    for holder, reply in replies.items():
        parties.server.receive(holder, reply)
    _ends_with(parties, "CK-16")


def test_with_no_answer_to_spare_it_changes_the_sum() -> None:
    """The documented limit: correctness against a holder that deviates rests on one more answer."""
    parties = Parties(THRESHOLD)
    replies = _answers(parties, gone=(5,))
    primes = THRESHOLD.ring.primes
    rows = _rows(parties, replies[2])
    offset = np.zeros((len(primes), rows.shape[1]), dtype=np.uint64)
    offset[1, 5] = 1
    inverse = [pow(lagrange(THRESHOLD.holders, (1, 2, 3, 4), 2, prime), -1, prime) for prime in primes]
    replies[2] = _changed(parties, replies[2], add(rows, scale(offset, inverse, primes), primes))
    for holder, reply in replies.items():
        parties.server.receive(holder, reply)
    parties.server.advance()
    difference = parties.server.result().values - parties.plain_sum(range(1, 7))
    place = 5 * THRESHOLD.layout.values_per_coefficient
    assert np.flatnonzero(difference).tolist() == [place]
    assert difference[place] == 1


@pytest.mark.parametrize("kind", ["random", "zero", "another round"])
def test_a_wild_false_answer_is_found_by_the_noise(kind: str) -> None:
    """CK-4, with no answer to spare."""
    parties = Parties(THRESHOLD)
    if kind == "another round":
        old = _answers(parties)
        for holder, reply in old.items():
            parties.server.receive(holder, reply)
        parties.server.advance()
        parties.open(4)
    replies = _answers(parties, gone=(5,))
    primes, count = THRESHOLD.ring.primes, THRESHOLD.layout.used(0)
    if kind == "another round":
        rows = _rows(parties, old[2])
    else:
        wild = np.random.default_rng(1).integers(0, 2**62, count) * (kind == "random")
        rows = residues(wild, primes)
    replies[2] = _changed(parties, replies[2], rows)
    for holder, reply in replies.items():
        parties.server.receive(holder, reply)
    _ends_with(parties, "CK-4")


def test_an_answer_of_the_round_before_is_none() -> None:
    parties = Parties(THRESHOLD)
    old = _answers(parties)
    for holder, reply in old.items():
        parties.server.receive(holder, reply)
    parties.server.advance()
    parties.open(4)
    parties.run_until("open")
    parties.server_refuses(2, old[2], "CK-17")
    parties.finish_exactly()


@pytest.mark.parametrize("mode", ["authority", "threshold"])
def test_answers_that_are_none(mode: str) -> None:
    parties = Parties(params(mode, 4))
    parties.run_until("open")
    holder = parties.server.asked[0]
    (reply,) = parties.answer(holder)
    (right,) = parties.read_reply(reply).answers
    for wrong in (b"", right[:-1], right + b"\0", b"\xff" * len(right)):
        parties.server_refuses(holder, parties.forge_reply(reply, answers=(wrong,)), None)
    for changes in ({"answers": ()}, {"answers": (right, right)}, {"chunk": 1}, {"round": 2}):
        parties.server_refuses(holder, parties.forge_reply(reply, **changes), "CK-17")
    parties.server_refuses(holder, parties.forge_reply(reply, sender=3), "CK-17")
    parties.server_refuses(3 if mode == "authority" else 4, reply, "CK-17")
    parties.deliver(holder, [reply])
    parties.server_refuses(holder, reply, "CK-17")
    parties.finish_exactly()


def test_an_authority_says_the_sums_and_nothing_else() -> None:
    """The answer has room for the sums and not for what was decrypted."""
    parties = Parties(params("authority", 4))
    parties.run_until("open")
    (reply,) = parties.answer(0)
    (answer,) = parties.read_reply(reply).answers
    assert len(answer) == packed_sums_size(parties.params, 0) == parties.params.answer_bytes
    parties.deliver(0, [reply])
    parties.finish_exactly()


def test_a_holders_answer_is_the_same_whoever_else_answers() -> None:
    """A function of the sum alone: no set of answers, and no order, makes another one of it."""
    first, second = (Parties(THRESHOLD, seed=3) for _ in range(2))
    first.finish_exactly()
    second.run_until("open")
    memory = second.holder(2)._memory
    (reply,) = second.answer(2)
    second.holder(2)._memory = memory  # as if it had not answered yet
    assert second.answer(2) == [reply]


def test_deals_to_others_than_those_that_advertised() -> None:
    parties = Parties(THRESHOLD)
    parties.run_until("deal")
    (reply,) = parties.answer(2)
    shares = parties.read_reply(reply).shares
    for wrong in (shares[:2], (*shares, (6, shares[0][1])), ()):
        parties.server_refuses(2, parties.forge_reply(reply, shares=wrong), "CK-6")
    parties.deliver(2, [reply])
    parties.finish_exactly()


def test_a_deal_that_does_not_open_loses_the_round_and_names_its_holder() -> None:
    parties = Parties(THRESHOLD)
    parties.run_until("deal")
    (reply,) = parties.answer(2)
    shares = tuple(
        (to, sealed[:-1] + bytes([sealed[-1] ^ 1])) for to, sealed in parties.read_reply(reply).shares
    )
    parties.deliver(2, [parties.forge_reply(reply, shares=shares)])
    for holder in (1, 3, 4, 5):
        parties.deliver(holder, parties.answer(holder))
    parties.server.advance()
    violation = parties.refuses(1, parties.server.request(1), None)
    assert "holder 2" in str(violation)
    assert violation.party == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("length", [0, 31, 32 * 7])
def test_a_deal_of_another_length(length: int) -> None:
    parties = Parties(THRESHOLD)
    parties.run_until("deal")
    (reply,) = parties.answer(2)
    holder = parties.holder(2)
    making = holder._memory.making
    assert making is not None
    key, associated = holder._generation._seal_key(making, 2, 1, making.keys[1])
    shares = dict(parties.read_reply(reply).shares) | {1: seal(key, bytes(12), bytes(length), associated)}
    parties.deliver(2, [parties.forge_reply(reply, shares=tuple(sorted(shares.items())))])
    for other in (1, 3, 4, 5):
        parties.deliver(other, parties.answer(other))
    parties.server.advance()
    violation = parties.refuses(1, parties.server.request(1), None)
    assert violation.party == 2  # type: ignore[attr-defined]


def test_a_signature_under_another_key_is_no_confirmation() -> None:
    parties = Parties(THRESHOLD)
    parties.run_until("confirm")
    (reply,) = parties.answer(2)
    parties.server_refuses(2, parties.forge_reply(reply, signature=bytes(64)), "CK-9")
    parties.server_refuses(2, parties.forge_reply(reply, public=b"x"), "CK-8")
    parties.deliver(2, [reply])
    parties.finish_exactly()
