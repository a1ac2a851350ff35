"""From the name of a source to columns of text: files, folders, files inside packages, and the hub.

A source is one of

- a file: CSV, JSON lines or Parquet, the first two also compressed (``.gz``, ``.bz2``, ``.xz``, ``.zst``);
- a folder that holds one such file, or one folder for each label with ``*.txt`` files in it;
- ``package:module/path``: a file or folder inside an installed package, whose code is not run;
- ``hf:owner/name[/config][#split]``: a data set of the Hugging Face hub, through the optional ``datasets``.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from fedpriv.data.places import missing, place_of
from fedpriv.errors import DataError

__all__ = ["read"]

Columns = dict[str, list[str]]

_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_FOLDER_COLUMNS = ("text", "label", "file")


def read(source: str, *, format: str = "auto", base: Path | None = None) -> Columns:  # noqa: A002 - the key's name
    """Every column of ``source`` as text, all of one length; a missing value is ``""``.

    Args:
        source: see the module's docstring.
        format: ``auto`` (by the file's name), ``csv``, ``jsonl`` or ``parquet``.
        base: the folder that a relative path starts from; default: the working directory.

    Raises:
        DataError: there is no such source, or it does not hold what its format says.
    """
    if source.startswith("hf:"):
        return _read_hub(source)
    path = place_of(source, base)
    if path.is_dir():
        path = _only_file(path, source) or path
    if path.is_dir():
        return _read_label_folders(path, source)
    if not path.is_file():
        raise missing(source, path)
    kind = _format_of(path, source) if format == "auto" else format
    readers: dict[str, Callable[[Path], Columns]] = {
        "csv": _read_csv,
        "jsonl": _read_jsonl,
        "parquet": _read_parquet,
    }
    try:
        columns = readers[kind](path)
    except OSError as error:
        raise _unreadable(source, kind, error.strerror or str(error)) from None
    except (ValueError, EOFError, lzma.LZMAError) as error:  # what every parser below raises on other bytes
        raise _unreadable(source, kind, str(error)) from None
    if not columns or not next(iter(columns.values())):
        raise DataError(f"{source!r} has no rows", hint="name a file with a header and at least one record")
    return columns


def _unreadable(source: str, kind: str, reason: str) -> DataError:
    first = reason.strip().splitlines()[0].rstrip(".") if reason.strip() else "it is empty"
    return DataError(
        f"{source!r} cannot be read as {kind}: {first}",
        hint="name a CSV, JSON lines or Parquet file; data.format overrides what the file's name says",
    )


def _suffixes(path: Path) -> tuple[str, str]:
    """The suffix of the format and that of the compression, in lower case."""
    last = path.suffix.lower()
    return (Path(path.stem).suffix.lower(), last) if last in _COMPRESSED else (last, "")


def _format_of(path: Path, source: str) -> str:
    kind = _FORMATS.get(_suffixes(path)[0])
    if kind is None:
        raise DataError(
            f"the name of {source!r} does not say what format it has",
            hint='set data.format to "csv", "jsonl" or "parquet"',
        )
    return kind


def _only_file(folder: Path, source: str) -> Path | None:
    files = sorted(entry for entry in folder.iterdir() if entry.is_file() and _suffixes(entry)[0] in _FORMATS)
    if len(files) > 1:
        raise DataError(
            f"{source!r} holds {len(files)} data files",
            hint=f"name one of them: {', '.join(file.name for file in files[:8])}",
        )
    return files[0] if files else None


def _open(path: Path) -> BinaryIO:
    """The decompressed bytes of a file."""
    match _suffixes(path)[1]:
        case ".gz":
            return cast(BinaryIO, gzip.open(path, "rb"))
        case ".bz2":
            return cast(BinaryIO, bz2.open(path, "rb"))
        case ".xz":
            return cast(BinaryIO, lzma.open(path, "rb"))
        case ".zst":
            import pyarrow as pa

            return cast(BinaryIO, pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _read_csv(path: Path) -> Columns:
    import pandas as pd

    with _open(path) as stream, warnings.catch_warnings():
        # Without index_col=False a row that is too long turns the first column into an index.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = pd.read_csv(
                stream, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
            )
        except pd.errors.ParserWarning:
            raise ValueError("some rows have more fields than the header") from None
    return {str(name): ["" if _missing(v) else v for v in frame[name].tolist()] for name in frame.columns}


def _read_jsonl(path: Path) -> Columns:
    rows: list[dict[str, Any]] = []
    with _open(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not a JSON object")
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [_text(row.get(name)) for row in rows] for name in names}


def _read_parquet(path: Path) -> Columns:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return {name: [_text(value) for value in table[name].to_pylist()] for name in table.column_names}


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: object) -> str:
    return "" if _missing(value) else str(value)


def _read_label_folders(folder: Path, source: str) -> Columns:
    """``<label>/*.txt``: the columns are ``text``, ``label`` and ``file``."""
    rows = list(_label_files(folder, source))
    if not rows:
        raise DataError(
            f"the folder {source!r} holds neither a data file nor folders of .txt files",
            hint="put one CSV, JSON lines or Parquet file there, or one folder for each label",
        )
    return {name: [row[i] for row in rows] for i, name in enumerate(_FOLDER_COLUMNS)}


def _label_files(folder: Path, source: str) -> Iterator[Sequence[str]]:
    for file in sorted(folder.glob("*/*.txt")):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise _unreadable(
                f"{source}/{file.parent.name}/{file.name}", "text", str(error.strerror)
            ) from None
        yield text.strip(), file.parent.name, f"{file.parent.name}/{file.name}"


def _read_hub(source: str) -> Columns:
    name, _, split = source.removeprefix("hf:").partition("#")
    parts = name.split("/")
    if not all(parts) or len(parts) > 3:
        raise DataError(
            f"{source!r} does not name a data set of the hub",
            hint="write hf:owner/name, hf:owner/name/config, or either with #split behind it",
        )
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{source!r} needs the package `datasets`, which is not installed",
            hint="pip install 'fedpriv[hub]'",
        ) from None
    identifier, config = "/".join(parts[:2]), parts[2] if len(parts) == 3 else None
    try:
        loaded = datasets.load_dataset(identifier, config, split=split or "train")
    except (
        Exception
    ) as error:  # the hub's client raises many kinds, all of them about the name or the network
        reason = str(error).strip().splitlines()
        raise DataError(
            f"the data set {source!r} could not be loaded: {reason[0] if reason else repr(error)}",
            hint="check the name, its configuration and split, and the network",
        ) from None
    columns: Columns = {}
    for column, feature in loaded.features.items():
        names = getattr(feature, "names", None)  # a ClassLabel stores numbers and knows their names
        values = loaded[column]
        columns[column] = [
            names[value] if names and isinstance(value, int) and value >= 0 else _text(value)
            for value in values
        ]
    return columns
