"""X25519 and HKDF."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedpriv.crypto import AgreementKey, derive_key, is_safe_public
from fedpriv.crypto.agreement import _LOW_ORDER, _PRIME
from fedpriv.errors import PeerFault, UsageError

# RFC 7748, section 6.1
ALICE = AgreementKey.from_seed(
    bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
)
BOB = AgreementKey.from_seed(
    bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
)


def test_the_vector_of_rfc_7748() -> None:
    assert ALICE.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert ALICE.agree(BOB.public).hex() == BOB.agree(ALICE.public).hex() == shared


@pytest.mark.parametrize("u", sorted(_LOW_ORDER))
def test_every_listed_point_is_of_low_order_and_refused(u: int) -> None:
    public = u.to_bytes(32, "little")
    with pytest.raises(ValueError):
        X25519PrivateKey.from_private_bytes(bytes(range(32))).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    assert not is_safe_public(public)
    with pytest.raises(PeerFault):
        ALICE.agree(public)


def _square_roots(n: int) -> set[int]:
    """The square roots modulo 2^255 - 19, which is 5 modulo 8."""
    root = pow(n, (_PRIME + 3) // 8, _PRIME)
    if (root * root - n) % _PRIME:
        root = root * pow(2, (_PRIME - 1) // 4, _PRIME) % _PRIME
    return set() if (root * root - n) % _PRIME else {root, -root % _PRIME}


def test_no_other_point_is_of_order_dividing_eight() -> None:
    # On v^2 = u^3 + A u^2 + u and its twist a point doubles to (u^2-1)^2 / 4(u^3 + A u^2 + u).
    # Order 2: u = 0, or u^2 + A u + 1 = 0.  Order 4: u^2 = 1.  Order 8: the double is s = 1 or -1, which with
    # w = u + 1/u reads w^2 - 4 = 4 s (w + A), so w = 2 (s + r) with r^2 = 2 + s A, and u^2 - w u + 1 = 0.
    a, half = 486662, pow(2, -1, _PRIME)
    assert _square_roots(a * a - 4) == set()
    found = {0, 1, _PRIME - 1}
    for s in (1, -1):
        for r in _square_roots((2 + s * a) % _PRIME):
            w = 2 * (s + r)
            found |= {(w + root) * half % _PRIME for root in _square_roots((w * w - 4) % _PRIME)}
    assert found == _LOW_ORDER


@pytest.mark.parametrize("u", [_PRIME, _PRIME + 1, _PRIME + 9, 2**255 + 9, 2**256 - 1])
def test_a_second_encoding_of_a_key_is_refused(u: int) -> None:
    assert not is_safe_public(u.to_bytes(32, "little"))


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), "x" * 32])
def test_a_key_of_another_length_is_refused(public: bytes) -> None:
    assert not is_safe_public(public)


def test_the_first_vector_of_hkdf_in_rfc_5869() -> None:
    # With one part the context is its frame, so the RFC's own context cannot be given; the extract step can.
    import hashlib
    import hmac

    secret, salt = b"\x0b" * 22, bytes(range(13))
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    assert extracted.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    expanded = hmac.new(extracted, b"\0" * 7 + b"\x01x" + b"\x01", hashlib.sha256).digest()
    assert derive_key(secret, salt=salt, info=(b"x",)) == expanded


def test_every_part_of_the_context_counts() -> None:
    keys = {
        derive_key(b"s", salt=b"a", info=(b"x", b"y")),
        derive_key(b"s", salt=b"a", info=(b"xy",)),
        derive_key(b"s", salt=b"a", info=(b"xy", b"")),
        derive_key(b"s", salt=b"b", info=(b"x", b"y")),
        derive_key(b"t", salt=b"a", info=(b"x", b"y")),
    }
    assert len(keys) == 5


def test_secrets_are_not_printed_and_lengths_are_checked() -> None:
    assert ALICE.seed.hex() not in repr(ALICE)
    assert repr(ALICE.seed) not in repr(ALICE)
    with pytest.raises(UsageError):
        AgreementKey.from_seed(bytes(31))
