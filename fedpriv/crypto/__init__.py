"""Primitives as pure functions: no IO, no clock, and entropy is always an argument."""

from __future__ import annotations

from fedpriv.crypto.aead import open_sealed, seal
from fedpriv.crypto.agreement import AgreementKey, derive_key, is_safe_public
from fedpriv.crypto.digest import canonical_json, digest, frame
from fedpriv.crypto.mask_workers import MaskWorkers
from fedpriv.crypto.prg import Keystream, add_masks
from fedpriv.crypto.shamir import combine, split
from fedpriv.crypto.signing import SigningKey, verify

__all__ = [
    "AgreementKey",
    "Keystream",
    "MaskWorkers",
    "SigningKey",
    "add_masks",
    "canonical_json",
    "combine",
    "derive_key",
    "digest",
    "frame",
    "is_safe_public",
    "open_sealed",
    "seal",
    "split",
    "verify",
]
