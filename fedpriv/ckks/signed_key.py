"""A public key as a client takes it: only with the signatures of enough of those that saw it made."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.key import common, key_name
from fedpriv.ckks.messages import SignedKey
from fedpriv.ckks.transcript import KEY_DOMAIN, Run
from fedpriv.ckks.wire import unpack_rows
from fedpriv.errors import ProtocolViolation

__all__ = ["EncryptionKey", "read_key"]


class EncryptionKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that may be encrypted under.

    Attributes:
        number: κ.
        name: K, 32 bytes.
        packed: Pack(b); a follows from κ.
    """

    number: int
    name: bytes
    packed: bytes

    def public(self, run: Run) -> NDArray[np.uint64]:
        """(b, a): uint64, shape (2, L + 1, N), residues modulo q'."""
        ring = run.params.ring
        b = unpack_rows(self.packed, ring.key_primes, ring.degree)
        return np.stack([b, common(run.session, self.number, ring)])

    def __repr__(self) -> str:
        """The number only: the rest is long."""
        return f"<EncryptionKey number {self.number}>"


def read_key(run: Run, signed: SignedKey) -> EncryptionKey:
    """The key that a server shows, once it has been checked (CK-9).

    Raises:
        DecodeError: b is no polynomial modulo q'.
        ProtocolViolation: CK-9, it was not made by at least t of the holders, or is not signed by that many.
    """
    params = run.params
    members, holders = signed.members, set(params.holders)
    if not set(members) <= holders or len(members) < params.threshold:
        raise ProtocolViolation(
            "The key names others than the holders as those that made it, or too few.", clause="CK-9"
        )
    if len(signed.signatures) < params.threshold:
        raise ProtocolViolation(
            f"{len(signed.signatures)} holders signed the key, and {params.threshold} are needed.",
            clause="CK-9",
        )
    b = unpack_rows(signed.public, params.ring.key_primes, params.ring.degree)
    name = key_name(run.session, signed.number, members, b, params.ring)
    for signer, signature in signed.signatures:
        if signer not in members or not run.signed_by(signer, KEY_DOMAIN, name, signature):
            raise ProtocolViolation(
                f"The signature of party {signer} under the key is not one.", clause="CK-9", party=signer
            )
    return EncryptionKey(signed.number, name, signed.public)
