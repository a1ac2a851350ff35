"""The records of a classification task: a text, a label, and the columns that say where they belong."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.data import sources
from fedpriv.errors import DataError

__all__ = ["LeftOut", "Table", "load"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many rows of a source did not become records, and why."""

    empty: int = 0
    """Rows without a text or without a label."""
    other_labels: int = 0
    """Rows whose label is not one of those asked for."""
    duplicates: int = 0
    """Rows whose text an earlier row has."""

    @property
    def total(self) -> int:
        """All rows left out."""
        return self.empty + self.other_labels + self.duplicates


@dataclass(frozen=True, slots=True)
class Table:
    """Records, all columns of one length.

    A record is one distinct text: of rows with the same text the first is kept, so that no text counts twice
    and none stands on both sides of a split.

    Attributes:
        texts: one non-empty text a record.
        labels: int64, shape ``(len(texts),)``, indices into ``label_names``.
        label_names: the labels in the order of the model's outputs.
        columns: further columns that were asked for, as text.
        left_out: the rows of the source that are not records here.
    """

    texts: list[str] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    label_names: tuple[str, ...]
    columns: dict[str, list[str]] = field(default_factory=dict, repr=False)
    left_out: LeftOut = LeftOut()

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: NDArray[np.int64] | Sequence[int]) -> Table:
        """The records at ``indices``, in that order."""
        order = [int(index) for index in indices]
        return Table(
            texts=[self.texts[i] for i in order],
            labels=self.labels[np.asarray(order, dtype=np.int64)],
            label_names=self.label_names,
            columns={name: [values[i] for i in order] for name, values in self.columns.items()},
        )

    def column(self, name: str) -> list[str]:
        """A further column, one value a record, none empty.

        Raises:
            DataError: the column was not loaded, or some records have no value in it.
        """
        if name not in self.columns:
            raise _no_column(name, list(self.columns), role="")
        values = self.columns[name]
        empty = sum(not value.strip() for value in values)
        if empty:
            raise DataError(
                f"{empty} of {len(values)} records have no value in the column {name!r}",
                hint="fill it in, or leave these rows out of the source",
            )
        return values


def load(
    source: str,
    *,
    format: str = "auto",  # noqa: A002 - the key's name in the configuration
    text: str = "text",
    label: str = "label",
    labels: Sequence[str] | None = None,
    extra: Sequence[str] = (),
    base: Path | None = None,
    part: bool = False,
) -> Table:
    """The records of a source, without empty rows, rows with other labels, and repeated texts.

    Args:
        source: a file, a folder, ``package:module/path`` or ``hf:owner/name`` (:mod:`fedpriv.data.sources`).
        format: ``auto``, ``csv``, ``jsonl`` or ``parquet``.
        text: name of the column of the text.
        label: name of the column of the label.
        labels: labels to keep, in the order of the model's outputs; default: all, sorted.
        extra: further columns to keep, for a partition or a split.
        base: the folder that a relative path starts from; default: the working directory.
        part: the source is one party's part of the records, in which a label of ``labels`` may not occur.

    Raises:
        DataError: no such source or column, a label in ``labels`` that no row has, or fewer than two labels.
    """
    columns = sources.read(source, format=format, base=base)
    for role, name in (("text", text), ("label", label), *(("", name) for name in extra)):
        if name not in columns:
            raise _no_column(name, list(columns), role=role, source=source)
    wanted = None if labels is None else set(labels)
    seen: set[str] = set()
    kept: list[int] = []
    empty = other = duplicates = 0
    for row, (words, name) in enumerate(zip(columns[text], columns[label], strict=True)):
        if not words.strip() or not name.strip():
            empty += 1
        elif wanted is not None and name not in wanted:
            other += 1
        elif words in seen:
            duplicates += 1
        else:
            seen.add(words)
            kept.append(row)
    present = {columns[label][row] for row in kept}
    names = tuple(sorted(present)) if labels is None else tuple(labels)
    _check_labels(names, set(names) if part else present, set(columns[label]), source, label)
    index = {name: i for i, name in enumerate(names)}
    return Table(
        texts=[columns[text][row] for row in kept],
        labels=np.array([index[columns[label][row]] for row in kept], dtype=np.int64),
        label_names=names,
        columns={name: [columns[name][row] for row in kept] for name in extra},
        left_out=LeftOut(empty=empty, other_labels=other, duplicates=duplicates),
    )


def _check_labels(names: tuple[str, ...], kept: set[str], present: set[str], source: str, label: str) -> None:
    for name in names:
        if name not in kept:
            shown = ", ".join(repr(value) for value in sorted(present)[:8])
            raise DataError(
                f"no record of {source!r} has the label {name!r}",
                hint=f"the column {label!r} holds: {shown}",
            )
    if len(names) < 2:
        raise DataError(
            f"{source!r} has {len(names)} label{'' if len(names) == 1 else 's'} in the column {label!r}; "
            "a classifier needs at least two",
            hint="check data.label and data.labels",
        )


def _no_column(name: str, present: list[str], *, role: str, source: str = "") -> DataError:
    close = difflib.get_close_matches(name, present, n=1)
    where = f"{source!r} has" if source else "the loaded records have"
    listed = ", ".join(present) if present else "none"
    suggestion = f"did you mean {close[0]!r}? " if close else ""
    key = f"; set data.{role} to the one that holds the {role}" if role and not close else ""
    return DataError(f"{where} no column {name!r}", hint=f"{suggestion}its columns: {listed}{key}")
