"""How images become what a model reads: scaled to one size, one record at a time, and normalised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError
from fedpriv.training.model_place import ModelPlace

if TYPE_CHECKING:
    import torch

    from fedpriv.data import Image

__all__ = ["EncodedImages", "Pixels"]

_FILE: Final = "preprocessor_config.json"
_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_BICUBIC: Final = 3  # Pillow's number, which is what the file holds

Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Pixels:
    """What a model reads of an image.

    Attributes:
        size: both sides are scaled to so many pixels, whatever their ratio; nothing is cut off.
        mean, deviation: by channel, of values from 0 to 1; each value becomes (value - mean) / deviation.
        interpolation: ``bilinear`` or ``bicubic``, with antialiasing.
    """

    size: int
    mean: Three = _IMAGENET[0]
    deviation: Three = _IMAGENET[1]
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if not all(deviation > 0 for deviation in self.deviation):
            raise UsageError("the deviations that images are normalised by must be positive")

    @classmethod
    def of(cls, place: ModelPlace, size: int) -> Pixels:
        """As the model's own ``preprocessor_config.json`` says, else normalised as ImageNet's are.

        Raises:
            UsageError: the file is there and cannot be read.
        """
        from transformers.utils.hub import cached_file

        options = {key: value for key, value in place.options.items() if key != "trust_remote_code"}
        try:
            # None: there is no such file.  That it cannot be asked for must not look the same.
            path = cached_file(
                str(place.place), _FILE, _raise_exceptions_for_missing_entries=False, **options
            )
            found: dict[str, Any] = {} if path is None else json.loads(Path(path).read_bytes())
            mean, deviation = (
                _three(found.get(key, default))
                for key, default in zip(("image_mean", "image_std"), _IMAGENET, strict=True)
            )
            if found.get("do_normalize") is False:
                mean, deviation = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
            cubic = found.get("resample") == _BICUBIC
        except (OSError, ValueError, TypeError, AttributeError):
            raise place.unreadable(_FILE) from None
        return cls(size, mean, deviation, "bicubic" if cubic else "bilinear")

    def values(self, images: Sequence[Image]) -> torch.Tensor:
        """Scaled and normalised images: float32, shape (b, 3, size, size); grey in all three channels."""
        import torch

        found = torch.empty((len(images), 3, self.size, self.size))
        shapes = [image.shape for image in images]
        for shape in sorted(set(shapes)):
            rows = [row for row, other in enumerate(shapes) if other == shape]
            found[rows] = self._scaled(np.stack([images[row] for row in rows]))
        mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (self.mean, self.deviation))
        return found.sub_(mean).div_(deviation)

    def _scaled(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Images of one shape, (b, h, w, c), with values from 0 to 1: (b, c or 1, size, size)."""
        import torch

        values = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32) / 255
        if values.shape[2:] == (self.size, self.size):
            return values
        scaled = torch.nn.functional.interpolate(
            values, (self.size, self.size), mode=self.interpolation, align_corners=False, antialias=True
        )
        return scaled.clamp_(0.0, 1.0)  # bicubic overshoots


def _three(values: Any) -> Three:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImages:
    """Images with one label each, as they were stored: scaling them is cheaper than keeping them scaled.

    Attributes:
        images: uint8, shape (height, width, channels) each.
        labels: int64, shape (n,).
        pixels: what a model reads of them.
    """

    images: Sequence[Image]
    labels: NDArray[np.int64]
    pixels: Pixels

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> None:
        """Nothing: images have as many patches as one another."""
        return None

    def inputs(self, indices: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """``pixel_values``: float32, shape (b, 3, size, size)."""
        return {"pixel_values": self.pixels.values([self.images[index] for index in indices])}

    def digest(self) -> str:
        """SHA-256, in hex, over the images and what a model reads of them."""
        whole = hashlib.sha256(b"fedpriv/training/images/1\0" + repr(self.pixels).encode())
        for image in self.images:
            whole.update(np.array(image.shape, dtype="<u4").tobytes())
            whole.update(np.ascontiguousarray(image).data)
        return whole.hexdigest()
