"""Where in a model a method works: its head, its layers, its linear maps, found by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedpriv.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a method works in a base model.

    Attributes:
        heads: modules of the classification head, which every method trains; none in a language model.
        layers: the hidden layers that a method is restricted to; ``None``: all.
        vocabulary: in a language model, the map from hidden states to the vocabulary; no method adapts it.
        task_type: what the ``peft`` library calls the model's task; ``None`` where it has no name for it.
    """

    heads: tuple[str, ...]
    layers: tuple[int, ...] | None
    vocabulary: str | None = None
    task_type: str | None = "SEQ_CLS"

    @classmethod
    def of(cls, model: nn.Module, layers: tuple[int, ...] | None) -> Place:
        """That of a base model; ``UsageError`` where it has neither a classification head nor a vocabulary,
        or no such layer."""
        numbers = None if layers is None else _resolve_layers(model, layers)
        vocabulary = _vocabulary_map(model)
        if vocabulary is not None:
            return cls((), numbers, vocabulary, "CAUSAL_LM")
        reads_images = getattr(model, "main_input_name", "") == "pixel_values"
        return cls(head_modules(model), numbers, None, None if reads_images else "SEQ_CLS")

    def in_head(self, name: str) -> bool:
        """Whether a parameter is the head's, before a method was added or after: then it is a copy."""
        return name.split(".", 1)[0] in self.heads or ".modules_to_save.default." in name

    def in_layers(self, name: str) -> bool:
        """Whether a module or parameter stands in one of the layers."""
        if self.layers is None:
            return True
        found = _LAYER.search(name)
        return found is not None and int(found.group(1)) in self.layers

    def maps(self, model: nn.Module) -> list[str]:
        """Names of the linear maps in all layers, without the head's and that to the vocabulary."""
        return [
            name
            for name in linear_maps(model)
            if name != self.vocabulary and name.split(".", 1)[0] not in self.heads
        ]


def head_modules(model: nn.Module) -> tuple[str, ...]:
    """Names of the top-level modules that are not the base model and hold parameters: the classification
    head.

    Raises ``UsageError`` where there is none.
    """
    prefix = getattr(model, "base_model_prefix", "")
    heads = tuple(
        name
        for name, child in model.named_children()
        if name != prefix and any(True for _ in child.parameters())
    )
    if not prefix or not hasattr(model, prefix) or not heads:
        raise UsageError(
            f"{type(model).__name__} has no classification head that can be told from its base model",
            hint="load the model with fedpriv.training.load_classifier",
        )
    return heads


def is_tied(model: Any) -> bool:
    """Whether a language model's map to the vocabulary is its table of embeddings."""
    tied: bool = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    return tied


def linear_maps(model: nn.Module) -> list[str]:
    """Names of all linear maps, those that GPT-2 calls ``Conv1D`` among them."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def ends_with(name: str, ends: Iterable[str]) -> bool:
    """Whether a module's name ends with one of these, as whole components."""
    return any(name == end or name.endswith(f".{end}") for end in ends)


def endings(names: Iterable[str]) -> list[str]:
    """By what modules may be called: their last components, and all that follow the layer's number."""
    return sorted({end for name in names for end in (name.rsplit(".", 1)[-1], _LAYER.split(name)[-1])})


def called(names: list[str], targets: Iterable[str]) -> list[str]:
    """Those of ``names`` that end with a target; ``UsageError`` where nothing does with one of them."""
    for target in targets:
        if not any(ends_with(name, (target,)) for name in names):
            known = endings(names)
            near = difflib.get_close_matches(target, known, n=3, cutoff=0.4) or known
            raise UsageError(
                f"no linear module of the model is called {target!r}",
                hint=f"the nearest are: {', '.join(near)}",
            )
    return [name for name in names if ends_with(name, targets)]


def family_of(model: nn.Module) -> str:
    """The family as transformers calls it, ``""`` where it has none."""
    return str(getattr(getattr(model, "config", None), "model_type", ""))


def _vocabulary_map(model: Any) -> str | None:
    """The name of a language model's map from hidden states to its vocabulary; ``None`` in other models."""
    asked = getattr(model, "get_output_embeddings", None)
    found = None if asked is None else asked()
    if found is None:
        return None
    name: str = next(name for name, module in model.named_modules() if module is found)
    return name


def _resolve_layers(model: nn.Module, layers: tuple[int, ...]) -> tuple[int, ...]:
    """Layer numbers from 0, ascending, negative ones counted from the top."""
    count = int(getattr(getattr(model, "config", None), "num_hidden_layers", 0) or 0)
    for layer in layers:
        if not -count <= layer < count:
            raise UsageError(
                f"layer {layer} does not exist: the model has {count} hidden layers",
                hint=f"use numbers from 0 to {count - 1}, or negative ones to count from the top"
                if count
                else "",
            )
    return tuple(sorted({layer % count for layer in layers}))
