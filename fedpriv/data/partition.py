"""Records to clients: by a column, by whole groups, at random, or with skewed labels or sizes.

Every function returns one ascending int64 array of record indices for each client; the arrays are disjoint
and together are ``indices``.  The randomness is public.  A client without a record is a
:class:`~fedpriv.errors.DataError`: it would count towards the protocol's thresholds and protect nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.table import Table
from fedpriv.errors import DataError, UsageError

__all__ = [
    "SHARDS_PER_CLIENT",
    "by_column",
    "by_group",
    "by_shards",
    "client_names",
    "dirichlet",
    "iid",
    "partition",
    "quantity",
]

SHARDS_PER_CLIENT = 2
"""As in the paper that ``shards`` comes from."""

_LISTED = 8
"""Values of a column that an error message shows."""


def partition(
    table: Table,
    indices: NDArray[np.int64],
    *,
    method: str,
    clients: int | None,
    column: str | None = None,
    skew: float = 0.5,
    alpha: float = 1.0,
    shards_per_client: int = SHARDS_PER_CLIENT,
    seed: int,
) -> list[NDArray[np.int64]]:
    """The partition that the configuration names by ``method``.

    It is one of ``groups``, ``column``, ``iid``, ``dirichlet``, ``shards`` and ``quantity``.

    Raises:
        DataError: a client would be empty, or the column does not fit.
        UsageError: ``column`` or ``clients`` is missing, or there is no such method.
    """
    if method == "column" and column is not None:
        return by_column(table, indices, column=column, clients=clients)
    if clients is not None:
        if method == "groups" and column is not None:
            return by_group(table, indices, column=column, clients=clients, skew=skew, seed=seed)
        if method == "iid":
            return iid(indices, clients=clients, seed=seed)
        if method == "dirichlet":
            return dirichlet(table, indices, clients=clients, alpha=alpha, seed=seed)
        if method == "shards":
            return by_shards(table, indices, clients=clients, shards_per_client=shards_per_client, seed=seed)
        if method == "quantity":
            return quantity(indices, clients=clients, alpha=alpha, seed=seed)
    raise UsageError(f"the partition {method!r} with clients {clients} and column {column!r} is not complete")


def client_names(
    table: Table, indices: NDArray[np.int64], *, method: str, clients: int, column: str | None
) -> list[str]:
    """A name for each client: its value of the column, or its number."""
    if method == "column" and column is not None:
        return sorted({table.column(column)[int(i)] for i in indices})
    return [f"client {number}" for number in range(1, clients + 1)]


def iid(indices: NDArray[np.int64], *, clients: int, seed: int) -> list[NDArray[np.int64]]:
    """At random, in parts whose sizes differ by at most one."""
    _check_count(len(indices), clients, "records")
    rng = np.random.default_rng([seed, 0x11D])
    return [np.sort(part) for part in np.array_split(rng.permutation(indices), clients)]


def dirichlet(
    table: Table, indices: NDArray[np.int64], *, clients: int, alpha: float, seed: int
) -> list[NDArray[np.int64]]:
    """Each label's records by shares drawn from Dirichlet(alpha): the smaller, the less alike.

    Source: Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution" (1909.06335),
    section 3, with the shares drawn for each label.  A client that the draw leaves empty takes one record of
    the largest client.
    """
    _check_alpha(alpha)
    _check_count(len(indices), clients, "records")
    rng = np.random.default_rng([seed, 0xD181])
    labels = table.labels[indices]
    owner = np.empty(len(indices), dtype=np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        owner[members] = _dealt(rng.dirichlet(np.full(clients, alpha)), len(members))
    return _none_empty(indices, owner, clients)


def quantity(indices: NDArray[np.int64], *, clients: int, alpha: float, seed: int) -> list[NDArray[np.int64]]:
    """At random, in parts whose sizes are drawn from Dirichlet(alpha): labels alike, sizes not.

    Source: Li, Diao, Chen and He, "Federated learning on non-IID data silos" (2102.02079), section 4.3.  A
    client that the draw leaves empty takes one record of the largest client.

    >>> [len(part) for part in quantity(np.arange(100), clients=4, alpha=0.3, seed=1)]
    [7, 74, 1, 18]
    """
    _check_alpha(alpha)
    _check_count(len(indices), clients, "records")
    rng = np.random.default_rng([seed, 0x5123])
    owner = np.empty(len(indices), dtype=np.int64)
    owner[rng.permutation(len(indices))] = _dealt(rng.dirichlet(np.full(clients, alpha)), len(indices))
    return _none_empty(indices, owner, clients)


def by_shards(
    table: Table,
    indices: NDArray[np.int64],
    *,
    clients: int,
    shards_per_client: int = SHARDS_PER_CLIENT,
    seed: int,
) -> list[NDArray[np.int64]]:
    """So many shards of the records in the order of their labels to each client: few labels at each.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data"
    (1602.05629), section 3, the "pathological" partition: records are sorted by label, cut into ``clients *
    shards_per_client`` shards whose sizes differ by at most one, and these are dealt at random.

    >>> table = Table(list("abcdefgh"), np.arange(8) % 4, ("w", "x", "y", "z"))
    >>> parts = by_shards(table, np.arange(8), clients=2, shards_per_client=2, seed=1)
    >>> [sorted(set(table.labels[part].tolist())) for part in parts]
    [[1, 3], [0, 2]]
    """
    if shards_per_client < 1:
        raise UsageError(f"a client is given {shards_per_client} shards; it must be at least 1")
    _check_count(len(indices), clients, "records")
    shards = clients * shards_per_client
    if len(indices) < shards:
        raise DataError(
            f"{len(indices)} records make no {shards} shards",
            hint=f"use at most {len(indices) // clients} partition.shards_per_client",
        )
    rng = np.random.default_rng([seed, 0x54A2])
    # Within a label the order is random: that of the source may be one of time or of place.
    order = np.lexsort((rng.random(len(indices)), table.labels[indices]))
    parts = np.array_split(indices[order], shards)
    dealt = rng.permutation(shards).reshape(clients, shards_per_client)
    return [np.sort(np.concatenate([parts[shard] for shard in own])) for own in dealt]


def by_column(
    table: Table, indices: NDArray[np.int64], *, column: str, clients: int | None = None
) -> list[NDArray[np.int64]]:
    """One client for each value of ``column``, in the order of the sorted values.

    ``clients``, where given, must be the number of values: the roster is public and fixed, the data are not.
    """
    values = np.asarray(table.column(column), dtype=np.str_)[indices]
    names, owner = np.unique(values, return_inverse=True)
    shown = ", ".join(repr(str(name)) for name in names[:_LISTED])
    if len(names) < 2:
        raise DataError(
            f"the column {column!r} has the one value {shown}, and each value is a client",
            hint="name a column with a value for each client, or use another partition.method",
        )
    if clients is not None and clients > len(names):
        raise DataError(
            f"{clients - len(names)} of {clients} clients would have no record: the column {column!r} has "
            f"{len(names)} values",
            hint=f"set partition.clients to {len(names)}, or leave it out; the values: {shown}",
        )
    if clients is not None and clients < len(names):
        raise DataError(
            f"the column {column!r} has {len(names)} values for {clients} clients",
            hint=f'set partition.clients to {len(names)}, or use partition.method = "groups"',
        )
    return [np.sort(indices[owner == client]) for client in range(len(names))]


def by_group(
    table: Table, indices: NDArray[np.int64], *, column: str, clients: int, skew: float = 0.5, seed: int
) -> list[NDArray[np.int64]]:
    """Whole groups of ``column`` to clients of about equal size that differ from one another.

    Groups are put in the order of ``skew * a + (1 - skew) * b``, where ``a`` is the group's rank by its mean
    label index (for two labels, the share of the second) and ``b`` a random rank, and the order is cut into
    ``clients`` runs.  ``skew = 0`` mixes at random; ``skew = 1`` sorts by label.
    """
    if not 0 <= skew <= 1:
        raise UsageError(f"the skew is {skew:g}; it must be from 0 to 1")
    values = np.asarray(table.column(column), dtype=np.str_)[indices]
    names, member = np.unique(values, return_inverse=True)
    _check_count(len(names), clients, f"values of the column {column!r}")
    rng = np.random.default_rng([seed, 0x6A0])
    sizes = np.bincount(member, minlength=len(names))
    means = (
        np.bincount(member, weights=table.labels[indices].astype(np.float64), minlength=len(names)) / sizes
    )
    by_label = np.empty(len(names))
    # Ties are broken at random: an order by name would put sequels together.
    by_label[np.lexsort((rng.random(len(names)), means))] = np.arange(len(names))
    order = np.argsort(skew * by_label + (1 - skew) * rng.permutation(len(names)), kind="stable")
    silo = np.empty(len(names), dtype=np.int64)
    silo[order] = _cut(sizes[order], clients)
    return [np.sort(indices[silo[member] == client]) for client in range(clients)]


def _cut(sizes: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """The part of each item: runs of about equal total size, none without an item."""
    middle = np.cumsum(sizes) - sizes / 2
    part = np.minimum((middle * parts / sizes.sum()).astype(np.int64), parts - 1)
    count = len(sizes)
    # The p-th part starts no earlier than item p and leaves an item for every part behind it.
    starts = np.searchsorted(part, np.arange(parts), side="left")
    for p in range(1, parts):
        starts[p] = min(max(starts[p], starts[p - 1] + 1), count - (parts - p))
    starts[0] = 0
    return np.searchsorted(starts, np.arange(count), side="right").astype(np.int64) - 1


def _dealt(shares: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The client of each of ``count`` items in a row, so that each client has its share of them."""
    cuts = np.round(np.cumsum(shares)[:-1] * count).astype(np.int64)
    return np.searchsorted(cuts, np.arange(count), side="right").astype(np.int64)


def _none_empty(
    indices: NDArray[np.int64], owner: NDArray[np.int64], clients: int
) -> list[NDArray[np.int64]]:
    """The records of each client by their ``owner``; a client without one takes one of the largest."""
    sizes = np.bincount(owner, minlength=clients)
    for client in np.flatnonzero(sizes == 0):
        largest = int(sizes.argmax())
        owner[int(np.flatnonzero(owner == largest)[0])] = client
        sizes[largest] -= 1
        sizes[client] = 1
    return [np.sort(indices[owner == client]) for client in range(clients)]


def _check_alpha(alpha: float) -> None:
    if not alpha > 0:
        raise UsageError(f"the Dirichlet alpha is {alpha:g}; it must be above 0")


def _check_count(available: int, clients: int, what: str) -> None:
    if clients < 1:
        raise UsageError(f"the number of clients is {clients}; it must be at least 1")
    if available < clients:
        raise DataError(
            f"{clients - available} of {clients} clients would have no record: there are {available} {what}",
            hint=f"use at most {available} partition.clients",
        )
