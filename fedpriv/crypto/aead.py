"""AES-256-GCM with the nonce in front."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedpriv.errors import DecodeError, UsageError

__all__ = ["NONCE_BYTES", "OVERHEAD_BYTES", "open_sealed", "seal"]

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES


def seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt and authenticate: ``nonce ‖ ciphertext ‖ tag``, 28 bytes longer than ``plaintext``.

    Args:
        key: 32 bytes.
        nonce: 12 fresh bytes; never twice under one key.
        plaintext: what only the holder of the key may read.
        associated: what is authenticated with it and not sent.

    Raises:
        UsageError: a key or nonce of another length.
    """
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise UsageError(f"AES-256-GCM takes a key of {KEY_BYTES} and a nonce of {NONCE_BYTES} bytes.")
    return nonce + AESGCM(key).encrypt(nonce, plaintext, associated)


def open_sealed(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """The plaintext of what `seal` gave.

    Raises:
        UsageError: a key of another length.
        DecodeError: not sealed under this key with this associated data.
    """
    if len(key) != KEY_BYTES:
        raise UsageError(f"AES-256-GCM takes a key of {KEY_BYTES} bytes.")
    if len(sealed) < OVERHEAD_BYTES:
        raise DecodeError("A sealed message is shorter than its nonce and tag.")
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except InvalidTag:
        raise DecodeError("A sealed message does not authenticate.") from None
