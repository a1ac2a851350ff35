"""What a configuration names, brought into memory: records, clients, model, trained parameters."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv import data
from fedpriv.crypto import digest
from fedpriv.errors import DataError, UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.home import ledger_path
from fedpriv.federation.language import check_prompts
from fedpriv.federation.task_of import record_columns, task_of
from fedpriv.ledger import Ledger
from fedpriv.ledger.home import open_ledger
from fedpriv.ledger.marks import Marks, marks_of, salt_of
from fedpriv.ledger.records import Recognised, first_seen, recognise

if TYPE_CHECKING:
    from fedpriv.peft import Manifest, PeftSpec
    from fedpriv.training import Records, ServerOptimizer, Task

__all__ = ["DataSet", "Gathered", "Workplace", "assemble", "load_data", "prepare"]


@dataclass(frozen=True, slots=True)
class Gathered:
    """The records of all clients, as the ledger knows them: one keyed mark a training record, in their order,
    and the data set that they belong to."""

    marks: NDArray[np.uint64]
    recognised: Recognised


@dataclass(frozen=True, slots=True)
class DataSet:
    """The records of a run that are at hand here, and whose budget they spend.

    Attributes:
        train: training records: all, or on a network those of one client, or none.
        test: held-out records.
        left_out: rows that are not records.
        shards: indices into ``train``, one array a client, disjoint; empty for a client that is elsewhere.
        name: what people call the data set.
        fingerprint: its name in the ledger.
        gathered: what only whoever has the records of all clients knows of them.
    """

    train: data.Table
    test: data.Table
    left_out: data.LeftOut
    shards: tuple[NDArray[np.int64], ...]
    name: str
    fingerprint: str
    gathered: Gathered | None = None

    @property
    def recognised(self) -> Recognised:
        """The data set of the ledger that the training records belong to.

        Raises:
            UsageError: the records are with the clients.
        """
        return self._all_here().recognised

    @property
    def shares_digest(self) -> str:
        """Which records are together at one client, in no order: keyed, 64 hexadecimal digits.

        Raises:
            UsageError: the records are with the clients.
        """
        marks = self._all_here().marks
        shares = sorted(Marks.of(marks[shard]).digest() for shard in self.shards)
        return digest("fedpriv/clients/v2", *shares).hex()

    def _all_here(self) -> Gathered:
        if self.gathered is None:
            raise UsageError("The records of this run are with its clients, and nobody has them all.")
        return self.gathered

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self.shards)


@dataclass(frozen=True, slots=True)
class Workplace:
    """The data set, the model with its trained parameters chosen, and both sides encoded for it."""

    config: Config
    dataset: DataSet
    task: Task
    spec: PeftSpec
    manifest: Manifest
    start: NDArray[np.float32]
    train: Records
    test: Records

    @property
    def model(self) -> Any:
        """The model, its trained parameters attached."""
        return self.task.model

    @property
    def kept_by_clients(self) -> int | None:
        """How many of the trained parameters each client keeps to itself; None where it keeps none."""
        kept = self.spec.kind.keeps(self.manifest, self.spec)
        return None if kept is None else int(kept.sum())

    def save_prefixes(self) -> None:
        """Leave the hidden states that were computed to later processes, where they have a folder."""
        for prefix in self.task.prefixes.values():
            prefix.save()

    def optimizer(self) -> ServerOptimizer:
        """The server's optimiser, before its first step."""
        from fedpriv.training import ServerOptimizer

        server = self.config.server
        return ServerOptimizer(
            server.optimizer,
            learning_rate=server.learning_rate,
            momentum=server.momentum,
            beta1=server.beta1,
            beta2=server.beta2,
            epsilon=server.epsilon,
        )


def load_data(config: Config, ledger: Ledger | None = None, *, begins: bool = False) -> DataSet:
    """Read, hold out, partition, and find out whose budget the training records spend.

    Args:
        config: names the data.
        ledger: where the data set is accounted; default: the configuration's, if there is one.
        begins: a run begins: its ledger is made where it is missing, once the data are seen to be right.
            Otherwise nothing is written.

    Raises:
        UsageError: the records belong to several data sets of the ledger.
        IntegrityError: what the ledger knows of its data sets' records is damaged.
        DataError: a column or a label is missing, a client would be empty, a label is seen only in test.
    """
    options = config.data
    groups = config.training.groups
    columns = sorted({column for column in (options.test.by, config.partition.column, groups) if column})
    table = _read(config, options.source, columns)
    if options.test.source is not None:
        held_out = _read(config, options.test.source, [groups] if groups else [])
        train, test = table, data.align_test(held_out, table)
    elif options.test.fraction is not None:
        by, seed = options.test.by, config.run.seed
        kept, held = data.split_test(table, fraction=options.test.fraction, by=by, seed=seed)
        train, test = table.select(kept), table.select(held)
    else:
        raise DataError(
            "The configuration names no held-out data.", hint="Set data.test.fraction or .source."
        )
    if groups:
        test.column(groups)  # refuses empty values, which the end of a run is too late for
    share = config.partition
    shards = data.partition(
        train,
        np.arange(len(train), dtype=np.int64),
        method=share.method,
        clients=share.clients,
        column=share.column,
        skew=share.skew,
        alpha=share.alpha,
        shards_per_client=share.shards_per_client or data.SHARDS_PER_CLIENT,
        seed=config.run.seed,
    )
    _check_delta(config, records=len(train), clients=len(shards))
    config.min_survivors(config.cohort_size(len(shards)))  # before the model is loaded: it is quicker to fail
    marks, recognised = _recognised(map(data.canonical, train.content), config, ledger, begins)
    return DataSet(
        train=train,
        test=test,
        left_out=table.left_out,
        shards=tuple(shards),
        name=recognised.called(config.budget.name or options.source),
        fingerprint=recognised.dataset,
        gathered=Gathered(marks, recognised),
    )


def _recognised(
    records: Iterable[bytes], config: Config, ledger: Ledger | None, begins: bool
) -> tuple[NDArray[np.uint64], Recognised]:
    """One mark a record, and the data set of the ledger that they belong to."""
    version = config.data.version
    if ledger is not None:
        marks = marks_of(records, salt_of(ledger))
        return marks, recognise(ledger, Marks.of(marks), version)
    path = ledger_path(config)
    if begins or path.exists():
        with open_ledger(path) as found:
            return _recognised(records, config, found, begins)
    salt = os.urandom(32)  # no ledger could know them: it comes, with its key, with the first run
    marks = marks_of(records, salt)
    return marks, first_seen(Marks.of(marks), salt, version)


def _check_delta(config: Config, *, records: int, clients: int) -> None:
    """Refuse a δ that would allow one unit, picked at random, to be published whole."""
    count, units = (clients, "clients") if config.unit == "client" else (records, "records")
    if config.privacy.delta * count >= 1:
        raise DataError(
            f"privacy.delta = {config.privacy.delta:g} is too large for {count:,} {units}: a mechanism "
            f"that publishes one {units[:-1]} whole would meet it.",
            hint=f"Choose privacy.delta well below 1 / {units} = {1 / count:.1g}.",
        )


def _read(config: Config, source: str, columns: list[str]) -> data.Table:
    """Read one source with the columns that the configuration names."""
    return data.load(
        source,
        format=config.data.format,
        **record_columns(config),
        labels=config.data.labels,
        extra=columns,
        base=config.base,
    )


def prepare(config: Config, *, begins: bool = False) -> Workplace:
    """Load what ``config`` names; the expensive part of a plan and of a run.

    Args:
        config: the configuration.
        begins: a run begins; see :func:`load_data`.

    Raises:
        UsageError: the model or the data cannot be used as the configuration describes them.
    """
    return assemble(config, load_data(config, begins=begins))


def assemble(
    config: Config, dataset: DataSet, *, model: str | None = None, prefixes: Path | None = None
) -> Workplace:
    """Load the model that ``config`` names, and encode the records that are at hand for it.

    Args:
        config: the configuration.
        dataset: the records.
        model: where the model is here, in place of ``model.id``.
        prefixes: folder for hidden states, in place of ``training.prefix_folder``.

    Raises:
        UsageError: the model cannot be used as the configuration describes it.
    """
    from fedpriv import peft, training

    spec = config.peft.spec(config.run.seed)
    task = task_of(config, spec, model or _model_place(config), dataset.train.label_names)
    manifest = peft.Manifest.of(task.model)
    work = Workplace(
        config=config,
        dataset=dataset,
        task=task,
        spec=spec,
        manifest=manifest,
        start=manifest.flatten(task.model),
        train=task.encode(dataset.train.content, dataset.train.labels),
        test=task.encode(dataset.test.content, dataset.test.labels),
    )
    check_prompts(work)
    kept = config.training.prefix_folder
    folder = prefixes or (None if kept is None else config.resolve(kept))
    training.keep_prefixes(
        task,
        (work.train, work.test),
        budget=config.training.prefix_memory << 20,
        dtype=config.training.prefix_dtype,
        folder=folder,
    )
    return work


def _model_place(config: Config) -> str:
    """The model's folder, where there is one beside the configuration; else the id as it stands."""
    local = config.resolve(config.model.id)
    return str(local) if local.is_dir() else config.model.id
