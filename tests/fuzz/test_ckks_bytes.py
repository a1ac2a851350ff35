"""Random and mutated bytes at every party in every stage: typed errors, and nothing changed."""

from __future__ import annotations

import copy
import io
import random
from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parties.ckks import Parties, params
from parties.mutations import Mutator

from fedpriv.ckks import Holder, Server
from fedpriv.ckks.messages import decode_reply, decode_request, encode
from fedpriv.ckks.wire import pack_rows, unpack_rows
from fedpriv.errors import DecodeError, ProtocolViolation

CHOSEN = {
    "authority": params("authority", 3),
    "threshold": params("threshold", 3, max_colluders=0, min_survivors=2, threshold=2),
    "semi-honest": params("threshold", 3, max_colluders=1, threshold=2, malicious=False),
}


@cache
def _corpus(mode: str) -> tuple[bytes, ...]:
    """All messages of a round."""
    parties, seen = Parties(CHOSEN[mode], seed=9), []
    while not parties.server.finished:
        for party in parties.server.asked:
            seen.append(parties.server.request(party))
            answer = parties.answer(party)
            seen += answer
            parties.deliver(party, answer)
        parties.server.advance()
    return tuple(seen)


class _Storm:
    """Junk for one party and the server at each stage of an honest round."""

    def __init__(self, mode: str, seed: int) -> None:
        self.parties = Parties(CHOSEN[mode], seed=seed)
        self.parties.server = Server(CHOSEN[mode], self.parties.run_id, self.parties.roster, spool=io.BytesIO)
        self.parties.open(4)
        self.mutator = Mutator(random.Random(seed), _corpus(mode))
        self.outcomes: Counter[str] = Counter()

    def run(self, per_message: int) -> Counter[str]:
        """A round with junk before each honest message; it must still end in the exact sum."""
        parties = self.parties
        while not parties.server.finished:
            party = parties.server.asked[0]
            request = parties.server.request(party)
            for _ in range(per_message):
                self._feed_party(party, self.mutator.mutate(request))
            for reply in parties.answer(party):
                saved = copy.deepcopy(parties.server)
                for _ in range(per_message):
                    if self._feed_server(party, self.mutator.mutate(reply)):
                        parties.server = copy.deepcopy(saved)
                parties.server.receive(party, reply)
            parties.step()
        parties.assert_exact(parties.server.result())
        return self.outcomes

    def _feed_party(self, number: int, junk: bytes) -> None:
        before = self.parties.state_of(number)
        try:
            list(self.parties.parties[number].handle(junk))
        except (DecodeError, ProtocolViolation) as error:
            clause = self._note(error)
            now = self.parties.state_of(number)
            assert clause == "CK-4" or all(one is two for one, two in zip(before, now, strict=True))
        else:
            self.outcomes["taken"] += 1  # it may have been right, or as good
        self._restore(number, before)

    def _restore(self, number: int, state: tuple[Any, ...]) -> None:
        party = self.parties.parties[number]
        if isinstance(party, Holder):
            (party._memory,) = state
            return
        party._memory, party._values, held = state
        if party.holder is not None:
            party.holder._memory = held

    def _feed_server(self, number: int, junk: bytes) -> bool:
        server = self.parties.server
        before = server.waiting
        try:
            server.receive(number, junk)
        except (DecodeError, ProtocolViolation) as error:
            self._note(error)
            named, unchanged = error.party == number, server.waiting == before
            assert named
            assert unchanged
            return False
        self.outcomes["taken"] += 1  # what only a later reader can tell from the honest message
        return True

    def _note(self, error: DecodeError | ProtocolViolation) -> str:
        clause: str = getattr(error, "clause", "DecodeError")
        self.outcomes[clause] += 1
        return clause


@pytest.mark.parametrize("mode", CHOSEN)
def test_junk_in_every_stage(mode: str) -> None:
    seen = _Storm(mode, 1).run(60)
    # The junk is near enough to messages to reach the checks behind the decoders.
    expected = {"DecodeError", "CK-9", "CK-12", "CK-13", "CK-17"}
    assert expected | ({"CK-5", "CK-6", "CK-7", "CK-8"} if mode != "authority" else set()) <= seen.keys(), (
        seen
    )
    assert seen["taken"] < sum(seen.values()) / 4, seen


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.randoms(use_true_random=False)))
def test_decoders_are_total(source: Any) -> None:
    chosen = CHOSEN["threshold"]
    corpus = _corpus("threshold")
    junk = source if isinstance(source, bytes) else Mutator(source, corpus).mutate(source.choice(corpus))
    for decode in (decode_request, decode_reply):
        try:
            message = decode(junk, chosen)
        except DecodeError:
            continue
        assert encode(message) == junk


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.lists(st.sampled_from([3, 7, 97, 40961]), max_size=3), st.integers(0, 40))
def test_residues_are_read_totally(data: bytes, primes: list[int], count: int) -> None:
    try:
        rows = unpack_rows(data, primes, count)
    except DecodeError:
        return
    assert pack_rows(rows, primes) == data


def test_nesting_as_deep_as_the_message_is_long() -> None:
    parties = Parties(CHOSEN["authority"])
    for byte in (b"\x91", b"\x81", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01"):
        for head in (b"", b"\x82\xa4type"):
            with pytest.raises(DecodeError):
                parties.parties[1].handle(head + byte * 300)
            with pytest.raises(DecodeError):
                parties.server.receive(0, head + byte * 300_000)
    parties.finish_exactly()


def test_a_length_of_four_thousand_million_takes_no_memory() -> None:
    parties = Parties(CHOSEN["authority"])
    request = parties.server.request(0)
    for head in (0xDB, 0xC6, 0xDD, 0xDF, 0xC9):
        for place in (0, 1, 15, len(request) - 2):
            with pytest.raises(DecodeError):
                parties.parties[0].handle(request[:place] + bytes([head]) + b"\xff\xff\xff\xff")
    parties.finish_exactly()
