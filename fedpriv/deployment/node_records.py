"""A node's records, its model, and what its own ledger knows of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from fedpriv import data
from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.policy import RunPolicy
from fedpriv.errors import DataError, UsageError
from fedpriv.federation.task_of import record_columns
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
        marks = Marks.of(marks_of(map(data.canonical, table.content), salt_of(ledger)))
        return cls(table, recognise(ledger, marks, bundle.config.data.version, priced=False))

    def workplace(self, policy: RunPolicy, bundle: Bundle, client: int) -> Workplace:
        """The records with the model, as if the other clients had none; hidden states are kept on the disk.

        Raises:
            DataError: the records cannot be used with the model; the node's log says why.
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
        try:
            work = assemble(
                bundle.config,
                dataset,
                model=None if policy.model is None else str(policy.model),
                prefixes=policy.state / _PREFIXES,
            )
        except DataError as error:
            raise _unusable(error) from error
        check_model(work, bundle)
        return work


def _load(policy: RunPolicy, bundle: Bundle) -> data.Table:
    """The table."""
    try:
        return data.load(
            str(policy.data),
            format=policy.format,
            **record_columns(bundle.config),
            labels=bundle.agreement.labels,
            part=True,
        )
    except DataError as error:
        raise _unusable(error) from error


def _unusable(error: DataError) -> DataError:
    """What the server may read in place of an error that may quote records or count them (DE-8)."""
    _log.error("%s %s", error, error.hint)
    return DataError("The node's records cannot be used.", hint="The node's own log says why.")


def check_model(work: Workplace, bundle: Bundle) -> None:
    """Refuse a model other than the one that all agreed on.

    Raises:
        UsageError: its weights, or which of them are trained, differ.
    """
    from fedpriv.training import FrozenWeights

    agreement = bundle.agreement
    sent = work.spec.kind.width(work.manifest, work.spec)
    if (work.manifest.digest(), work.manifest.size, sent) != (
        agreement.manifest,
        agreement.dimension,
        agreement.sent,
    ):
        raise UsageError("The trained parameters of the model here are not those that were agreed on.")
    found = FrozenWeights.of(work.model, work.manifest).digest()
    if found != agreement.model:
        raise UsageError(
            f"The base model here is {found[:16]}…, and {agreement.model[:16]}… was agreed on.",
            hint="Take the same model, and the same versions of torch and transformers, on all machines.",
        )
