"""X25519 (RFC 7748) key agreement and HKDF-SHA256 (RFC 5869) with a full context."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedpriv.crypto.digest import frame
from fedpriv.errors import PeerFault, UsageError

__all__ = ["PUBLIC_BYTES", "AgreementKey", "derive_key", "is_safe_public"]

SEED_BYTES = 32
PUBLIC_BYTES = 32
KEY_BYTES = 32

_PRIME = 2**255 - 19

# The u-coordinates below the prime of every point of small order, on the curve and on its twist: 0, 1, -1 and
# the two of order eight.  Agreement with one of them gives zero whatever the other key is.
_LOW_ORDER = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    }
)


@dataclass(frozen=True, slots=True)
class AgreementKey:
    """An X25519 key pair: ``seed`` (32 secret bytes, never printed) and ``public`` (32 bytes)."""

    seed: bytes = field(repr=False)
    public: bytes
    _private: X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def from_seed(cls, seed: bytes) -> AgreementKey:
        """The pair that a seed of 32 uniform bytes gives.

        Raises:
            UsageError: the seed is not 32 bytes.
        """
        if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
            raise UsageError(f"An agreement key's seed is {SEED_BYTES} bytes.")
        private = X25519PrivateKey.from_private_bytes(seed)
        return cls(seed, private.public_key().public_bytes_raw(), private)

    def agree(self, peer: bytes) -> bytes:
        """The 32-byte shared secret with a peer's public key; only ever given to `derive_key`.

        Raises:
            PeerFault: the peer's key is not safe, see `is_safe_public`.
        """
        if not is_safe_public(peer):
            raise PeerFault("The peer's X25519 key is malformed or of low order.")
        return self._private.exchange(X25519PublicKey.from_public_bytes(peer))


def is_safe_public(public: bytes) -> bool:
    """Whether 32 bytes are the one encoding of an X25519 public key that is not of low order.

    A second encoding of a key (the prime added, or the top bit set) is refused too: it would let one key pass
    for two.  A key plus a point of low order passes and agrees to the same secret, so bind who is meant.

    >>> is_safe_public(bytes(32)), is_safe_public(AgreementKey.from_seed(bytes(32)).public)
    (False, True)
    """
    if not isinstance(public, bytes) or len(public) != PUBLIC_BYTES:
        return False
    u = int.from_bytes(public, "little")
    return u < _PRIME and u not in _LOW_ORDER


def derive_key(secret: bytes, *, salt: bytes, info: tuple[bytes, ...]) -> bytes:
    """A 32-byte key by HKDF-SHA256: ``secret`` as input, ``frame(*info)`` as the context.

    Args:
        secret: input keying material: an agreed secret, or a uniform seed.
        salt: public, the same for all parties of one cohort.
        info: what the key is for; each part is framed by its length, so no two contexts collide.
    """
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=frame(*info)).derive(secret)
