"""Private keys on disk, and their public halves."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.keystore import (
    PublicIdentity,
    identity_of,
    load_identity,
    load_public,
    new_identity,
    read_passphrase,
    write_public,
)

# RFC 8032, section 7.1, test 1
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

PASSPHRASE = b"five random words here"

# The same seed under the same passphrase, as `openssl pkcs8 -topk8 -scrypt` writes it.
SCRYPT = b"""\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGTME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAjfwLB4i2/VtwICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBCr3Uk4l0vGfEQac0iv2yXoBECcAsGNqlDE4PaJ
xyG55kVeyCpXWB3GO0M31G8JQMaZ/jqrgsA5feG+GnlPWEa2HK3WNvzxvOIDJx8y
fnb45mtb
-----END ENCRYPTED PRIVATE KEY-----
"""


def known(count: int) -> bytes:
    assert count == len(SEED)
    return SEED


def private(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def refused(path: Path, passphrase: bytes | None = None) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_identity(path, passphrase)
    assert caught.value.hint
    assert SEED.hex() not in str(caught.value)
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hospital-a.pem"


def test_a_new_identity_is_private_and_comes_back(path: Path) -> None:
    key = new_identity(path, rand=known)
    assert (key.seed, key.public) == (SEED, PUBLIC)
    assert load_identity(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = path.with_name("hospital-a.pem.pub")
    assert public.read_text() == "fedpriv-ed25519 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= hospital-a\n"
    assert identity_of(path, key) == load_public(public) == PublicIdentity("hospital-a", PUBLIC)
    assert sorted(entry.name for entry in path.parent.iterdir()) == [path.name, public.name]


def test_two_identities_differ(tmp_path: Path) -> None:
    assert new_identity(tmp_path / "a").seed != new_identity(tmp_path / "b").seed


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_the_umask_neither_opens_nor_shuts_the_files(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        new_identity(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("hospital-a.pem.pub").stat().st_mode) == 0o644


def test_a_passphrase_protects_the_key(path: Path) -> None:
    key = new_identity(path, passphrase=PASSPHRASE, rand=known)
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert load_identity(path, PASSPHRASE) == key
    assert "no passphrase was given" in str(refused(path))
    assert "does not open" in str(refused(path, PASSPHRASE + b"!"))


def test_a_passphrase_for_a_key_that_has_none(path: Path) -> None:
    new_identity(path)
    assert "has no passphrase" in str(refused(path, PASSPHRASE))


def test_a_key_that_was_sealed_again_with_a_costlier_derivation_loads(path: Path) -> None:
    assert load_identity(private(path, SCRYPT), PASSPHRASE).seed == SEED
    assert "does not open" in str(refused(path, b"five random words"))


@pytest.mark.parametrize("length", [0, 1, 11, 1024])
def test_a_passphrase_that_is_too_short_or_too_long(path: Path, length: int) -> None:
    with pytest.raises(UsageError, match="A passphrase has 12 to 1023 bytes"):
        new_identity(path, passphrase=b"x" * length)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o666])
def test_a_key_that_others_may_use_is_refused_with_the_command_that_helps(path: Path, mode: int) -> None:
    new_identity(path)
    path.chmod(mode)
    error = refused(path)
    assert f"mode {mode:04o}" in str(error)
    assert f"chmod 600 {path}" in error.hint
    path.chmod(0o400)
    load_identity(path)


def test_a_link_counts_as_what_it_leads_to(path: Path, tmp_path: Path) -> None:
    key = new_identity(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert load_identity(link) == key
    path.chmod(0o644)
    assert "mode 0644" in str(refused(link))


@pytest.mark.parametrize("name", ["hospital-a.pem", "hospital-a.pem.pub"])
def test_no_file_is_ever_overwritten(path: Path, name: str) -> None:
    there = path.with_name(name)
    there.write_text("mine")
    with pytest.raises(UsageError, match="exists, and is never overwritten"):
        new_identity(path)
    assert there.read_text() == "mine"
    assert [entry.name for entry in path.parent.iterdir()] == [name]


def test_a_link_laid_in_wait_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="exists"):
        new_identity(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_no_part_of_a_key(
    path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_disk(40), pytest.raises(UsageError, match="cannot be written: file too large"):
        new_identity(path)
    assert list(path.parent.iterdir()) == []


def test_folders_that_cannot_be_written(unprivileged: Path) -> None:
    with pytest.raises(UsageError, match=r"the folder .*nowhere does not exist"):
        new_identity(unprivileged / "nowhere" / "key")
    unprivileged.chmod(0o500)
    with pytest.raises(UsageError, match="permission denied"):
        new_identity(unprivileged / "key")


def test_a_key_of_another_user_cannot_be_read(unprivileged: Path) -> None:
    new_identity(unprivileged / "key")
    (unprivileged / "key").chmod(0o000)
    assert "permission denied" in str(refused(unprivileged / "key"))


@pytest.mark.parametrize("key", [X25519PrivateKey.generate(), generate_private_key(SECP256R1())])
def test_a_key_of_another_kind(path: Path, key: X25519PrivateKey) -> None:
    private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "another kind than Ed25519" in str(refused(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        bytes(32),
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n",
        b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n"
        b"-----END RSA PRIVATE KEY-----\n",
    ],
)
def test_a_file_that_is_no_key(path: Path, content: bytes) -> None:
    assert "no private key in PEM" in str(refused(private(path, content)))


def test_a_damaged_protected_key(path: Path) -> None:
    assert "or the file is damaged" in str(refused(private(path, SCRYPT[:120]), PASSPHRASE))


def test_no_key_there_and_a_folder_in_its_place(path: Path) -> None:
    assert "There is no private key" in str(refused(path))
    path.mkdir(mode=0o700)
    assert "is a folder" in str(refused(path))


def test_a_public_half_of_another_key_is_noticed(path: Path, tmp_path: Path) -> None:
    key = new_identity(path)
    public = tmp_path / "hospital-a.pem.pub"
    public.unlink()
    assert identity_of(path, key) is None
    write_public(public, PublicIdentity("hospital-a", PUBLIC))
    with pytest.raises(IntegrityError, match="is not the public half") as caught:
        identity_of(path, key)
    assert caught.value.hint


def test_a_source_of_entropy_that_gives_too_little_makes_no_key(path: Path) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        new_identity(path, rand=lambda count: bytes(count - 1))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["", "two words", "-a", "a" * 65, "Klinikum-Köln", "a\n", 'a"', "../a"])
def test_a_name_that_others_could_misread(path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        new_identity(path, name=name)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("content", [b"five random words here\n", b"five random words here\r\n", PASSPHRASE])
def test_a_passphrase_file_is_a_line(path: Path, content: bytes) -> None:
    assert read_passphrase(private(path, content)) == PASSPHRASE


def test_passphrase_files_that_are_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="There is no passphrase file"):
        read_passphrase(path)
    with pytest.raises(UsageError, match="is empty"):
        read_passphrase(private(path, b"\n"))
    path.chmod(0o640)
    with pytest.raises(UsageError, match="Others than its owner"):
        read_passphrase(path)


LINE = "fedpriv-ed25519 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= a"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "one line"),
        (LINE + "\n" + LINE, "one line"),
        (LINE + " b", "one line"),
        (LINE.replace(" a", "\na"), "one line"),
        (LINE.replace("fedpriv-ed25519", "ssh-ed25519"), "one line"),
        (LINE.replace("Ro=", "Rp="), "not a key of 32 bytes"),  # bits behind the last byte
        (LINE.replace("S/7T", "S_7T"), "not a key of 32 bytes"),
        (LINE.replace("11qY", ""), "not a key of 32 bytes"),
        (LINE.replace("11qY", "11é"), "not a key of 32 bytes"),
        (f"fedpriv-ed25519 {'A' * 43}= a", "malformed or of small order"),
        (LINE[:-1] + "é", "cannot be the name"),
    ],
)
def test_a_line_that_is_no_public_key(path: Path, line: str, words: str) -> None:
    path.write_text(line + "\n")
    with pytest.raises(UsageError, match=words) as caught:
        load_public(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_private_key_is_not_taken_for_a_public_one(path: Path) -> None:
    new_identity(path)
    with pytest.raises(UsageError, match="is a private key") as caught:
        load_public(path)
    assert f"{path}.pub" in caught.value.hint


def test_public_files_that_cannot_be_read(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no public key"):
        load_public(path)
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not a text file"):
        load_public(path)
    with pytest.raises(UsageError, match="is a directory"):
        load_public(tmp_path)
