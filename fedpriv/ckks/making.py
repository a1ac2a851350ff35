"""What a holder remembers of a key, while it is made and afterwards; and the checks that both sides make."""

from __future__ import annotations

import msgspec
import numpy as np

from fedpriv.ckks.transcript import ADVERTISE_DOMAIN, Run, advertise_statement
from fedpriv.ckks.wire import pack_rows
from fedpriv.crypto.agreement import AgreementKey, is_safe_public
from fedpriv.errors import ProtocolViolation

__all__ = ["HolderKey", "Making", "Subset", "check_advertised", "packed_part"]

Subset = tuple[int, ...]


class Making(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a holder remembers of a key that is being made.

    Attributes:
        number: κ of the last stage that was answered.
        seed: of this holder's X25519 key for this attempt.
        keys: the X25519 keys of those that advertised.
        contributions: by subset this holder's κ_{A,i}; gone once the secrets are there.
        dealt: κ of the attempt in which secrets were dealt.
        dealers: the U of the first commitment, whose deals are in the secrets.
        base: by subset k_A as it was dealt.
        secrets: by subset its secret in this attempt.
        members: U.
        part: b_i packed; empty where this holder leads no subset.
        commitments: those of U, once all were shown.
    """

    number: int
    seed: bytes
    keys: dict[int, bytes] = {}
    contributions: dict[Subset, bytes] = {}
    dealt: int = 0
    dealers: tuple[int, ...] = ()
    base: dict[Subset, bytes] = {}
    secrets: dict[Subset, bytes] = {}
    members: tuple[int, ...] = ()
    part: bytes = b""
    commitments: dict[int, bytes] = {}

    @property
    def agreement(self) -> AgreementKey:
        """The X25519 key."""
        return AgreementKey.from_seed(self.seed)

    def __repr__(self) -> str:
        """The number only."""
        return f"<Making of key number {self.number}>"


class HolderKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finished key as one holder has it.

    Attributes:
        number: κ.
        name: K.
        secrets: by subset that the holder is in, its secret; its share follows from them.
        opened: how many sums it has begun to open with it.
    """

    number: int
    name: bytes
    secrets: dict[Subset, bytes]
    opened: int = 0

    def __repr__(self) -> str:
        """Nothing secret."""
        return f"<HolderKey number {self.number}, {self.opened} sums opened>"


def packed_part(run: Run, part_: bytes) -> bytes:
    """Pack(b_i) of a part as it travels: one that leads no subset sends nothing, which stands for zero."""
    ring = run.params.ring
    if part_:
        return part_
    return pack_rows(np.zeros((len(ring.key_primes), ring.degree), dtype=np.uint64), ring.key_primes)


def check_advertised(  # noqa: PLR0917 - who advertised what, and what was seen before
    run: Run, number: int, holder: int, key: bytes, signature: bytes, seen: set[bytes]
) -> None:
    """Refuse an X25519 key that breaks CK-5; add it to those ``seen`` if it does not.

    Raises:
        ProtocolViolation: CK-5, of one that is no holder, of low order, already seen, or not signed.
    """
    if holder not in run.params.holders:
        raise ProtocolViolation(f"Party {holder} is not a holder.", clause="CK-5", party=holder)
    if not is_safe_public(key):
        raise ProtocolViolation(
            f"Holder {holder} advertised a malformed or low-order key.", clause="CK-5", party=holder
        )
    if key in seen:
        raise ProtocolViolation(
            f"Holder {holder} advertised a key that is already in use.", clause="CK-5", party=holder
        )
    if not run.signed_by(holder, ADVERTISE_DOMAIN, advertise_statement(run.session, number, key), signature):
        raise ProtocolViolation(
            f"The key of holder {holder} is not signed by its identity for key number {number}.",
            clause="CK-5",
            party=holder,
        )
    seen.add(key)
