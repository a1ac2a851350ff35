"""A party's own key and the roster, as its settings name them."""

from __future__ import annotations

from pathlib import Path

from fedpriv.crypto import SigningKey
from fedpriv.keystore.identity import load_identity, read_passphrase
from fedpriv.keystore.roster import Roster, load_roster

__all__ = ["load_party"]


def load_party(identity: Path, roster: Path, passphrase_file: Path | None) -> tuple[SigningKey, Roster]:
    """Read a party's identity and the roster from disk.

    Args:
        identity: its private key.
        roster: who takes part.
        passphrase_file: of the identity, where it has a passphrase.

    Raises:
        UsageError: a file that is missing or wrong.
    """
    passphrase = None if passphrase_file is None else read_passphrase(passphrase_file)
    return load_identity(identity, passphrase), load_roster(roster)
