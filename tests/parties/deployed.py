"""An agreement for a small configuration, between parties whose keys are numbers."""

from __future__ import annotations

from typing import Any

from fedpriv.crypto import SigningKey
from fedpriv.deployment.agreement import Agreement, dataset_of
from fedpriv.federation.config import Config

SERVER, AUTHORITY = 200, 100
"""Numbers of two keys beside the clients'."""


def identity(number: int) -> SigningKey:
    """The key of a party, the same in every test."""
    return SigningKey.from_seed(bytes([number]) * 32)


def agreed(config: Config, **changes: Any) -> Agreement:
    """What the parties of ``config`` agree on; ``changes`` are fields of the agreement."""
    roster = {client: identity(client).public for client in range(1, (config.partition.clients or 5) + 1)}
    needs_authority = config.aggregator == "ckks" and config.ckks.mode == "authority"
    fields: dict[str, Any] = {
        "name": config.run.name,
        "config": config.digest(),
        "dataset": dataset_of(roster, config.data.version),
        "server": identity(SERVER).public,
        "roster": roster,
        "authority": identity(AUTHORITY).public if needs_authority else None,
        "records": config.privacy.records or 192,
        "labels": config.data.labels or ("bad", "good"),
        "dimension": 770,
        "sent": 770,
        "manifest": "aa" * 32,
        "model": "bb" * 32,
    }
    return Agreement(**fields | changes)
