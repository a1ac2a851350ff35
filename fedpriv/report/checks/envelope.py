"""Clause 7.4: who signed a bundle."""

from __future__ import annotations

from collections.abc import Iterator

from fedpriv.crypto.dsse import Envelope
from fedpriv.report.check import Check

__all__ = ["envelope_check", "open_ends"]


def envelope_check(file: str, envelope: Envelope, key: str, *, whose: str) -> Check:
    """Whether one of the signatures is that of ``key`` (32 bytes in hex, perhaps not even that)."""
    try:
        public = bytes.fromhex(key)
    except ValueError:
        return Check("bundle: signature", file, "failed", f"it is not signed by {whose}, which is no key")
    if envelope.signed_by(public):
        return Check("bundle: signature", file, "ok", f"it is signed by {whose}")
    return Check("bundle: signature", file, "failed", f"it is not signed by {whose}; nothing else was read")


def open_ends(key: str, *, signer_known: bool, adapter_known: bool) -> Iterator[Check]:
    """What a bundle alone cannot show, and what to give so that it is checked."""
    if not signer_known:
        what = f"nothing here shows whose key {key} is: compare it with what its owner says, or give it"
        yield Check("signer", "run.json, server_key", "note", what)
    if not adapter_known:
        what = "no adapter's folder was given: the digests of its files were held against the ledger alone"
        yield Check("adapter in use", "the bundle's subjects", "note", what)
