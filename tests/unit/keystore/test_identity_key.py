"""Which keys may be somebody's identity."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.crypto import SigningKey, verify
from fedpriv.keystore import is_safe_identity_key
from fedpriv.keystore.identity_key import _D, _PRIME, _SMALL_ORDER

NEUTRAL = (1).to_bytes(32, "little")


def encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def test_under_a_key_of_small_order_one_signature_holds_for_every_message() -> None:
    forged = NEUTRAL + bytes(32)
    assert verify(NEUTRAL, "domain", b"a message", forged)
    assert verify(NEUTRAL, "another domain", b"another message", forged)
    assert not is_safe_identity_key(NEUTRAL)


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", sorted(_SMALL_ORDER))
def test_every_key_of_small_order_is_refused(y: int, sign: int) -> None:
    Ed25519PublicKey.from_public_bytes(encoded(y, sign))  # the library takes it
    assert not is_safe_identity_key(encoded(y, sign))


def _square_roots(n: int) -> set[int]:
    """The square roots modulo 2^255 - 19, which is 5 modulo 8."""
    root = pow(n, (_PRIME + 3) // 8, _PRIME)
    if (root * root - n) % _PRIME:
        root = root * pow(2, (_PRIME - 1) // 4, _PRIME) % _PRIME
    return set() if (root * root - n) % _PRIME else {root, -root % _PRIME}


def test_the_list_has_the_points_of_order_dividing_eight_and_no_other() -> None:
    # On -x^2 + y^2 = 1 + d x^2 y^2 a point doubles to one with y = (x^2 + y^2) / (2 + x^2 - y^2).
    # Order 1 and 2: x = 0, so y = 1 or -1.  Order 4: the double is (0, -1), so y = 0.  Order 8: the double
    # has y = 0, so x^2 = -y^2, which the curve turns into d y^4 + 2 y^2 = 1.
    found = {0, 1, _PRIME - 1}
    for root in _square_roots((1 + _D) % _PRIME):
        found |= _square_roots((root - 1) * pow(_D, -1, _PRIME) % _PRIME)
    assert len(found) == 5
    assert found == _SMALL_ORDER


@pytest.mark.parametrize("y", range(19))
def test_a_second_encoding_of_a_key_is_refused(y: int) -> None:
    assert not is_safe_identity_key(encoded(_PRIME + y))


def test_half_of_all_encodings_are_no_point_and_are_refused() -> None:
    accepted = 0
    for y in range(2, 402):
        safe = is_safe_identity_key(encoded(y))
        x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _PRIME) % _PRIME
        assert safe == bool(_square_roots(x_squared))
        accepted += safe
    assert 150 < accepted < 250


@given(st.binary(min_size=32, max_size=32))
def test_every_key_of_a_seed_is_accepted(seed: bytes) -> None:
    assert is_safe_identity_key(SigningKey.from_seed(seed).public)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "a" * 32, None, bytearray(32)])
def test_what_is_no_32_bytes_is_refused(key: object) -> None:
    assert not is_safe_identity_key(key)  # type: ignore[arg-type]
