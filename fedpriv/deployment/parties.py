"""Parties of a deployment with keys and records of their own, and what is known without the records."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fedpriv import data
from fedpriv.deployment.agreement import needs_authority
from fedpriv.errors import DataError, UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.task_of import record_columns
from fedpriv.federation.workplace import DataSet
from fedpriv.keystore import PublicIdentity, Roster

__all__ = ["Parties", "held_out", "no_records"]


@dataclass(frozen=True, slots=True)
class Parties:
    """Who takes part, without the simulation's partition of one source.

    Attributes:
        roster: the clients.
        records: public nominal number of training records, over all of them.
        authority: the key authority, where the configuration asks for one.
    """

    roster: Roster
    records: int
    authority: PublicIdentity | None = None

    def declared(self, config: Config) -> Config:
        """The configuration with the number of records, once the parties are seen to fit it.

        Raises:
            UsageError: it is for another number of clients or records, or the authority is missing or too
                many.
        """
        clients = len(self.roster.members)
        if config.partition.clients not in (None, clients):
            raise UsageError(
                f"partition.clients is {config.partition.clients}, and the roster lists {clients}.",
                hint="Take the roster of this run, or set partition.clients to its number.",
            )
        if config.privacy.records not in (None, self.records):
            raise UsageError(
                f"privacy.records is {config.privacy.records}, and {self.records} were declared.",
                hint="Give the one public number in both, or leave privacy.records out.",
            )
        if needs_authority(config) and self.authority is None:
            raise UsageError(
                "The encrypted sum needs a key authority, a party beside the clients.",
                hint="Give its .pub file with --authority, or set ckks.mode = 'threshold'.",
            )
        if self.authority is not None and not needs_authority(config):
            raise UsageError("This run has no key authority.", hint="Leave --authority out.")
        if config.unit == "client":
            return config  # no record is sampled, so privacy.records has no place in it
        values = config.to_dict()
        values["privacy"]["records"] = self.records
        return Config.from_dict(values, base=config.base)


def held_out(config: Config) -> DataSet:
    """The server's part of the data, where the rest is with the clients.

    Raises:
        DataError: the configuration does not name it, or not the labels.
    """
    options = config.data
    needed: list[tuple[str, object, str]] = [
        ("data.test.source", options.test.source, "none of them can be held out here")
    ]
    if record_columns(config)["label"] is not None:
        needed.append(("data.labels", options.labels, "their labels cannot be looked up here"))
    for key, value, why in needed:
        if value is None:
            raise DataError(f"The clients' records are with the clients, so {why}.", hint=f"Set {key}.")
    test = data.load(
        str(options.test.source),
        format=options.format,
        **record_columns(config),
        labels=options.labels,
        base=config.base,
    )
    return replace(no_records(test.label_names), test=test)


def no_records(labels: tuple[str, ...]) -> DataSet:
    """A data set without a record: enough to see what model these labels make."""
    none = data.Table([], np.zeros(0, dtype=np.int64), labels)
    return DataSet(none, none, data.LeftOut(), (), name="", fingerprint="")
