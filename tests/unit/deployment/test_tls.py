"""Nodes connect to the server that holds the key, under the name that it was signed for, and to no other."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from fedpriv.deployment.tls import node_key, write_tls
from fedpriv.errors import UsageError


def connect(server: Path, authority: Path, name: str) -> None:
    """A whole handshake in memory, which raises `ssl.SSLError` where the client does not trust the server."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server / "server.pem", server / "server.key")
    trusting = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        trusting.wrap_bio(down, up, server_hostname=name),
        serving.wrap_bio(up, down, server_side=True),
    ]
    while ends:
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tls").mkdir()
    write_tls(tmp_path / "tls", ["1", "authority"], now=datetime.now(UTC))
    return tmp_path / "tls"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_node_trusts_the_server_on_this_machine(folder: Path, name: str) -> None:
    connect(folder, folder, name)


def test_a_node_trusts_no_other_name(folder: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connect(folder, folder, "server.example")


def test_a_node_trusts_no_server_of_another_deployment(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_tls(tmp_path / "other", [], now=datetime.now(UTC))
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(tmp_path / "other", folder, "localhost")


def test_a_certificate_ends(tmp_path: Path) -> None:
    write_tls(tmp_path, [], now=datetime.now(UTC) - timedelta(days=91))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(tmp_path, tmp_path, "localhost")


def test_the_server_s_certificate_can_sign_no_other(folder: Path) -> None:
    certificate = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not (folder / "ca.key").exists()


def test_a_node_s_pair_is_of_the_form_that_flower_reads(folder: Path) -> None:
    private = node_key(folder, "authority")
    key = load_ssh_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    public = load_ssh_public_key(private.with_name("node-authority.key.pub").read_bytes())
    assert public == key.public_key()


def test_private_keys_are_for_their_owner_and_never_overwritten(folder: Path) -> None:
    for path in folder.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match="exists"):
        write_tls(folder, ["1"], now=datetime.now(UTC))
    assert {path: path.read_bytes() for path in folder.iterdir()} == kept
