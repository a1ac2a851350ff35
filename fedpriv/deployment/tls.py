"""TLS and node authentication for a deployment that is tried out: an authority that signs once."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedpriv.local_file import PRIVATE, PUBLIC, create_file

__all__ = ["node_key", "write_tls"]

_DAYS: Final = 90
_LEEWAY: Final = timedelta(hours=1)
"""By how much a node's clock may be behind."""


def write_tls(folder: Path, nodes: Sequence[str], *, now: datetime) -> None:
    """Write what a SuperLink on this machine and its SuperNodes need, into an existing folder.

    ``ca.pem``, ``server.pem`` and ``server.key`` (X.509, EC P-256) are for TLS: the certificate is for
    ``localhost`` and ``127.0.0.1`` and ends after 90 days.  The key that signed it is not kept, so nobody can
    sign another.  For each node there is a pair by which the SuperLink knows it again, see `node_key`.

    Args:
        folder: where; no file in it is overwritten.
        nodes: their names.
        now: from when on the certificates hold, with a time zone.

    Raises:
        UsageError: a file exists or cannot be written.
    """
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    signed = _authority_certificate(authority, now)
    create_file(folder / "ca.pem", signed.public_bytes(Encoding.PEM), what="certificate", mode=PUBLIC)
    certificate = _server_certificate(server, authority, signed, now)
    create_file(
        folder / "server.pem", certificate.public_bytes(Encoding.PEM), what="certificate", mode=PUBLIC
    )
    pem = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    create_file(folder / "server.key", pem, what="private key", mode=PRIVATE)
    for name in nodes:
        _write_node_key(node_key(folder, name))


def node_key(folder: Path, name: str) -> Path:
    """Where a node's authentication key lies, EC P-256 in OpenSSH's form; the public half has ``.pub``."""
    return folder / f"node-{name}.key"


def _write_node_key(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    create_file(path, pem, what="private key", mode=PRIVATE)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
    create_file(path.with_name(f"{path.name}.pub"), public, what="public key", mode=PUBLIC)


def _authority_certificate(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = _name("fedpriv test authority")
    return (
        _begun(name, name, key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _server_certificate(
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
    signed: x509.Certificate,
    now: datetime,
) -> x509.Certificate:
    places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    return (
        _begun(_name("localhost"), signed.subject, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority, hashes.SHA256())
    )


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LEEWAY)
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
