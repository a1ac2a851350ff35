"""Whoever exports a bundle and has the ledger's key: may say anything, and sign it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sample_run import signer

from fedpriv.crypto import SigningKey, dsse
from fedpriv.report.statement import PAYLOAD_TYPE

__all__ = ["Statement", "envelope_of", "resign", "sign_again", "statement_of"]

Statement = dict[str, Any]


def envelope_of(bundle: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(bundle.read_text())
    return value


def statement_of(bundle: Path) -> Statement:
    value: Statement = json.loads(base64.b64decode(envelope_of(bundle)["payload"]))
    return value


def sign_again(bundle: Path, payload: bytes | str, key: SigningKey | None = None) -> None:
    """Put ``payload`` into the bundle, under a signature that holds."""
    data = payload if isinstance(payload, bytes) else payload.encode()
    bundle.write_bytes(dsse.sign(key or signer(), PAYLOAD_TYPE, data).encode())


def resign(bundle: Path, edit: Callable[[Statement], None]) -> None:
    """Change the statement of a bundle and sign it again."""
    statement = statement_of(bundle)
    edit(statement)
    sign_again(bundle, json.dumps(statement))
