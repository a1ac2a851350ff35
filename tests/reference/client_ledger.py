"""Sections 11 and 12 of protocols/ledger/spec.md once more, slow and obvious, from nothing of fedpriv."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from reference.ledger import frame, sha

CHECKPOINT = {
    "format", "dataset", "seq", "hash", "signer", "signature", "run", "round", "countersignatures"
}  # fmt: skip


def statement(domain: str, message: bytes) -> bytes:
    """Section 2: what a signature is over."""
    return frame(b"fedpriv signature v1", domain.encode(), message)


def sign(seed: bytes, domain: str, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(statement(domain, message))


def holds(public: str, domain: str, message: bytes, signature: str) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), statement(domain, message))
    except InvalidSignature:
        return False
    return True


def head(checkpoint: dict[str, Any]) -> bytes:
    """12.3: dataset, seq, hash and signer of the server's last row."""
    return frame(
        checkpoint["dataset"].encode(),
        checkpoint["seq"].to_bytes(8, "big"),
        bytes.fromhex(checkpoint["hash"]),
        bytes.fromhex(checkpoint["signer"]),
    )


def countersign(seed: bytes, checkpoint: dict[str, Any]) -> bytes:
    return sign(seed, "fedpriv/ledger/countersignature/v1", head(checkpoint))


def faults(checkpoint: dict[str, Any]) -> list[str]:
    """Who signed wrongly: "server", or the number of a client; "form" where it is no checkpoint."""
    if set(checkpoint) != CHECKPOINT or checkpoint["format"] != "fedpriv/ledger-checkpoint/v1":
        return ["form"]
    found = []
    row = bytes.fromhex(checkpoint["hash"])
    if not holds(checkpoint["signer"], "fedpriv/ledger/signature/v1", row, checkpoint["signature"]):
        found.append("server")
    for client, given in checkpoint["countersignatures"].items():
        domain = "fedpriv/ledger/countersignature/v1"
        if not holds(given["key"], domain, head(checkpoint), given["signature"]):
            found.append(client)
    return found


def withdrawal(said: dict[str, Any]) -> bytes:
    """12.5: what a client that withdraws signs."""
    return frame(
        said["dataset"].encode(),
        said["run"].encode(),
        said["round"].to_bytes(8, "big"),
        bytes.fromhex(said["reserve"]),
    )


def withdraw(seed: bytes, said: dict[str, Any]) -> bytes:
    return sign(seed, "fedpriv/ledger/withdrawal/v1", withdrawal(said))


def withdrew(public: str, said: dict[str, Any], signature: str) -> bool:
    return holds(public, "fedpriv/ledger/withdrawal/v1", withdrawal(said), signature)


def salt(seed: bytes) -> bytes:
    """11.1: HKDF-SHA256 (RFC 5869) by hand; one block is enough for 32 bytes."""
    extracted = hmac.new(bytes(32), seed, hashlib.sha256).digest()
    return hmac.new(extracted, frame(b"fedpriv/ledger/salt/v1") + b"\x01", hashlib.sha256).digest()


def canonical(text: str) -> bytes:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip().encode()


def canonical_image(shape: list[int], pixels: bytes) -> bytes:
    height, width, channels = shape
    found = [pixels[at : at + channels] for at in range(0, len(pixels), channels)]
    assert len(found) == height * width
    if all(len(set(pixel)) == 1 for pixel in found):
        channels, found = 1, [pixel[:1] for pixel in found]
    sides = b"".join(side.to_bytes(4, "little") for side in (height, width, channels))
    return b"\xff" + sides + b"".join(found)


def mark_of(key: bytes, form: bytes) -> int:
    digest = hashlib.blake2b(form, key=key, person=b"fedpriv mark v1", digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def mark(key: bytes, text: str) -> int:
    return mark_of(key, canonical(text))


def marks_digest(marks: list[int]) -> bytes:
    """11.4: over the distinct marks, ascending."""
    return sha("fedpriv/ledger/marks/v1", b"".join(m.to_bytes(8, "little") for m in sorted(set(marks))))


def name(key: bytes, marks: list[int], version: str | None) -> str:
    """11.3: the name of a data set at its first sight."""
    text = marks_digest(marks) + (b"" if version is None else b"/" + version.encode())
    return hashlib.blake2b(text, key=key, person=b"fedpriv name v1", digest_size=32).hexdigest()
