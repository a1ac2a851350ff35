"""Images with one label each."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import DataError
from fedpriv.training.classification import Classification
from fedpriv.training.pixels import EncodedImages, Pixels
from fedpriv.training.task import Records

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.data import Content, Image

__all__ = ["ImageClassification"]

_INTERPOLATE = "interpolate_pos_encoding"


class ImageClassification(Classification):
    """One label for each image, of which the model reads what ``pixels`` says."""

    def __init__(self, model: nn.Module, pixels: Pixels) -> None:
        super().__init__(model)
        self.pixels = pixels
        # Some families have position embeddings for one size only unless they are asked (ViT); others
        # interpolate without being asked, and do not know the word (DINOv2).
        self._asks = pixels.size != model.config.image_size and any(  # type: ignore[union-attr]
            _INTERPOLATE in inspect.signature(module.forward).parameters for module in model.modules()
        )

    def encode(self, contents: Sequence[Content], labels: Sequence[int] | NDArray[np.int64]) -> EncodedImages:
        """Images as they are; labels are class numbers.

        Raises ``DataError`` where an image is not of shape (height, width, 1 or 3) in uint8, the numbers of
        images and labels differ, or a label is out of range.
        """
        images: list[Image] = [content for content in contents if not isinstance(content, str)]
        if len(images) < len(contents):
            raise DataError("a text stands where an image is expected", hint="name a source of images")
        if not all(i.dtype == np.uint8 and i.ndim == 3 and i.shape[2] in (1, 3) and i.size for i in images):
            raise DataError("an image is not of the shape (height, width, 1 or 3) with 8 bits a channel")
        return EncodedImages(images, self._classes_of(labels, len(images), "images"), self.pixels)

    def inputs(self, records: Records, indices: NDArray[np.int64]) -> dict[str, Any]:
        """What the model is called with for the records at ``indices``, on its device."""
        return super().inputs(records, indices) | ({_INTERPOLATE: True} if self._asks else {})

    def probe(self) -> EncodedImages:
        """Two patterns of different size."""
        ramps = [np.arange(side * side * 3) * side % 251 for side in (16, 23)]
        images = [
            ramp.astype(np.uint8).reshape(side, side, 3) for ramp, side in zip(ramps, (16, 23), strict=True)
        ]
        return self.encode(images, [0, 1])
