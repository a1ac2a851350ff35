"""The public half of an identity: a name, an Ed25519 key, and the line of text that carries both."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedpriv.errors import UsageError
from fedpriv.keystore.fingerprint import fingerprint
from fedpriv.keystore.identity_key import KEY_BYTES, is_safe_identity_key
from fedpriv.local_file import PUBLIC, create_file, read_text

__all__ = [
    "LABEL",
    "PublicIdentity",
    "decode_key",
    "encode_key",
    "key_fingerprint",
    "load_public",
    "write_public",
]

LABEL: Final = "fedpriv-ed25519"

_FIELDS: Final = 3
_DIGITS: Final = 24  # another key with the same fingerprint: 2**96 tries
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """Who a party is to the others: ``name`` (one word) and ``key`` (32 bytes, an Ed25519 public key).

    A name has 1 to 64 letters, digits and ``. _ @ -`` of ASCII, so that no two names look alike, and begins
    with a letter or digit.

    Raises:
        UsageError: another name, or a key that is malformed or of small order.

    >>> from fedpriv.crypto import SigningKey
    >>> identity = PublicIdentity("hospital-a", SigningKey.from_seed(bytes(32)).public)
    >>> identity.line
    'fedpriv-ed25519 O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik= hospital-a'
    >>> PublicIdentity.from_line(identity.line) == identity
    True
    >>> identity.fingerprint
    'c487 c943 3792 9228 27f4 d178'
    """

    name: str
    key: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot be the name of an identity.",
                hint="Use one word of at most 64 letters (a to z), digits and . _ @ -, as in hospital-a.",
            )
        if not is_safe_identity_key(self.key):
            raise UsageError(
                f"The key of {self.name!r} is malformed or of small order: anybody could sign under it.",
                hint="Ask its owner for the .pub file again, and do not use this one.",
            )

    @classmethod
    def from_line(cls, line: str) -> PublicIdentity:
        """The identity that `line` was of.

        Raises:
            UsageError: it is no such line.
        """
        fields = line.split()
        if len(line.splitlines()) != 1 or len(fields) != _FIELDS or fields[0] != LABEL:
            raise UsageError(
                f"A public key is one line, `{LABEL} <key in base64> <name>`, and this is none.",
                hint="Give the .pub file that `fedpriv keys new` wrote.",
            )
        return cls(fields[2], decode_key(fields[1]))

    @property
    def line(self) -> str:
        """One line of text, without its end: label, key in base64, name."""
        return f"{LABEL} {encode_key(self.key)} {self.name}"

    @property
    def fingerprint(self) -> str:
        """Of the key alone, see `key_fingerprint`."""
        return key_fingerprint(self.key)


def key_fingerprint(key: bytes) -> str:
    """What people compare of an Ed25519 public key (32 bytes): 24 hexadecimal digits in groups of four."""
    return fingerprint("fedpriv identity v1", key, digits=_DIGITS)


def load_public(path: Path) -> PublicIdentity:
    """Read the file that `write_public` wrote.

    Raises:
        UsageError: it cannot be read, or holds no public key, or a private one.
    """
    text = read_text(path, "public key")
    if text.startswith("-----BEGIN"):
        raise UsageError(
            f"{path} is a private key, and a public one is needed.",
            hint=f"Give {path}.pub, and send the private key to nobody.",
        )
    try:
        return PublicIdentity.from_line(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from None


def write_public(path: Path, identity: PublicIdentity) -> None:
    """Write the line of ``identity`` to a new file.

    Raises:
        UsageError: the file exists or cannot be written.
    """
    create_file(path, f"{identity.line}\n".encode("ascii"), what="public key", mode=PUBLIC)


def encode_key(key: bytes) -> str:
    """32 bytes in standard base64."""
    return base64.b64encode(key).decode("ascii")


def decode_key(text: str) -> bytes:
    """The 32 bytes of a key from its one base64 form.

    Raises:
        UsageError: another length, another alphabet, or bits behind the last byte.
    """
    try:
        key = base64.b64decode(text)  # which is lenient, so the key must give the same text again
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES or encode_key(key) != text:
        raise UsageError(
            f"{text[:60]!r} is not a key of {KEY_BYTES} bytes in base64.",
            hint="Ask its owner for the .pub file again: this one was changed or cut.",
        )
    return key
