"""Images and labels in the IDX form, in which MNIST and Fashion-MNIST come."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.canonical import Image
from fedpriv.errors import DataError

__all__ = ["pairs_in", "read_pair"]

_IMAGES, _LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"
_BYTES = 0x08  # the type of an element: unsigned byte


def pairs_in(folder: Path) -> list[str]:
    """The prefixes of the pairs in a folder, as ``train`` and ``t10k``, sorted."""
    files = [*folder.glob(f"*{_IMAGES}"), *folder.glob(f"*{_IMAGES}.gz")]
    return sorted({file.name.partition(_IMAGES)[0] for file in files})


def read_pair(folder: Path, prefix: str) -> tuple[list[Image], list[str]]:
    """The images of a pair of files, and their labels as numbers.

    Raises:
        DataError: a file of the pair is missing or damaged, or their lengths differ.
    """
    images, labels = _array(folder, prefix + _IMAGES, 3), _array(folder, prefix + _LABELS, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{prefix + _IMAGES!r} holds {len(images)} images, and {prefix + _LABELS!r} {len(labels)} labels",
            hint="take both files from the same place",
        )
    return [image[:, :, None] for image in images], [str(label) for label in labels.tolist()]


def _array(folder: Path, name: str, sides: int) -> NDArray[np.uint8]:
    """The array in a file, plain or compressed: a magic number, its sides, then the bytes."""
    plain, compressed = folder / name, folder / f"{name}.gz"
    try:
        content = plain.read_bytes() if plain.exists() else gzip.decompress(compressed.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{str(plain)!r} is missing, plain or with .gz", hint="images and labels") from None
    except (OSError, EOFError, zlib.error):
        raise _damaged(plain) from None
    head = 4 * (1 + sides)
    if len(content) < head or content[:4] != bytes((0, 0, _BYTES, sides)):
        raise _damaged(plain)
    shape = struct.unpack(f">{sides}I", content[4:head])
    if len(content) - head != int(np.prod(shape, dtype=np.int64)):
        raise _damaged(plain)
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(shape)


def _damaged(path: Path) -> DataError:
    return DataError(f"{str(path)!r} is damaged or not in the IDX form", hint="fetch the file again")
