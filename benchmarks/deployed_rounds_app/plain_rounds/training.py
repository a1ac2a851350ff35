"""A node's training: what the deployment's own clients do before they clip, add noise and mask."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv import data
from fedpriv.federation.config import Config, load
from fedpriv.federation.workplace import DataSet, Workplace, assemble

CONFIG = "config.toml"

_log = logging.getLogger("plain_rounds")


def workplace(records: Path | None) -> Workplace:
    """The model of the configuration beside this file, with the records of a node, or with none."""
    config = load(Path(__file__).parent / CONFIG)
    table = data.Table([], np.zeros(0, dtype=np.int64), config.data.labels or ())
    if records is not None:
        table = _read(config, records)
    none = table.select([])
    shards = (np.arange(len(table), dtype=np.int64),)
    return assemble(config, DataSet(table, none, data.LeftOut(), shards, name="", fingerprint=""))


def trained(
    parameters: NDArray[np.float32], records: Path, round_: int, client: int
) -> tuple[NDArray[np.float32], int]:
    """The parameters after this node's steps, and its number of records."""
    work = workplace(records)
    _log.debug("loaded")
    from fedpriv.training import LocalTraining

    local = work.config.local
    training = LocalTraining(
        work.model,
        work.task,
        work.manifest,
        learning_rate=local.learning_rate,
        batch=local.batch,
        steps=local.steps,
        epochs=local.epochs,
    )
    rows = np.arange(len(work.train), dtype=np.int64)
    moved = training.update(work.train, rows, parameters, np.random.default_rng((round_, client)))
    _log.debug("trained")
    return (parameters + moved).astype(np.float32), len(rows)


def averaged(
    results: Sequence[tuple[NDArray[np.float32], int]],
) -> NDArray[np.float32]:
    """The mean of parameters, weighted by records."""
    total = sum(records for _, records in results)
    mean = np.zeros_like(results[0][0])
    for parameters, records in results:
        mean += parameters * np.float32(records / total)
    return mean


def _read(config: Config, records: Path) -> data.Table:
    options = config.data
    return data.load(str(records), text=options.text, label=options.label, labels=options.labels, part=True)
