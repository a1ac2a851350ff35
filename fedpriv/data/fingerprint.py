"""The name of a data set in the ledger: the same records in any order have the same fingerprint."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.table import Table

__all__ = ["fingerprint"]

_DOMAIN = b"fedpriv/data-set/v1"


def fingerprint(table: Table, indices: NDArray[np.int64] | None = None) -> str:
    """Hex SHA-256 over the sorted digests of the records' texts and label names.

    Neither the order of the records nor that of the labels changes it; a changed, added or missing record
    does.  It is computed from private data: publish it only where the data set itself may be recognised.

    Args:
        table: the records.
        indices: which of them; default: all.

    >>> a = Table(["x", "y"], np.array([0, 1]), ("no", "yes"))
    >>> b = Table(["y", "x"], np.array([0, 1]), ("yes", "no"))
    >>> fingerprint(a) == fingerprint(b)
    True
    """
    chosen = range(len(table)) if indices is None else [int(index) for index in indices]
    labels = [name.encode() for name in table.label_names]
    records = sorted(_record(table.texts[i].encode(), labels[int(table.labels[i])]) for i in chosen)
    whole = hashlib.sha256(_DOMAIN + len(records).to_bytes(8, "big"))
    for record in records:
        whole.update(record)
    return whole.hexdigest()


def _record(text: bytes, label: bytes) -> bytes:
    """SHA-256 of a record; the length in front of the text makes the pair unambiguous."""
    return hashlib.sha256(b"fedpriv/record/v1" + len(text).to_bytes(8, "big") + text + label).digest()
