"""Ed25519 (RFC 8032) identities, with a domain in every signature."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpriv.crypto.digest import frame
from fedpriv.errors import UsageError

__all__ = ["SigningKey", "verify"]

SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64

_TAG = b"fedpriv signature v1"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 identity: ``seed`` (32 secret bytes, never printed) and ``public`` (32 bytes).

    >>> key = SigningKey.from_seed(bytes(32))
    >>> signature = key.sign("example", b"message")
    >>> verify(key.public, "example", b"message", signature)
    True
    >>> verify(key.public, "another domain", b"message", signature)
    False
    """

    seed: bytes = field(repr=False)
    public: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.seed, bytes) or len(self.seed) != SEED_BYTES:
            raise UsageError(f"A signing key's seed is {SEED_BYTES} bytes.")
        if self.public != self._private().public_key().public_bytes_raw():
            raise UsageError("The public key does not belong to the seed.")

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The identity that a seed of 32 uniform bytes gives.

        Raises:
            UsageError: the seed is not 32 bytes.
        """
        if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
            raise UsageError(f"A signing key's seed is {SEED_BYTES} bytes.")
        return cls(seed, Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())

    def sign(self, domain: str, message: bytes) -> bytes:
        """The 64-byte signature of ``message`` for one purpose, named by ``domain``."""
        return self._private().sign(_statement(domain, message))

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def verify(public: bytes, domain: str, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` under ``public`` for ``domain``; never raises."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _statement(domain, message))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _statement(domain: str, message: bytes) -> bytes:
    """The bytes that are signed: no signature for one domain is one for another."""
    return frame(_TAG, domain.encode("utf-8"), message)
