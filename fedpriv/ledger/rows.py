"""One row of a ledger: how it is hashed, signed and linked to the last (protocols/ledger/spec.md, 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fedpriv.crypto import SigningKey, canonical_json, digest, verify
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.ledger.body import MAX_BODY_BYTES, Body, check_time

__all__ = ["Row", "genesis", "seal", "signature_of_head_holds"]

_ROW_DOMAIN: Final = "fedpriv/ledger/row/v1"
_GENESIS_DOMAIN: Final = "fedpriv/ledger/genesis/v1"
_SIGNATURE_DOMAIN: Final = "fedpriv/ledger/signature/v1"


def genesis(dataset: str) -> bytes:
    """The 32 bytes that the first row of a data set's chain names as its predecessor."""
    return digest(_GENESIS_DOMAIN, dataset.encode("utf-8"))


@dataclass(frozen=True, slots=True)
class Row:
    """One signed entry of one data set's chain.

    ``prev`` and ``hash`` are 32 bytes, ``signer`` the 32 bytes of an Ed25519 public key, ``signature`` 64.
    """

    seq: int
    dataset: str
    kind: str
    time: str
    body: Body
    prev: bytes
    signer: bytes
    hash: bytes
    signature: bytes = field(repr=False)

    @property
    def body_json(self) -> bytes:
        """The body in canonical JSON: the bytes that are hashed and stored."""
        return canonical_json(self.body)

    @property
    def run(self) -> str:
        """The run that the row is about; empty for a BUDGET row."""
        return str(self.body.get("run", ""))

    @property
    def round(self) -> int | None:
        """The round that the row is about, if it is about one."""
        value = self.body.get("round")
        return value if isinstance(value, int) else None

    def recomputed_hash(self) -> bytes:
        """The hash that the row's other fields give (spec 4)."""
        return _row_hash(
            seq=self.seq,
            dataset=self.dataset,
            kind=self.kind,
            time=self.time,
            body=self.body_json,
            prev=self.prev,
            signer=self.signer,
        )

    def signature_holds(self) -> bool:
        """Whether ``signer`` signed ``hash``."""
        return signature_of_head_holds(self.signer, self.hash, self.signature)

    def to_dict(self) -> dict[str, object]:
        """The row as a bundle holds it; the data set stands once at the head of the bundle."""
        return {
            "seq": self.seq,
            "kind": self.kind,
            "time": self.time,
            "body": self.body,
            "prev": self.prev.hex(),
            "signer": self.signer.hex(),
            "hash": self.hash.hex(),
            "signature": self.signature.hex(),
        }


def signature_of_head_holds(signer: bytes, hash_: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is the one that ``signer`` gives to a row with this hash."""
    return verify(signer, _SIGNATURE_DOMAIN, hash_, signature)


def seal(signer: SigningKey, *, seq: int, dataset: str, kind: str, time: str, body: Body, prev: bytes) -> Row:
    """Hash and sign a row. It says nothing about whether the row is legal after its predecessors."""
    try:
        check_time(time)
    except IntegrityError as error:
        raise UsageError(f"The ledger's clock failed: {error}") from error
    encoded = canonical_json(body)
    if len(encoded) > MAX_BODY_BYTES:
        raise UsageError(f"A ledger row of {len(encoded)} bytes is over the limit of {MAX_BODY_BYTES}.")
    value = _row_hash(
        seq=seq, dataset=dataset, kind=kind, time=time, body=encoded, prev=prev, signer=signer.public
    )
    signature = signer.sign(_SIGNATURE_DOMAIN, value)
    return Row(
        seq=seq,
        dataset=dataset,
        kind=kind,
        time=time,
        body=body,
        prev=prev,
        signer=signer.public,
        hash=value,
        signature=signature,
    )


def _row_hash(
    *, seq: int, dataset: str, kind: str, time: str, body: bytes, prev: bytes, signer: bytes
) -> bytes:
    """SHA-256 over every field but hash and signature, length-prefixed, under the row domain (spec 4)."""
    return digest(
        _ROW_DOMAIN,
        seq.to_bytes(8, "big"),
        dataset.encode("utf-8"),
        kind.encode("utf-8"),
        time.encode("utf-8"),
        body,
        prev,
        signer,
    )
