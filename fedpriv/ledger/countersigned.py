"""Heads of a server's chain that clients sign, and withdrawals (protocols/ledger/spec.md, 12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fedpriv.crypto import SigningKey, digest, frame, strict_json, verify
from fedpriv.errors import DecodeError, IntegrityError, UsageError
from fedpriv.ledger.body import MAX_SEQ, check_dataset, check_run, hex_bytes
from fedpriv.ledger.rows import Row, signature_of_head_holds

__all__ = [
    "CHECKPOINT_FILE",
    "CHECKPOINT_FORMAT",
    "Checkpoint",
    "Head",
    "roster_digest",
    "sign_withdrawal",
    "withdrawal_holds",
]

CHECKPOINT_FORMAT: Final = "fedpriv/ledger-checkpoint/v1"
CHECKPOINT_FILE: Final = "checkpoint.json"
"""Its name in an adapter."""

_COUNTERSIGNATURE: Final = "fedpriv/ledger/countersignature/v1"
_WITHDRAWAL: Final = "fedpriv/ledger/withdrawal/v1"


@dataclass(frozen=True, slots=True)
class Head:
    """Where a server's chain ended: its data set, the last row's number and hash, and who signed it."""

    dataset: str
    seq: int
    hash: bytes
    signer: bytes

    @classmethod
    def of(cls, row: Row) -> Head:
        """The head of a chain whose last row is ``row``."""
        return cls(row.dataset, row.seq, row.hash, row.signer)

    @property
    def statement(self) -> bytes:
        """The bytes that a client signs (spec 12.3)."""
        return frame(self.dataset.encode("utf-8"), self.seq.to_bytes(8, "big"), self.hash, self.signer)

    def countersign(self, key: SigningKey) -> bytes:
        """A client's signature of the head, 64 bytes."""
        return key.sign(_COUNTERSIGNATURE, self.statement)

    def countersigned(self, public: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is the one of the client with the key ``public``."""
        return verify(public, _COUNTERSIGNATURE, self.statement, signature)

    def to_dict(self) -> dict[str, Any]:
        """As a client's own rows hold it."""
        return {
            "dataset": self.dataset,
            "seq": self.seq,
            "hash": self.hash.hex(),
            "signer": self.signer.hex(),
        }

    @classmethod
    def from_dict(cls, value: object) -> Head:
        """The reverse; `IntegrityError` for anything else."""
        if not isinstance(value, Mapping) or set(value) != {"dataset", "seq", "hash", "signer"}:
            raise IntegrityError("It is not the head of a ledger.")
        seq = value["seq"]
        if type(seq) is not int or not 0 <= seq <= MAX_SEQ:
            raise IntegrityError("The number of a ledger's head is not a whole number.")
        try:
            dataset = check_dataset(value["dataset"])
        except UsageError as error:
            raise IntegrityError(str(error)) from None
        return cls(dataset, seq, _bytes(value["hash"], 32), _bytes(value["signer"], 32))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head of the server's chain with the server's signature and those of clients (spec 12.4).

    ``countersignatures`` maps a client to its public key (32 bytes) and its signature (64 bytes).
    """

    head: Head
    signature: bytes
    run: str
    round: int
    countersignatures: Mapping[int, tuple[bytes, bytes]]

    def to_dict(self) -> dict[str, Any]:
        """The form of ``checkpoint.json``."""
        return {
            "format": CHECKPOINT_FORMAT,
            **self.head.to_dict(),
            "signature": self.signature.hex(),
            "run": self.run,
            "round": self.round,
            "countersignatures": {
                str(client): {"key": key.hex(), "signature": signature.hex()}
                for client, (key, signature) in sorted(self.countersignatures.items())
            },
        }

    @classmethod
    def from_json(cls, text: bytes | str) -> Checkpoint:
        """Read ``checkpoint.json``; `IntegrityError` for anything that is not one."""
        try:
            value = strict_json.parse(text)
        except DecodeError as error:
            raise IntegrityError(f"It is not a checkpoint of a ledger: {error}.") from None
        return cls.from_dict(value)

    @classmethod
    def from_dict(cls, value: object) -> Checkpoint:
        """The reverse of `to_dict`; signatures are for `faults` to judge."""
        fields = {"format", "dataset", "seq", "hash", "signer", "signature", "run", "round"}
        if not isinstance(value, dict) or set(value) != fields | {"countersignatures"}:
            raise IntegrityError("It is not a checkpoint of a ledger: its fields are others.")
        if value["format"] != CHECKPOINT_FORMAT:
            raise IntegrityError(f"It is not a checkpoint of the form {CHECKPOINT_FORMAT}.")
        round_, signed = value["round"], value["countersignatures"]
        if type(round_) is not int or not 0 <= round_ <= MAX_SEQ or not isinstance(signed, dict):
            raise IntegrityError("The round or the countersignatures of a checkpoint are not well formed.")
        try:
            run = check_run(value["run"])
        except UsageError as error:
            raise IntegrityError(str(error)) from None
        return cls(
            head=Head.from_dict({key: value[key] for key in ("dataset", "seq", "hash", "signer")}),
            signature=_bytes(value["signature"], 64),
            run=run,
            round=round_,
            countersignatures=dict(_countersignature(client, entry) for client, entry in signed.items()),
        )

    def faults(self) -> list[str]:
        """What does not hold in it; it says nothing of whether a ledger has the row."""
        found = []
        if not signature_of_head_holds(self.head.signer, self.head.hash, self.signature):
            found.append("the server's signature does not hold")
        for client, (key, signature) in self.countersignatures.items():
            if not self.head.countersigned(key, signature):
                found.append(f"the countersignature of client {client} does not hold")
        return found


def roster_digest(keys: Mapping[int, bytes]) -> str:
    """What a PLAN row says of who will countersign: a digest, in hex, of the clients' public keys."""
    parts = (client.to_bytes(8, "big") + key for client, key in sorted(keys.items()))
    return digest("fedpriv/ledger/roster/v1", *parts).hex()


def sign_withdrawal(key: SigningKey, reserve: Row) -> bytes:
    """A client's word that it sent nothing in the round of ``reserve``, a RESERVE row, and never will."""
    return key.sign(_WITHDRAWAL, _withdrawal(reserve.dataset, reserve.run, reserve.round or 0, reserve.hash))


def withdrawal_holds(
    public: bytes,
    signature: bytes,
    *,
    dataset: str,
    run: str,
    round: int,  # noqa: A002
    reserve: bytes,
) -> bool:
    """Whether a client with the key ``public`` withdrew; ``reserve`` is the hash of the RESERVE row."""
    return verify(public, _WITHDRAWAL, _withdrawal(dataset, run, round, reserve), signature)


def _withdrawal(dataset: str, run: str, round_: int, reserve: bytes) -> bytes:
    return frame(dataset.encode("utf-8"), run.encode("utf-8"), round_.to_bytes(8, "big"), reserve)


def _countersignature(client: object, entry: object) -> tuple[int, tuple[bytes, bytes]]:
    if not isinstance(client, str) or not client.isdecimal() or len(client) > 9:
        raise IntegrityError("A countersignature of a checkpoint names no client.")
    if not isinstance(entry, dict) or set(entry) != {"key", "signature"}:
        raise IntegrityError(f"The countersignature of client {client} is not well formed.")
    return int(client), (_bytes(entry["key"], 32), _bytes(entry["signature"], 64))


def _bytes(value: object, size: int) -> bytes:
    """Bytes from lower-case hexadecimal of exactly one size."""
    found = hex_bytes(value, size)
    if found is None:
        raise IntegrityError(f"It holds something else where {size} bytes in hexadecimal should stand.")
    return found
