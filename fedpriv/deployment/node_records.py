"""A node's records, its model, and what its own ledger knows of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from fedpriv import data
from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.policy import RunPolicy
from fedpriv.errors import DataError, UsageError
from fedpriv.federation.workplace import DataSet, Workplace, assemble
from fedpriv.ledger import Ledger
from fedpriv.ledger.marks import Marks, marks_of, salt_of
from fedpriv.ledger.records import Recognised, recognise

__all__ = ["NodeRecords"]

_PREFIXES = "prefixes"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodeRecords:
    """The training records of one client, read from where its policy says.

    Attributes:
        table: the records, labels in the order that all agreed on.
        recognised: whose budget they spend in the client's own ledger.
    """

    table: data.Table
    recognised: Recognised

    @classmethod
    def read(cls, policy: RunPolicy, bundle: Bundle, ledger: Ledger) -> NodeRecords:
        """Read the records, and find out what the client's ledger knows of them.

        Raises:
            DataError: there are none, or they cannot be used; the node's log says why.
            UsageError: they belong to several data sets of the ledger.
        """
        table = _load(policy, bundle)
        marks = Marks.of(marks_of(map(data.canonical_text, table.texts), salt_of(ledger)))
        return cls(table, recognise(ledger, marks, bundle.config.data.version, priced=False))

    def workplace(self, policy: RunPolicy, bundle: Bundle, client: int) -> Workplace:
        """The records with the model, as if the other clients had none; hidden states are kept on the disk.

        Raises:
            UsageError: the model cannot be read, or is not the one that all agreed on.
        """
        agreement, own = bundle.agreement, np.arange(len(self.table), dtype=np.int64)
        shards = [own[:0]] * len(agreement.roster)
        shards[client - 1] = own
        dataset = DataSet(
            train=self.table,
            test=self.table.select([]),
            left_out=self.table.left_out,
            shards=tuple(shards),
            name=str(policy.data),
            fingerprint=agreement.dataset,
        )
        work = assemble(
            bundle.config,
            dataset,
            model=None if policy.model is None else str(policy.model),
            prefixes=policy.state / _PREFIXES,
        )
        check_model(work, bundle)
        return work


def _load(policy: RunPolicy, bundle: Bundle) -> data.Table:
    """The table; why there is none may quote a record, and is not for the server (DE-8)."""
    options = bundle.config.data
    try:
        return data.load(
            str(policy.data),
            format=policy.format,
            text=options.text,
            label=options.label,
            labels=bundle.agreement.labels,
            part=True,
        )
    except DataError as error:
        _log.error("%s %s", error, error.hint)
        raise DataError("The node's records cannot be used.", hint="The node's own log says why.") from error


def check_model(work: Workplace, bundle: Bundle) -> None:
    """Refuse a model other than the one that all agreed on.

    Raises:
        UsageError: its weights, or which of them are trained, differ.
    """
    from fedpriv.training import FrozenWeights

    agreement = bundle.agreement
    if work.manifest.digest() != agreement.manifest:
        raise UsageError("The trained parameters of the model here are not those that were agreed on.")
    found = FrozenWeights.of(work.model, work.manifest).digest()
    if found != agreement.model:
        raise UsageError(
            f"The base model here is {found[:16]}…, and {agreement.model[:16]}… was agreed on.",
            hint="Take the same model, and the same versions of torch and transformers, on all machines.",
        )
