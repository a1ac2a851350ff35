"""Sealed messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.crypto import open_sealed, seal
from fedpriv.errors import DecodeError, UsageError

KEY, NONCE = bytes(range(32)), bytes(range(12))
SEALED = seal(KEY, NONCE, b"plaintext", b"context")


def test_what_was_sealed_opens_under_the_same_key_and_context_only() -> None:
    assert open_sealed(KEY, SEALED, b"context") == b"plaintext"
    assert len(SEALED) == len(b"plaintext") + 28
    with pytest.raises(DecodeError):
        open_sealed(KEY, SEALED, b"another")
    with pytest.raises(DecodeError):
        open_sealed(bytes(32), SEALED, b"context")


@given(st.integers(0, 8 * len(SEALED) - 1))
def test_no_bit_can_be_flipped(position: int) -> None:
    flipped = bytearray(SEALED)
    flipped[position // 8] ^= 1 << position % 8
    with pytest.raises(DecodeError):
        open_sealed(KEY, bytes(flipped), b"context")


@given(st.binary(max_size=60))
def test_other_bytes_do_not_open(data: bytes) -> None:
    with pytest.raises(DecodeError):
        open_sealed(KEY, data, b"context")


def test_lengths_are_checked() -> None:
    for key, nonce in ((bytes(16), NONCE), (KEY, bytes(16))):
        with pytest.raises(UsageError):
            seal(key, nonce, b"", b"")
    with pytest.raises(UsageError):
        open_sealed(bytes(16), SEALED, b"")
