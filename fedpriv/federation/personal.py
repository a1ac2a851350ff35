"""Each simulated client's own model: the shared one with what the client keeps, written down and judged.

It is a look at private parts that no ε covers, as the records of which they are made; only a simulation can.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv import peft
from fedpriv.errors import DataError
from fedpriv.federation.subgroups import held_out_of_clients
from fedpriv.federation.work.kept import Kept
from fedpriv.federation.workplace import DataSet, Workplace

if TYPE_CHECKING:
    from fedpriv.training import Judgement

__all__ = ["check_personal", "own_folder", "personal", "weights", "write_own_adapters"]


def check_personal(work: Workplace) -> None:
    """Refuse to measure clients' own models where no held-out record stands for any, before anything is
    spent.

    Raises:
        DataError: that is so.
    """
    if work.config.simulation.measure_personal and not weights(work.dataset, _column(work)):
        raise DataError(
            "No held-out record stands for any client, on which its own model could be judged.",
            hint="Hold out more, or leave simulation.measure_personal out.",
        )


def own_folder(run_dir: Path, client: int) -> Path:
    """The folder of a simulated client in a run's: what it keeps, and its own adapter."""
    return run_dir / "clients" / str(client)


def write_own_adapters(run_dir: Path, adapter: Path, kept: Kept, clients: int) -> Path:
    """Join the shared ``adapter`` with what each client keeps; returns the folder of all clients."""
    for client in range(1, clients + 1):
        own = own_folder(run_dir, client) / "adapter"
        shutil.rmtree(own, ignore_errors=True)  # half of one, where an earlier call died here
        own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        peft.join(adapter, kept.part(client), own)
    return own_folder(run_dir, 1).parent


def personal(work: Workplace, kept: Kept, parameters: NDArray[np.float32]) -> dict[str, Any]:
    """How each client's own model does on held-out records that stand for its own, as plain JSON values.

    Args:
        work: whose model holds ``parameters`` afterwards.
        kept: what clients keep.
        parameters: the shared model, float32, shape (d,), which is judged on the same records.

    Returns:
        ``by``, the column by which held-out records belong to clients, or None where they are weighted by
        label; ``clients``, a row each, without those that no held-out record stands for; ``mean`` and
        ``worst`` of the rows' accuracies and ``shared_mean`` of the shared model's, and of a language model
        ``perplexity`` and ``shared_perplexity``, their means.
    """
    column = _column(work)
    manifest, model = work.manifest, work.model
    rows = []
    manifest.restore(model, parameters)
    shared = work.task.judge(work.test)
    for client, of in weights(work.dataset, column).items():
        manifest.restore(model, kept.joined(client, parameters))
        own = _figures(work.task.judge(work.test), of)
        beside = {f"shared_{name}": value for name, value in _figures(shared, of).items()}
        rows.append({"client": client, **own, **beside})
    manifest.restore(model, parameters)

    def mean(name: str) -> float:
        return statistics.fmean(row[name] for row in rows)

    found = {
        "by": column,
        "clients": rows,
        "mean": mean("accuracy"),
        "shared_mean": mean("shared_accuracy"),
        "worst": min(row["accuracy"] for row in rows),
    }
    if "perplexity" in rows[0]:
        found |= {name: mean(name) for name in ("perplexity", "shared_perplexity")}
    return found


def weights(dataset: DataSet, column: str | None) -> Mapping[int, NDArray[np.float64]]:
    """The weight of each held-out record for a client, float64, shape (n,), by client.

    With a ``column``, a record counts 1 for the client whose training records have its value.  Without, a
    record of label y counts ``p(y) / n(y)``, p the client's shares of the labels in training, n how often a
    label is held out: so that the weighted accuracy is ``sum_y p(y) accuracy(y)``, the accuracy to be
    expected on fresh records of the client where clients differ in their labels alone.  Labels of which no
    record is held out are left out of p, and clients for which no record counts altogether.
    """
    each = _by_label(dataset) if column is None else _by_value(dataset, column)
    return {client: own / own.sum() for client, own in each.items() if own.any()}


def _by_value(dataset: DataSet, column: str) -> dict[int, NDArray[np.float64]]:
    every = np.arange(len(dataset.test.labels))
    return {
        client: np.isin(every, places).astype(np.float64)
        for client, places in held_out_of_clients(dataset, column).items()
    }


def _by_label(dataset: DataSet) -> dict[int, NDArray[np.float64]]:
    held_out, train = dataset.test.labels, dataset.train.labels
    count = np.bincount(held_out)
    own = (np.bincount(train[shard], minlength=len(count)) for shard in dataset.shards)
    return {client: of[held_out] / count[held_out] for client, of in enumerate(own, start=1)}


def _column(work: Workplace) -> str | None:
    """The column by which held-out records belong to clients, where the partition goes by one."""
    return work.config.partition.column


def _figures(judged: Judgement, of: NDArray[np.float64]) -> dict[str, float]:
    """Accuracy, and of a language model perplexity, where each record has a weight."""
    from fedpriv.training import perplexity_of

    guesses = float(of @ judged.guesses)
    found = {"accuracy": float(of @ judged.right) / guesses}
    if not judged.classes:
        found["perplexity"] = perplexity_of(float(of @ judged.losses) / guesses)
    return found
