"""A party's Ed25519 identity as a file: PKCS#8 in PEM, with a passphrase where wanted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedpriv.crypto import SigningKey
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.keystore.public_identity import PublicIdentity, load_public, write_public
from fedpriv.local_file import PRIVATE, create_file, read_private

__all__ = ["identity_of", "load_identity", "new_identity", "public_path", "read_passphrase"]

LEAST_PASSPHRASE: Final = 12
MOST_PASSPHRASE: Final = 1023

_WHAT: Final = "private key"
_SEED_BYTES: Final = 32
_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def new_identity(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    passphrase: bytes | None = None,
    rand: Callable[[int], bytes] = os.urandom,
) -> SigningKey:
    """Make an identity: the private key in a new file of mode 0600, its public half in ``path`` + ``.pub``.

    With a passphrase the file is encrypted with AES-256-CBC under PBKDF2-HMAC-SHA256 with 2,048 iterations,
    what pyca/cryptography writes.  That slows guessing little, so the passphrase itself must be hard to
    guess: five random words.  `load_identity` also reads files with a costlier derivation, as
    ``openssl pkcs8 -topk8 -scrypt`` writes them.

    Args:
        path: where; neither file is ever overwritten.
        name: what others call it, see `PublicIdentity`; default: the file's name without its ending.
        passphrase: 12 to 1023 bytes, or none.
        rand: ``rand(n)`` gives n fresh uniform bytes.

    Raises:
        UsageError: a file exists or cannot be written; a name or passphrase that will not do.  Nothing is
            left of either file.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> key = new_identity(f"{folder.name}/hospital-a.pem")
    >>> load_identity(f"{folder.name}/hospital-a.pem") == key
    True
    >>> folder.cleanup()
    """
    path = Path(path)
    key = SigningKey.from_seed(rand(_SEED_BYTES))
    public = PublicIdentity(path.stem if name is None else name, key.public)
    pem = Ed25519PrivateKey.from_private_bytes(key.seed).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, _encryption(passphrase)
    )
    create_file(path, pem, what=_WHAT, mode=PRIVATE)
    try:
        write_public(public_path(path), public)
    except BaseException:
        path.unlink()  # nobody has seen this key yet
        raise
    return key


def load_identity(path: str | os.PathLike[str], passphrase: bytes | None = None) -> SigningKey:
    """Read a private key that `new_identity` or ``openssl genpkey -algorithm ed25519`` made.

    A link to the file is followed; what counts are the permissions of the file itself.

    Raises:
        UsageError: there is none, others than its owner may use it, it holds no Ed25519 key, or the
            passphrase is missing, wrong, or given for a file that has none.
    """
    path = Path(path)
    try:
        pem = read_private(path, what=_WHAT)
    except FileNotFoundError:
        raise UsageError(
            f"There is no private key {path}.", hint=f"Check the path; `fedpriv keys new {path}` makes one."
        ) from None
    if pem.startswith(_ENCRYPTED) and passphrase is None:
        raise UsageError(
            f"The private key {path} is protected, and no passphrase was given.",
            hint="Give --passphrase to be asked for it, or --passphrase-file.",
        )
    if not pem.startswith(_ENCRYPTED) and passphrase is not None:
        raise UsageError(
            f"The private key {path} has no passphrase, and one was given.",
            hint="Check that this is the right file; if it is, leave the passphrase out.",
        )
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if passphrase is not None:
            raise UsageError(
                f"The passphrase does not open the private key {path}, or the file is damaged.",
                hint="Try again; there is no way in without it.",
            ) from None
        raise UsageError(
            f"{path} is no private key in PEM, or a damaged one.", hint="Check the path, or restore a copy."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"{path} holds a private key of another kind than Ed25519.",
            hint="Make one with `fedpriv keys new`.",
        )
    return SigningKey.from_seed(key.private_bytes_raw())


def identity_of(path: Path, key: SigningKey) -> PublicIdentity | None:
    """What the ``.pub`` file beside a private key says of it; ``None`` where there is none.

    Raises:
        IntegrityError: it is of another key.
        UsageError: it cannot be read.
    """
    beside = public_path(path)
    if not os.path.lexists(beside):
        return None
    public = load_public(beside)
    if public.key != key.public:
        raise IntegrityError(
            f"{beside} is not the public half of {path}.",
            hint="Send it to nobody; find out which of the two files was replaced.",
        )
    return public


def public_path(path: Path) -> Path:
    """Where the public half of a private key lies: its path with ``.pub`` behind."""
    return path.with_name(f"{path.name}.pub")


def read_passphrase(path: Path) -> bytes:
    """The passphrase in a file that nobody but its owner may use, without the end of its line.

    Raises:
        UsageError: there is none, others may use it, or it is empty.
    """
    try:
        text = read_private(path, what="passphrase file")
    except FileNotFoundError:
        raise UsageError(f"There is no passphrase file {path}.", hint="Check the path.") from None
    passphrase = text.removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase:
        raise UsageError(f"The passphrase file {path} is empty.", hint="Write the passphrase into it.")
    return passphrase


def _encryption(passphrase: bytes | None) -> KeySerializationEncryption:
    if passphrase is None:
        return NoEncryption()
    if not LEAST_PASSPHRASE <= len(passphrase) <= MOST_PASSPHRASE:
        raise UsageError(
            f"A passphrase has {LEAST_PASSPHRASE} to {MOST_PASSPHRASE} bytes; here are {len(passphrase)}.",
            hint="Take five random words.",
        )
    return BestAvailableEncryption(passphrase)
