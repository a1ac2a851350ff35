"""What a party keeps on its own disk: its identity, the roster of all parties, its sealed state."""

from __future__ import annotations

from fedpriv.keystore.identity import identity_of, load_identity, new_identity, public_path, read_passphrase
from fedpriv.keystore.identity_key import is_safe_identity_key
from fedpriv.keystore.party import load_party
from fedpriv.keystore.public_identity import (
    LABEL,
    PublicIdentity,
    encode_key,
    key_fingerprint,
    load_public,
    write_public,
)
from fedpriv.keystore.roster import Roster, load_roster, write_roster
from fedpriv.keystore.state_file import StateFile

__all__ = [
    "LABEL",
    "PublicIdentity",
    "Roster",
    "StateFile",
    "encode_key",
    "identity_of",
    "is_safe_identity_key",
    "key_fingerprint",
    "load_identity",
    "load_party",
    "load_public",
    "load_roster",
    "new_identity",
    "public_path",
    "read_passphrase",
    "write_public",
    "write_roster",
]
