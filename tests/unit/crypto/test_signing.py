"""Ed25519 identities."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.crypto import SigningKey, verify
from fedpriv.errors import UsageError

KEY = SigningKey.from_seed(bytes(range(32)))
SIGNATURE = KEY.sign("domain", b"message")


def test_the_public_key_is_that_of_rfc_8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert SigningKey.from_seed(seed).public.hex() == public


def test_a_signature_holds_for_its_key_domain_and_message_only() -> None:
    other = SigningKey.from_seed(bytes(32))
    assert verify(KEY.public, "domain", b"message", SIGNATURE)
    assert not verify(other.public, "domain", b"message", SIGNATURE)
    assert not verify(KEY.public, "domai", b"nmessage", SIGNATURE)
    assert not verify(KEY.public, "domain", b"message!", SIGNATURE)


@given(st.binary(max_size=70), st.binary(max_size=70))
def test_verification_never_raises(public: bytes, signature: bytes) -> None:
    assert not verify(public, "domain", b"message", SIGNATURE)
    assert not verify(KEY.public, "domain", b"message", signature)


@given(st.integers(0, 511))
def test_no_bit_of_a_signature_can_be_flipped(position: int) -> None:
    flipped = bytearray(SIGNATURE)
    flipped[position // 8] ^= 1 << position % 8
    assert not verify(KEY.public, "domain", b"message", bytes(flipped))


def test_the_seed_is_not_printed() -> None:
    assert KEY.seed.hex() not in repr(KEY)
    assert repr(KEY.seed) not in repr(KEY)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), "0" * 32])
def test_a_seed_of_another_length_is_refused(seed: bytes) -> None:
    with pytest.raises(UsageError):
        SigningKey.from_seed(seed)


def test_a_public_key_of_another_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="does not belong"):
        SigningKey(bytes(32), KEY.public)
