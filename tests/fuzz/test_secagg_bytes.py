"""Random and mutated bytes at every decoder and in every state: typed errors, and nothing changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parties.mutations import Mutator
from parties.secagg import Parties
from parties.secagg_targets import Fuzzing, Gallery

from fedpriv.encoding.packing import unpack
from fedpriv.errors import DecodeError
from fedpriv.secagg import SecAggParams, Vector
from fedpriv.secagg.messages import encode


@pytest.mark.parametrize("seed", range(4))
def test_junk_in_every_state(seed: int) -> None:
    outcomes = Fuzzing(seed).run(4000)
    seen = Counter[str]()
    for (_, outcome), count in outcomes.items():
        seen[outcome] += count
    # The junk is near enough to messages to reach the checks behind the decoders.
    assert {"DecodeError", "IntegrityError", "SA-1", "SA-2", "SA-4", "SA-15", "SA-16"} <= seen.keys()


@cache
def _gallery() -> Gallery:
    return Gallery()


@cache
def _readers() -> list[Callable[[bytes], Any]]:
    levels = SecAggParams.for_cohort(4, vectors=[Vector("update", 5, 2)], levels=(4,))
    sessions = Parties(4), Parties(params=levels)
    return [read for parties in sessions for read in (parties.read_request, parties.read_reply)]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.randoms(use_true_random=False)))
def test_decoders_are_total(source: Any) -> None:
    corpus = _gallery().corpus
    junk = source if isinstance(source, bytes) else Mutator(source, corpus).mutate(source.choice(corpus))
    for read in _readers():
        try:
            message = read(junk)
        except DecodeError:
            continue
        assert encode(message) == junk


@pytest.mark.parametrize("junk", [None, "text", 7, bytearray(b"\x80"), memoryview(b"\x80"), [], {}])
def test_what_is_not_bytes_is_no_message(junk: Any) -> None:
    parties = Parties(3)
    with pytest.raises(DecodeError):
        parties.clients[1].handle(junk)
    with pytest.raises(DecodeError):
        parties.server.receive(1, junk)
    parties.assert_exact(parties.finish())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64), st.integers(1, 62), st.integers(0, 40))
def test_unpacking_is_total_and_gives_residues(data: bytes, bits: int, count: int) -> None:
    try:
        values = unpack(data, bits, count)
    except DecodeError:
        return
    assert len(values) == count
    assert not count or int(values.max()) < 2**bits


def test_nesting_as_deep_as_the_message_is_long() -> None:
    parties = Parties(3)
    for byte in (b"\x91", b"\x81", b"\xdc\x00\x01", b"\xdf\x00\x00\x00\x01"):
        for head in (b"", b"\x82\xa4type"):
            with pytest.raises(DecodeError):
                parties.clients[1].handle(head + byte * 300)
            with pytest.raises(DecodeError):
                parties.server.receive(1, head + byte * 300_000)
    parties.assert_exact(parties.finish())


def test_a_length_of_four_thousand_million_takes_no_memory() -> None:
    parties = Parties(3)
    request = parties.server.request(1)
    for head in (0xDB, 0xC6, 0xDD, 0xDF, 0xC9):
        for place in (0, 1, 15, len(request) - 2):
            with pytest.raises(DecodeError):
                parties.clients[1].handle(request[:place] + bytes([head]) + b"\xff\xff\xff\xff")
    parties.assert_exact(parties.finish())
