"""What all parties of one deployment agree on, beside the configuration, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from fedpriv.crypto import canonical_json, digest
from fedpriv.crypto.strict_json import parse
from fedpriv.encoding.ranges import check_range
from fedpriv.errors import DecodeError, IntegrityError, UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.planning.subject import Subject
from fedpriv.keystore import is_safe_identity_key
from fedpriv.keystore.hex_digits import from_hex
from fedpriv.keystore.roster import LEAST_CLIENTS
from fedpriv.local_file import read_text

__all__ = ["Agreement", "dataset_of", "needs_authority"]

_FORMAT: Final = "fedpriv-agreement/1"
_MOST: Final = 2**53 - 1
_HINT: Final = "Take the app again, and compare its digest with the other parties."


@dataclass(frozen=True, slots=True)
class Agreement:
    """One deployment; the plan follows from it and the configuration.

    Attributes:
        name: of the run.
        config: digest of the configuration (`Config.digest`), like all digests here 64 hexadecimal digits.
        dataset: the data of this roster together, see `dataset_of`.
        server: public key of the server's ledger, 32 bytes, like all keys here Ed25519.
        roster: client 1..n -> its public key.
        authority: public key of the encrypted sum's key authority, where there is one.
        records: public nominal number of training records, over all clients.
        labels: the names of the labels, in the order of the model's outputs; none for a language model.
        dimension: number of trained parameters, the coordinates of the model.
        sent: how many of them the PEFT method sends in a round.
        manifest: digest of which they are (`peft.Manifest.digest`).
        model: digest of the weights that are not trained (`training.FrozenWeights.digest`).

    Raises:
        UsageError: a key or digest that is none, fewer than three clients, a party or a label twice.
    """

    name: str
    config: str
    dataset: str
    server: bytes
    roster: Mapping[int, bytes]
    authority: bytes | None
    records: int
    labels: tuple[str, ...]
    dimension: int
    sent: int
    manifest: str
    model: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError("name must be a text.")
        for field in ("config", "dataset", "manifest", "model"):
            from_hex(field, getattr(self, field))
        check_range("records", self.records, 1, _MOST)
        check_range("dimension", self.dimension, 1, _MOST)
        check_range("sent", self.sent, 1, self.dimension)
        self._check_parties()
        if not all(isinstance(label, str) and label for label in self.labels):
            raise UsageError("labels must be texts.")
        if len(self.labels) == 1 or len(set(self.labels)) != len(self.labels):
            raise UsageError("labels must be two or more, each once, or none for a language model.")

    @classmethod
    def read(cls, path: Path) -> Self:
        """The agreement in a file.

        Raises:
            UsageError: there is no such file.
            IntegrityError: it holds no agreement.
        """
        try:
            return cls.from_dict(parse(read_text(path, "agreement")))
        except DecodeError as error:
            raise IntegrityError(f"{path} is not valid JSON: {error}.", hint=_HINT) from None
        except IntegrityError as error:
            raise IntegrityError(f"{path}: {error}", hint=error.hint) from None

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The agreement that `to_dict` was of.

        Raises:
            IntegrityError: a field is unknown, missing, or of another form.
        """
        try:
            return cls(**_arguments(values, {field.name for field in fields(cls)}))
        except UsageError as error:
            raise IntegrityError(f"The agreement is damaged: {error}", hint=_HINT) from None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, keys in hexadecimal digits."""
        return {
            "format": _FORMAT,
            "name": self.name,
            "config": self.config,
            "dataset": self.dataset,
            "server": self.server.hex(),
            "roster": {str(client): key.hex() for client, key in sorted(self.roster.items())},
            "authority": None if self.authority is None else self.authority.hex(),
            "records": self.records,
            "labels": list(self.labels),
            "dimension": self.dimension,
            "sent": self.sent,
            "manifest": self.manifest,
            "model": self.model,
        }

    def to_bytes(self) -> bytes:
        """The file: JSON for people to read, UTF-8."""
        return (json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n").encode()

    def digest(self) -> bytes:
        """32 bytes over all of it, however the file is written."""
        return digest("fedpriv/agreement/v1", canonical_json(self.to_dict()))

    def subject(self, config: Config) -> Subject:
        """What the plan is made for, once ``config`` is seen to be the one that was agreed on.

        Raises:
            IntegrityError: it is not, or the agreement contradicts it.
        """
        clients = len(self.roster)
        for what, holds in (
            ("its digest", config.digest() == self.config),
            ("run.name", config.run.name == self.name),
            ("the data set", self.dataset == dataset_of(self.roster, config.data.version)),
            ("partition.clients", config.partition.clients in (None, clients)),
            ("privacy.records", config.privacy.records in (None, self.records)),
            ("data.labels", config.data.labels in (None, self.labels)),
            ("whether there are labels", bool(self.labels) == (config.task != "causal-lm")),
            ("the key authority", needs_authority(config) == (self.authority is not None)),
        ):
            if not holds:
                raise IntegrityError(
                    f"The agreement is not one on this configuration: {what} differs.", hint=_HINT
                )
        return Subject(
            dataset=self.dataset,
            clients=clients,
            records=self.records,
            unit_key="record" if config.unit == "record" else f"client:{self.dataset}",
            parameters=self.sent,
        )

    def _check_parties(self) -> None:
        clients = sorted(self.roster)
        if len(clients) < LEAST_CLIENTS or clients != list(range(1, len(clients) + 1)):
            raise UsageError(f"roster must have the clients 1 to n, {LEAST_CLIENTS} or more.")
        keys = [self.server, *self.roster.values(), *([] if self.authority is None else [self.authority])]
        if not all(is_safe_identity_key(key) for key in keys):
            raise UsageError("a key is malformed or of small order: anybody could sign under it.")
        if len(set(keys)) != len(keys):
            raise UsageError("two parties have one key.")


def dataset_of(roster: Mapping[int, bytes], version: str | None) -> str:
    """The name of these clients' data together in the server's ledger: 64 hexadecimal digits.

    The server sees no record, so it cannot know data again.  It knows the clients: what they spend together
    adds up whatever the order in which a roster lists them, until ``data.version`` declares the data others.
    """
    keys = sorted(roster.values())
    return digest("fedpriv/federation/v1", *keys, (version or "").encode()).hex()


def needs_authority(config: Config) -> bool:
    """Whether a party beside server and clients holds the key of an encrypted sum."""
    return config.aggregator == "ckks" and config.ckks.mode == "authority"


def _arguments(values: Any, known: set[str]) -> dict[str, Any]:
    """The constructor's arguments, from JSON of exactly the known fields."""
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise UsageError(f"its format is not {_FORMAT!r}.")
    for name in sorted((values.keys() - {"format"}) ^ known):
        raise UsageError(f"it has {'an unknown field' if name in values else 'no field'} {name!r}.")
    if not isinstance(values["labels"], list):
        raise UsageError("labels must be a list.")
    return {name: values[name] for name in known} | {
        "server": from_hex("server", values["server"]),
        "roster": _roster(values["roster"]),
        "authority": None if values["authority"] is None else from_hex("authority", values["authority"]),
        "labels": tuple(values["labels"]),
    }


def _roster(values: Any) -> dict[int, bytes]:
    if not isinstance(values, dict) or set(values) != {str(client + 1) for client in range(len(values))}:
        raise UsageError("roster must have the clients 1 to n.")
    return {int(client): from_hex(f"the key of client {client}", key) for client, key in values.items()}
