"""A table as a file that :func:`fedpriv.data.load` reads again: JSON lines of texts, Parquet of images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO

from fedpriv.data.image_file import encoded
from fedpriv.data.table import Table

__all__ = ["suffix_of", "written"]


def suffix_of(table: Table) -> str:
    """The suffix of the table's file; a table without a record takes that of texts."""
    return ".jsonl" if not len(table) or isinstance(table.content[0], str) else ".parquet"


def written(table: Table, *, content: str, label: str | None) -> bytes:
    """The file's bytes; images are stored without loss.

    Args:
        table: the records; further columns are left out.
        content: name of the column of the text or the image.
        label: name of the column of the label; ``None`` where the records have none.

    Raises:
        DataError: the records are images, and Pillow is not installed.
    """
    if suffix_of(table) == ".jsonl":
        columns: dict[str, Sequence[object]] = {content: table.texts}
    else:
        columns = {content: [encoded(image) for image in table.content if not isinstance(image, str)]}
    if label is not None:
        columns[label] = [table.label_names[each] for each in table.labels]
    if suffix_of(table) == ".jsonl":
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        return "".join(f"{json.dumps(row)}\n" for row in rows).encode("ascii")
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()
