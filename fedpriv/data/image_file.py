"""One image file, decoded; Pillow is imported here only, and late."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np

from fedpriv.data.canonical import Image
from fedpriv.errors import DataError

__all__ = ["decoded", "encoded"]

_GREY = ("1", "L", "LA")
_DEEP = ("F", "I", "I;16", "I;16B", "I;16L")


def decoded(content: bytes, what: str) -> Image:
    """The pixels of a PNG, JPEG, WebP or BMP file, turned as its metadata say, without transparency.

    Args:
        content: the file.
        what: what it is called in an error.

    Returns:
        uint8, shape (height, width, channels): one channel of a grey file, three of any other.

    Raises:
        DataError: it is no image, is damaged, has more than 8 bits a channel or too many pixels, or Pillow is
            not installed.
    """
    try:
        from PIL import Image as Pillow
        from PIL import ImageOps
    except ImportError:
        raise _no_pillow() from None
    try:
        with _whole_files_only(), warnings.catch_warnings():
            warnings.simplefilter("error", Pillow.DecompressionBombWarning)
            with Pillow.open(BytesIO(content)) as file:
                mode = file.mode
                turned = ImageOps.exif_transpose(file)
                pixels = np.array(turned.convert("L" if mode in _GREY else "RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError, Pillow.DecompressionBombWarning):
        raise DataError(
            f"{what} cannot be read as an image",
            hint="leave it out, or replace it by a whole PNG, JPEG, WebP or BMP file",
        ) from None
    if mode in _DEEP:
        raise DataError(f"{what} has more than 8 bits a channel", hint="save it with 8 bits a channel")
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def encoded(pixels: Image) -> bytes:
    """A PNG file with these pixels; ``decoded`` gives them back to the bit.

    Raises:
        DataError: Pillow is not installed.
    """
    try:
        from PIL import Image as Pillow
    except ImportError:
        raise _no_pillow() from None
    file = BytesIO()
    Pillow.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, format="PNG")
    return file.getvalue()


@contextmanager
def _whole_files_only() -> Iterator[None]:
    """Pillow's own default, which other libraries in the process turn off: the rest of a cut file is grey."""
    from PIL import ImageFile

    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _no_pillow() -> DataError:
    return DataError(
        "image files need the package Pillow, which is not installed", hint="pip install 'fedpriv[images]'"
    )
