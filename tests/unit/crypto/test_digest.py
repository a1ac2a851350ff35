"""Encodings that sign and hash: one value, one string."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.crypto import canonical_json, digest, frame
from fedpriv.errors import UsageError


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_frames_of_different_parts_differ(left: list[bytes], right: list[bytes]) -> None:
    assert (frame(*left) == frame(*right)) == (left == right)


def test_the_digest_is_sha256_of_the_frame() -> None:
    framed = b"\0" * 7 + b"\x03abc" + b"\0" * 7 + b"\x02de"
    assert digest("abc", b"de") == hashlib.sha256(framed).digest()


def test_key_order_does_not_matter_and_text_stays_utf8() -> None:
    assert canonical_json({"ä": 1, "b": {"d": 2, "c": [True, None]}}) == (
        '{"b":{"c":[true,null],"d":2},"ä":1}'.encode()
    )


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), {"a": [0.5]}, {1: 2}, b"x", {"a": object()}, "\ud800", {"\ud800": 1}]
)
def test_what_has_no_one_form_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        canonical_json(value)
