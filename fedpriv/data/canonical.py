"""The form in which a record is known again (protocols/ledger/spec.md, 11.1): of a text, and of an image."""

from __future__ import annotations

import hashlib
import struct
import unicodedata
from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Content", "Image", "canonical", "canonical_image", "canonical_text", "sameness"]

Image = NDArray[np.uint8]
"""Decoded pixels, shape (height, width, channels), with 1 channel (grey) or 3 (red, green, blue)."""

Content = str | Image
"""What a record holds besides its label."""


def canonical(content: Content) -> bytes:
    """The canonical form of a text or an image; those of a text and of an image are never equal."""
    return canonical_text(content) if isinstance(content, str) else canonical_image(content)


def canonical_text(text: str) -> bytes:
    """A text in Unicode's form NFC, every run of white space as one blank and none at the ends, in UTF-8.

    Composed or decomposed accents, line ends and indentation make no other text; a letter more does.

    >>> canonical_text(" Cafe\\u0301\\r\\n au  lait ") == canonical_text("Caf\\u00e9 au\\u00a0lait")
    True
    """
    return " ".join(unicodedata.normalize("NFC", text).split()).encode("utf-8", "surrogatepass")


def canonical_image(pixels: Image) -> bytes:
    """The byte ff, which no UTF-8 holds, height, width and channels as 32-bit integers, and the pixels.

    The file's format, its name and its metadata make no other image, nor do three equal channels in place of
    one; another size or another pixel does, as a lossy compression makes them.

    >>> grey = np.zeros((2, 2, 1), dtype=np.uint8)
    >>> canonical_image(grey) == canonical_image(grey.repeat(3, axis=2))
    True
    """
    if pixels.shape[2] == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, :1]
    return b"\xff" + struct.pack("<3I", *pixels.shape) + pixels.tobytes()


def sameness(content: Content) -> Hashable:
    """Equal for two texts that are equal to the letter, and for two images with one canonical form."""
    return content if isinstance(content, str) else hashlib.sha256(canonical_image(content)).digest()
