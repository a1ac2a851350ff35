"""The records of a task: a text or an image, a label, and the columns that say where they belong."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.data import image_sources, sources
from fedpriv.data.canonical import Content, sameness
from fedpriv.errors import DataError

__all__ = ["LeftOut", "Table", "load"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many rows of a source did not become records, and why."""

    empty: int = 0
    """Rows without a text or an image, or without a label."""
    other_labels: int = 0
    """Rows whose label is not one of those asked for."""
    duplicates: int = 0
    """Rows whose text or image an earlier row has."""

    @property
    def total(self) -> int:
        """All rows left out."""
        return self.empty + self.other_labels + self.duplicates


@dataclass(frozen=True, slots=True)
class Table:
    """Records, all columns of one length.

    A record is one distinct text or image: of rows with the same the first is kept, so that none counts twice
    and none stands on both sides of a split.

    Attributes:
        content: one non-empty text, or one image, a record.
        labels: int64, shape ``(len(content),)``, indices into ``label_names``; zeros where there are none.
        label_names: the labels in the order of the model's outputs; empty where the records have none.
        columns: further columns that were asked for, as text.
        left_out: the rows of the source that are not records here.
    """

    content: Sequence[Content] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    label_names: tuple[str, ...]
    columns: dict[str, list[str]] = field(default_factory=dict, repr=False)
    left_out: LeftOut = LeftOut()

    def __len__(self) -> int:
        return len(self.content)

    @property
    def texts(self) -> list[str]:
        """The records' texts.

        Raises:
            DataError: they are images.
        """
        found = [content for content in self.content if isinstance(content, str)]
        if len(found) < len(self.content):
            raise DataError("the records are images, not texts")
        return found

    def select(self, indices: NDArray[np.int64] | Sequence[int]) -> Table:
        """The records at ``indices``, in that order."""
        order = [int(index) for index in indices]
        return Table(
            content=[self.content[i] for i in order],
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
    image: str | None = None,
    label: str | None = "label",
    labels: Sequence[str] | None = None,
    extra: Sequence[str] = (),
    base: Path | None = None,
    part: bool = False,
) -> Table:
    """The records of a source, without empty rows, rows with other labels, and repeated texts or images.

    Args:
        source: a file, a folder, ``package:module/path`` or ``hf:owner/name`` (:mod:`fedpriv.data.sources`),
            or one of images (:mod:`fedpriv.data.image_sources`).
        format: ``auto``, ``csv``, ``jsonl`` or ``parquet``.
        text: name of the column of the text.
        image: name of the column of the image, where the records are images; then none has a text.
        label: name of the column of the label; ``None`` where the records have none.
        labels: labels to keep, in the order of the model's outputs; default: all, sorted.
        extra: further columns to keep, for a partition or a split.
        base: the folder that a relative path starts from; default: the working directory.
        part: the source is one party's part of the records, in which a label of ``labels`` may not occur.

    Raises:
        DataError: no such source or column, a label in ``labels`` that no row has, or fewer than two labels.
    """
    content: Sequence[Content | None]
    if image is None:
        content, columns = _texts(source, column=text, format=format, base=base)
    else:
        content, columns = image_sources.read(source, column=image, base=base)
    for role, name in (("label", label), *(("", name) for name in extra)):
        if name is not None and name not in columns:
            raise _no_column(name, list(columns), role=role, source=source)
    of = [""] * len(content) if label is None else columns[label]
    kept, left_out = _kept(content, of, None if label is None else labels, labelled=label is not None)
    names = () if label is None else tuple(sorted({of[row] for row in kept}) if labels is None else labels)
    if label is not None:
        found = set(names) if part else {of[row] for row in kept}
        _check_labels(names, found, set(of), source, label)
    elif not kept:
        raise DataError(f"{source!r} has no record", hint="every row is empty")
    index = {name: i for i, name in enumerate(names or ("",))}
    return Table(
        content=[held for row in kept if (held := content[row]) is not None],
        labels=np.array([index[of[row]] for row in kept], dtype=np.int64),
        label_names=names,
        columns={name: [columns[name][row] for row in kept] for name in extra},
        left_out=left_out,
    )


def _texts(
    source: str,
    *,
    column: str,
    format: str,  # noqa: A002 - the key's name
    base: Path | None,
) -> tuple[list[str], dict[str, list[str]]]:
    """One text a row, and all columns."""
    columns = sources.read(source, format=format, base=base)
    if column not in columns:
        raise _no_column(column, list(columns), role="text", source=source)
    return columns[column], columns


def _kept(
    content: Sequence[Content | None],
    of: Sequence[str],
    labels: Sequence[str] | None,
    *,
    labelled: bool,
) -> tuple[list[int], LeftOut]:
    """The rows that are records, and why the others are not; ``of``: the label of each."""
    wanted = None if labels is None else set(labels)
    seen: set[Hashable] = set()
    kept: list[int] = []
    empty = other = duplicates = 0
    for row, (held, name) in enumerate(zip(content, of, strict=True)):
        if held is None or (isinstance(held, str) and not held.strip()) or (labelled and not name.strip()):
            empty += 1
        elif wanted is not None and name not in wanted:
            other += 1
        elif (same := sameness(held)) in seen:
            duplicates += 1
        else:
            seen.add(same)
            kept.append(row)
    return kept, LeftOut(empty=empty, other_labels=other, duplicates=duplicates)


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
