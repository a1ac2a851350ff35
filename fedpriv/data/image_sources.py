"""From the name of a source to images and columns of text.

A source is one of

- a folder with one folder for each label, and image files (PNG, JPEG, WebP, BMP) in these;
- a Parquet file, or a folder that holds one, with a column of image files: bytes, or structs with ``bytes``;
- a folder with a pair of IDX files, ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, plain or
  with ``.gz``; ``folder/train`` where there are several pairs;
- ``package:module/path``: one of these inside an installed package, whose code is not run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fedpriv.data.canonical import Image
from fedpriv.data.idx import pairs_in, read_pair
from fedpriv.data.image_file import decoded
from fedpriv.data.places import missing, place_of
from fedpriv.errors import DataError

__all__ = ["read"]

_FILES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_PARQUET: Final = (".parquet", ".pq")

Images = tuple[list[Image | None], dict[str, list[str]]]
"""One image a row, ``None`` where there is none, and the other columns."""


def read(source: str, *, column: str, base: Path | None = None) -> Images:
    """The images of ``source``, and every other column as text; a missing value is ``""``.

    Args:
        source: see the module's docstring.
        column: of the images, in a Parquet file.
        base: the folder that a relative path starts from; default: the working directory.

    Raises:
        DataError: there is no such source, it holds no images, or one of them cannot be read.
    """
    if source.startswith("hf:"):
        raise DataError(
            f"{source!r}: images are not read from the hub",
            hint="download the data set's Parquet file, and name that",
        )
    path = place_of(source, base)
    if path.is_file():
        return _parquet(path, source, column)
    if not path.is_dir():
        if path.parent.is_dir() and path.name in pairs_in(path.parent):
            images, labels = read_pair(path.parent, path.name)
            return [*images], {"label": labels}
        raise missing(source, path)
    pairs = pairs_in(path)
    if len(pairs) > 1:
        choice = ", ".join(f"{source.rstrip('/')}/{pair}" for pair in pairs)
        raise DataError(
            f"{source!r} holds {len(pairs)} pairs of IDX files", hint=f"name one of them: {choice}"
        )
    if pairs:
        images, labels = read_pair(path, pairs[0])
        return [*images], {"label": labels}
    tables = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _PARQUET)
    if len(tables) > 1:
        raise DataError(
            f"{source!r} holds {len(tables)} data files",
            hint=f"name one of them: {', '.join(table.name for table in tables[:8])}",
        )
    return _parquet(tables[0], source, column) if tables else _label_folders(path, source)


def _label_folders(folder: Path, source: str) -> Images:
    """``<label>/*.png`` and their like: the columns are ``label`` and ``file``."""
    files = sorted(file for file in folder.glob("*/*") if file.suffix.lower() in _FILES)
    if not files:
        raise DataError(
            f"the folder {source!r} holds no images",
            hint="put one folder for each label there, with PNG or JPEG files, or a Parquet or IDX file",
        )
    names = [f"{file.parent.name}/{file.name}" for file in files]
    images: list[Image | None] = []
    for file, name in zip(files, names, strict=True):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise DataError(f"{f'{source}/{name}'!r} cannot be read: {error.strerror}") from None
        images.append(decoded(content, repr(f"{source}/{name}")))
    return images, {"label": [file.parent.name for file in files], "file": names}


def _parquet(path: Path, source: str, column: str) -> Images:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() not in _PARQUET:
        raise DataError(
            f"{source!r} holds no images",
            hint="name a folder of images, a Parquet file or a pair of IDX files",
        )
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        raise DataError(f"{source!r} cannot be read as parquet", hint="fetch the file again") from None
    if column not in table.column_names:
        raise DataError(
            f"{source!r} has no column {column!r}",
            hint=f"its columns: {', '.join(table.column_names)}; set data.image to the one of the images",
        )
    images = [
        None if content is None else decoded(content, f"the image in row {row} of {source!r}")
        for row, content in enumerate(_contents(table[column].to_pylist(), source, column), start=1)
    ]
    names = _class_names(table.schema.metadata)
    others = [name for name in table.column_names if name != column]
    return images, {name: _texts(table[name].to_pylist(), names.get(name)) for name in others}


def _contents(values: list[Any], source: str, column: str) -> list[bytes | None]:
    """The files in a column's values."""
    found = [value.get("bytes") if isinstance(value, Mapping) else value for value in values]
    if not all(value is None or isinstance(value, bytes) for value in found):
        raise DataError(
            f"the column {column!r} of {source!r} holds no image files",
            hint="set data.image to a column of bytes, or of structs with `bytes`",
        )
    return found


def _texts(values: list[Any], names: list[str] | None) -> list[str]:
    """Values as text; a number of a class whose name is known, as its name."""
    if names is not None and all(value is None or value in range(len(names)) for value in values):
        return ["" if value is None else names[value] for value in values]
    return ["" if value is None else str(value) for value in values]


def _class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """The names of numbered classes, by column, where Hugging Face's `datasets` wrote the file."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        found = {name: feature.get("names") for name, feature in features.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: names for name, names in found.items() if isinstance(names, list)}
