"""Held-out records: whole groups of them where a group's records resemble one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.canonical import sameness
from fedpriv.data.table import Table
from fedpriv.errors import DataError, UsageError

__all__ = ["align_test", "split_test"]


def split_test(
    table: Table, *, fraction: float, by: str | None = None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training and of the test records, both ascending, disjoint, and together all of them.

    Args:
        table: the records.
        fraction: share of the records to hold out, in (0, 1); with ``by`` the first whole group that reaches
            it is the last one held out.
        by: column whose groups are held out whole, so that the test asks about unseen groups.
        seed: public.

    Raises:
        DataError: one side would be empty, or a label occurs only in the test records.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"the test fraction is {fraction:g}; it must be above 0 and below 1")
    rng = np.random.default_rng([seed, 0x7E57])
    wanted = fraction * len(table)
    held_out = np.zeros(len(table), dtype=np.bool_)
    if by is None:
        held_out[rng.permutation(len(table))[: round(wanted)]] = True
    else:
        groups, member = np.unique(np.asarray(table.column(by), dtype=np.str_), return_inverse=True)
        sizes = np.bincount(member, minlength=len(groups))
        order = rng.permutation(len(groups))
        chosen = int(np.searchsorted(np.cumsum(sizes[order]), wanted)) + 1
        held_out = np.isin(member, order[:chosen])
    train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train) or not len(test):
        what = f"the {len(table)} records" if by is None else f"the groups of the column {by!r}"
        side = "test" if len(train) else "training"
        raise DataError(
            f"a test fraction of {fraction:g} of {what} leaves no {side} record",
            hint="change data.test.fraction, or hold out by a column with more values",
        )
    _check_test_labels(table.labels[train], table.labels[test], table.label_names)
    return train.astype(np.int64), test.astype(np.int64)


def align_test(test: Table, train: Table) -> Table:
    """A test table of its own source, in the label order of ``train`` and without records that ``train`` has.

    Raises:
        DataError: a label occurs only in the test records, or nothing is left of them.
    """
    index = {name: i for i, name in enumerate(train.label_names)}
    known = {sameness(content) for content in train.content}
    kept = [i for i, content in enumerate(test.content) if sameness(content) not in known]
    if not kept:
        raise DataError(
            "every test record is also a training record", hint="name held-out data in data.test.source"
        )
    for name in test.label_names:
        if name not in index:
            raise _only_in_test(name)
    order = np.array([index[name] for name in test.label_names], dtype=np.int64)
    left_out = replace(test.left_out, duplicates=test.left_out.duplicates + len(test) - len(kept))
    chosen = test.select(kept)
    aligned = replace(chosen, labels=order[chosen.labels], label_names=train.label_names, left_out=left_out)
    _check_test_labels(train.labels, aligned.labels, train.label_names)
    return aligned


def _check_test_labels(train: NDArray[np.int64], test: NDArray[np.int64], names: tuple[str, ...]) -> None:
    unseen = np.setdiff1d(test, train)
    if len(unseen):
        raise _only_in_test(names[int(unseen[0])])


def _only_in_test(name: str) -> DataError:
    return DataError(
        f"the label {name!r} occurs only in the test records, so nothing could teach it",
        hint="hold out differently (data.test), or list the labels to keep in data.labels",
    )
