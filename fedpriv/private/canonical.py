"""The canonical form of any record: by it the ledger knows a data set again.

A record's canonical bytes say what it holds, not in which container: numbers alone, in lists, arrays or
tensors are numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import numpy as np

from fedpriv.crypto import frame
from fedpriv.errors import UsageError

__all__ = ["Records", "canonical_records"]

_DEPTH: Final = 32
_HINT: Final = "give Budget(fingerprint=…), 16 to 128 hexadecimal digits that stand for the data set"


class Records(Protocol):
    """A map-style data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def canonical_records(records: Records) -> Iterator[bytes]:
    """The canonical bytes of each record of a map-style data set, in its order.

    Raises:
        UsageError: there is no record, a record holds something that has no canonical form, or two looks at
            one gave different things, as under random augmentation.

    >>> list(canonical_records([{"x": [1, 2]}])) == list(canonical_records([{"x": np.array([1, 2])}]))
    True
    """
    if not len(records):
        raise UsageError("the data set holds no record")
    for index in range(len(records)):
        found = _record(records, index)
        if index in (0, len(records) - 1) and _record(records, index) != found:
            raise UsageError(
                f"record {index} of the data set is another one each time it is read, so that the data set "
                "would not be known again",
                hint=_HINT,
            )
        yield found


def _record(records: Records, index: int) -> bytes:
    try:
        return _canonical(records[index], 0)
    except TypeError as error:
        raise UsageError(f"record {index} of the data set {error}", hint=_HINT) from None


def _canonical(value: Any, depth: int) -> bytes:
    """An injective encoding; ``TypeError`` for what has none."""
    if depth > _DEPTH:
        raise TypeError(f"is nested deeper than {_DEPTH} levels")
    if isinstance(value, Mapping):
        pairs = sorted(
            (_canonical(key, depth + 1), _canonical(item, depth + 1)) for key, item in value.items()
        )
        return frame(b"mapping", *(part for pair in pairs for part in pair))
    numbers = _numbers(value)
    if numbers is not None:
        return frame(b"numbers", numbers.dtype.str.encode(), _sides(numbers.shape), numbers.tobytes())
    if isinstance(value, list | tuple):
        return frame(b"list", *(_canonical(item, depth + 1) for item in value))
    return frame(*_atom(value))


def _atom(value: Any) -> tuple[bytes, ...]:
    if value is None:
        return (b"none",)
    if isinstance(value, str):
        return (b"text", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes | bytearray):
        return (b"bytes", bytes(value))
    if hasattr(value, "mode") and hasattr(value, "size") and hasattr(value, "tobytes"):  # an image of Pillow
        return (b"image", str(value.mode).encode(), _sides(value.size), value.tobytes())
    raise TypeError(f"holds a {type(value).__name__}, which has no canonical form")


def _sides(shape: Iterable[int]) -> bytes:
    return b"".join(int(side).to_bytes(8, "big") for side in shape)


def _numbers(value: Any) -> np.ndarray[Any, Any] | None:
    """Numbers in whatever container, as int64, uint64 or float64; ``None`` for anything else."""
    if isinstance(value, list | tuple):
        if not value or not all(
            isinstance(item, bool | int | float | np.generic | list | tuple) for item in value
        ):
            return None
        try:
            array = np.asarray(value)
        except ValueError:  # rows of different length
            return None
    elif isinstance(value, bool | int | float | np.generic | np.ndarray):
        array = np.asarray(value)
    elif hasattr(value, "detach") and hasattr(value, "cpu"):
        tensor = value.detach().cpu()
        array = (tensor.double() if tensor.is_floating_point() else tensor).numpy()
    else:
        return None
    if array.dtype.kind in "bi" or (array.dtype.kind == "u" and array.dtype.itemsize < 8):
        return array.astype("<i8")
    return array.astype({"u": "<u8", "f": "<f8"}[array.dtype.kind]) if array.dtype.kind in "uf" else None
