"""Classifiers of images: a base model with a head, and what it reads of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from fedpriv.errors import UsageError
from fedpriv.training.model_place import ModelPlace, quiet
from fedpriv.training.new_head import check_head, label_settings, with_new_weights
from fedpriv.training.pixels import Pixels

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_image_classifier"]

_POOLED: Final = ("vit", "dinov2")
"""Families whose last hidden states are known to be a class token's and then the patches'."""


def load_image_classifier(
    model_id: str,
    *,
    label_names: Sequence[str],
    image_size: int | None = None,
    revision: str | None = None,
    pooling: str | None = None,
    seed: int = 0,
) -> tuple[nn.Module, Pixels]:
    """An image classifier in float32 and evaluation mode, and what it reads of an image.

    ``model_id``, ``revision`` and ``seed`` are as for :func:`~fedpriv.training.load_classifier`.
    ``image_size`` is in pixels; ``None`` takes the size that the model was made for.  ``pooling=None`` takes
    the architecture's own classification model; ``"cls"`` and ``"mean"`` put one linear layer on the class
    token, or on the mean of the patches (``PooledImageClassifier``).

    Raises ``UsageError`` where the model cannot be found, reads no images, has no such head, or
    ``image_size`` is no multiple of its patch.
    """
    check_head(label_names, pooling)
    place = ModelPlace.of(model_id, revision)
    with quiet():
        config = place.settings(**label_settings(label_names))
        size = _size(model_id, config, image_size)
        pixels = Pixels.of(place, size)
        model = _with_head(place, config, pooling, seed)
    return model, pixels


def _size(model_id: str, config: Any, image_size: int | None) -> int:
    """The side of the images in pixels, checked against the model's patches."""
    own = _side(getattr(config, "image_size", None))
    if own is None or getattr(config, "num_channels", 3) != 3:
        raise UsageError(
            f"{model_id!r} reads no images in colour",
            hint='choose a ViT or DINOv2, or set `task` to "text-classification"',
        )
    size, patch = image_size or own, _side(getattr(config, "patch_size", None)) or 1
    if size % patch:
        below = size - size % patch
        near = f"{below} or {below + patch}" if below else f"{patch}"
        raise UsageError(
            f"the image size {size} is no multiple of {patch}, the side of a patch of {model_id!r}",
            hint=f"set model.image_size to {near}",
        )
    return size


def _side(value: Any) -> int | None:
    """A side in pixels, where there is one for height and width."""
    sides = set(value) if isinstance(value, Iterable) else {value}
    side = sides.pop()
    return int(side) if side is not None and not sides else None


def _with_head(place: ModelPlace, config: Any, pooling: str | None, seed: int) -> Any:
    import torch
    from transformers import AutoModelForImageClassification
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    from fedpriv.training.pooling import PooledImageClassifier

    if pooling is None and config.model_type not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        raise UsageError(
            f"the family {config.model_type!r} of {place.model_id!r} has no image-classification head",
            hint="choose another model, as a ViT or DINOv2",
        )
    if pooling is not None and config.model_type not in _POOLED:
        raise UsageError(
            f"the family {config.model_type!r} of {place.model_id!r} has no known place of class token and "
            "patches to pool",
            hint="leave model.pooling out for the model's own head",
        )

    def load() -> tuple[Any, set[str]]:
        if pooling is not None:
            return PooledImageClassifier.load(place.place, config, pooling, place.options)
        model, report = AutoModelForImageClassification.from_pretrained(
            place.place, config=config, dtype=torch.float32, output_loading_info=True, **place.options
        )
        return model, set(report["missing_keys"])

    deviation = float(getattr(config, "initializer_range", None) or 0.02)
    return with_new_weights(place, load, deviation=deviation, seed=seed)
