"""DSSE v1, the Dead Simple Signing Envelope of the in-toto and Sigstore tools, with Ed25519.

What is signed is ``PAE(type, body) = "DSSEv1" SP len(type) SP type SP len(body) SP body``, lengths in ASCII
decimal (https://github.com/secure-systems-lab/dsse, protocol.md).  It begins with the byte 0x44.  What
:mod:`fedpriv.crypto.signing` signs begins with the high byte of an 8-byte length, 0x00.  So no signature made
for one can ever be shown as the other, though both are made with the same key.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpriv.crypto.signing import SigningKey
from fedpriv.crypto.strict_json import parse
from fedpriv.errors import DecodeError

__all__ = ["Envelope", "Signature", "decode", "pre_authentication_encoding", "sign"]

_MOST_SIGNATURES: Final = 16


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature; its ``keyid`` is a hint that nothing authenticates, and decides nothing."""

    keyid: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """Bytes of a named type, and who signed them.  Nothing in it is believed before :meth:`signed_by`."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def signed_by(self, public: bytes) -> bool:
        """Whether one of the signatures is that of the 32-byte key ``public``; never raises."""
        signed = pre_authentication_encoding(self.payload_type, self.payload)
        return any(_holds(public, signed, signature.value) for signature in self.signatures)

    def encode(self) -> bytes:
        """The envelope as a JSON text of one line, base64 in the standard alphabet."""
        value = {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": one.keyid, "sig": base64.b64encode(one.value).decode()} for one in self.signatures
            ],
        }
        return json.dumps(value, ensure_ascii=False).encode("utf-8") + b"\n"


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """PAE of protocol.md: the bytes that are signed.

    >>> pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode("utf-8")
    return b" ".join((b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload))


def sign(key: SigningKey, payload_type: str, payload: bytes) -> Envelope:
    """``payload`` in an envelope with the signature of ``key``; its ``keyid`` is the public key in hex.

    >>> key = SigningKey.from_seed(bytes(32))
    >>> envelope = decode(sign(key, "text/plain", b"hello").encode())
    >>> envelope.payload, envelope.signed_by(key.public), envelope.signed_by(bytes(32))
    (b'hello', True, False)
    """
    signed = pre_authentication_encoding(payload_type, payload)
    signature = Ed25519PrivateKey.from_private_bytes(key.seed).sign(signed)
    return Envelope(payload_type, payload, (Signature(key.public.hex(), signature),))


def decode(data: bytes) -> Envelope:
    """The envelope that ``data`` is.

    Stricter than protocol.md, which has readers pass over what they do not know: fields other than
    ``payload``, ``payloadType``, ``signatures``, ``keyid`` and ``sig``, and more than 16 signatures, are
    refused.  Both alphabets of base64 are taken, as it demands, each in its one canonical form.

    Raises:
        DecodeError: the bytes are not an envelope.
    """
    try:
        value = parse(data)
    except DecodeError as error:
        raise DecodeError(f"the envelope is not valid JSON: {error}") from None
    if not isinstance(value, dict) or value.keys() != {"payload", "payloadType", "signatures"}:
        raise DecodeError("a DSSE envelope is an object of payload, payloadType and signatures")
    signatures = value["signatures"]
    if not isinstance(value["payloadType"], str):
        raise DecodeError("the envelope's payloadType is not text")
    if not isinstance(signatures, list) or not 1 <= len(signatures) <= _MOST_SIGNATURES:
        raise DecodeError(f"the envelope does not have 1 to {_MOST_SIGNATURES} signatures")
    return Envelope(
        value["payloadType"], _base64(value["payload"], "payload"), tuple(map(_signature, signatures))
    )


def _signature(value: Any) -> Signature:
    if not isinstance(value, dict) or not {"sig"} <= value.keys() <= {"keyid", "sig"}:
        raise DecodeError("a signature of the envelope is not an object of keyid and sig")
    keyid = value.get("keyid", "")
    if not isinstance(keyid, str):
        raise DecodeError("a signature's keyid is not text")
    return Signature(keyid, _base64(value["sig"], "sig"))


def _base64(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise DecodeError(f"the envelope's {name} is not text")
    try:
        standard = text.encode("ascii").translate(bytes.maketrans(b"-_", b"+/"))
        value = base64.b64decode(standard, validate=True)
    except ValueError:
        raise DecodeError(f"the envelope's {name} is not base64") from None
    if base64.b64encode(value) != standard:
        raise DecodeError(f"the envelope's {name} is not in the canonical form of base64")
    return value


def _holds(public: bytes, signed: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
