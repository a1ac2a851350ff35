"""A pretrained body with a classification head, whose new weights are the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fedpriv.errors import UsageError
from fedpriv.peft import uniform
from fedpriv.training.model_place import ModelPlace

if TYPE_CHECKING:
    from torch import nn

__all__ = ["POOLINGS", "check_head", "label_settings", "with_new_weights"]

POOLINGS = ("cls", "mean")


def check_head(label_names: Sequence[str], pooling: str | None) -> None:
    """Raises ``UsageError`` where there are no two labels to tell apart, or no such pooling."""
    if len(label_names) < 2 or len(set(label_names)) != len(label_names):
        raise UsageError("a classifier needs at least two label names, all different")
    if pooling is not None and pooling not in POOLINGS:
        raise UsageError(
            f"{pooling!r} is not a pooling",
            hint=f"choose {' or '.join(POOLINGS)}, or leave it out for the model's own",
        )


def label_settings(label_names: Sequence[str]) -> dict[str, Any]:
    """How a model's configuration says what its classes are called."""
    return {
        "num_labels": len(label_names),
        "id2label": dict(enumerate(label_names)),
        "label2id": {name: index for index, name in enumerate(label_names)},
    }


def with_new_weights(
    place: ModelPlace, load: Callable[[], tuple[Any, set[str]]], *, deviation: float, seed: int
) -> Any:
    """The model that ``load`` gives, with the parameters that its checkpoint lacks derived from ``seed``.

    Args:
        place: where it comes from.
        load: gives the model and the names of those parameters.
        deviation: standard deviation of new weights that are no bias.
        seed: public.

    Raises:
        UsageError: the weights cannot be read, or more than the head is missing.
    """
    import torch
    from safetensors import SafetensorError

    # What is missing is drawn anew below; the fork leaves the process's random state as it was.
    with torch.random.fork_rng(devices=[]):
        try:
            model, missing = load()
        except (OSError, ValueError, RuntimeError, SafetensorError):
            raise place.unreadable("weights") from None
    absent = sorted(name for name in missing if name.startswith(f"{model.base_model_prefix}."))
    if absent:
        raise UsageError(
            f"the checkpoint {place.model_id!r} lacks {absent[0]!r}"
            + (f" and {len(absent) - 1} more weights" if len(absent) > 1 else ""),
            hint='set pooling = "mean" where it is the pooler; else it is another architecture',
        )
    _fill_missing(model, missing, seed, deviation)
    model.eval()
    return model


def _fill_missing(model: nn.Module, missing: set[str], seed: int, deviation: float) -> None:
    """New weights with the standard deviation that the architecture asks for, biases zero."""
    import torch

    for name, parameter in model.named_parameters():
        if name not in missing:
            continue
        if parameter.dim() < 2:
            parameter.data.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            start = uniform(seed, name, tuple(parameter.shape), deviation * math.sqrt(3.0))
            parameter.data.copy_(torch.from_numpy(start))
