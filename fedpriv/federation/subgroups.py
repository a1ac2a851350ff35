"""How a model does on parts of the held-out records: by value of a column, and by client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.federation.workplace import DataSet

if TYPE_CHECKING:
    from fedpriv.training import Judgement

__all__ = ["LARGEST", "by_client", "by_value", "held_out_of_clients", "subgroups"]

LARGEST: Final = 30
"""Groups that have figures of their own; the records of all others are one part."""


def subgroups(judged: Judgement, dataset: DataSet, *, column: str, partition: str | None) -> dict[str, Any]:
    """The figures of a run by group of held-out records, as plain JSON values.

    Args:
        judged: the model on each held-out record.
        dataset: whose held-out records these are.
        column: whose values make the groups.
        partition: the column by which the records belong to clients, if any does.

    Returns:
        ``column``, ``values`` (how many there are), ``rows`` (see :func:`by_value`), ``worst`` and ``best``
        of the rows by accuracy, and, where held-out records can be told apart by client, ``clients``.
    """
    groups = dataset.test.column(column)
    rows = by_value(judged, groups)
    named = [row for row in rows if row["value"] is not None]
    found = {
        "column": column,
        "values": len(set(groups)),
        "rows": rows,
        "worst": min(named, key=lambda row: row["accuracy"])["value"],
        "best": max(named, key=lambda row: row["accuracy"])["value"],
    }
    clients = by_client(judged, dataset, partition)
    return {**found, "clients": clients} if clients else found


def by_value(judged: Judgement, groups: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each of the largest groups, by size; the rest together under the value None.

    >>> from fedpriv.training import Judgement
    >>> judged = Judgement(np.zeros(3), np.array([1, 0, 1]), np.ones(3), np.array([0, 0, 1]), 2)
    >>> by_value(judged, ["b", "a", "b"])
    [{'value': 'b', 'n': 2, 'accuracy': 1.0}, {'value': 'a', 'n': 1, 'accuracy': 0.0}]
    """
    members: dict[str, list[int]] = {}
    for place, value in enumerate(groups):
        members.setdefault(value, []).append(place)
    ordered = sorted(members, key=lambda value: (-len(members[value]), value))
    rows = [{"value": value, **_figures(judged, members[value])} for value in ordered[:LARGEST]]
    rest = [place for value in ordered[LARGEST:] for place in members[value]]
    return [*rows, {"value": None, **_figures(judged, rest)}] if rest else rows


def by_client(judged: Judgement, dataset: DataSet, partition: str | None) -> list[dict[str, Any]]:
    """One row for each client that held-out records belong to by the column of the partition.

    A value that no client has in training, as of a group that is held out whole, belongs to none.
    """
    if partition is None or partition not in dataset.test.columns:
        return []
    members = held_out_of_clients(dataset, partition)
    return [{"client": client, **_figures(judged, places)} for client, places in members.items()]


def held_out_of_clients(dataset: DataSet, column: str) -> dict[int, list[int]]:
    """The places of the held-out records whose value in ``column`` a client's training records have, by
    client, in their order; without those that have none."""
    values = dataset.train.column(column)
    owner = {
        values[int(place)]: client for client, shard in enumerate(dataset.shards, start=1) for place in shard
    }
    members: dict[int, list[int]] = {}
    for place, value in enumerate(dataset.test.column(column)):
        if value in owner:
            members.setdefault(owner[value], []).append(place)
    return dict(sorted(members.items()))


def _figures(judged: Judgement, places: list[int]) -> dict[str, Any]:
    """Number and metrics of some records."""
    of: NDArray[np.int64] = np.array(places, dtype=np.int64)
    metrics = judged.metrics(of)
    perplexity = {} if metrics.perplexity is None else {"perplexity": metrics.perplexity}
    return {"n": metrics.n, "accuracy": metrics.accuracy, **perplexity}
