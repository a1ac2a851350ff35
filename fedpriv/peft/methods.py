"""PEFT methods: which parameters are trained, and how they start.

Four methods, each with the classification head, which is always trained and always counted:

- ``lora``: both halves of ``W + (alpha / rank) B A`` (Hu et al., 2106.09685, section 4.1);
- ``ffa-lora``: ``A`` frozen from the public seed, ``B`` trained, so that the mean of the clients' updates is
  the update of the mean and noise is never multiplied by noise (Sun et al., 2403.12313, section 3);
- ``bitfit``: every bias (Ben Zaken et al., 2106.10199);
- ``head``: the classification head alone.
"""

from __future__ import annotations

import difflib
import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from fedpriv.errors import UsageError
from fedpriv.peft.public_init import uniform

if TYPE_CHECKING:
    from torch import nn

Method = Literal["lora", "ffa-lora", "bitfit", "head"]
METHODS: tuple[str, ...] = get_args(Method)

_LAYER = re.compile(r"\.(\d+)\.")
_QUERY_AND_VALUE = (("query", "value"), ("q_proj", "v_proj"), ("q_lin", "v_lin"), ("query_key_value",))


@dataclass(frozen=True, slots=True)
class PeftSpec:
    """What is trained.

    ``rank`` and ``alpha`` apply to the two LoRA methods.  ``target_modules`` are the ends of module names, or
    ``("all-linear",)``; ``None`` takes what the ``peft`` library uses for the model's family.  ``layers``
    restricts LoRA and the biases to some hidden layers, counted from 0, or from the top with negative numbers
    (``(-3, -2, -1)``: the top three).  ``seed`` is public: ``A`` is drawn from it.

    >>> PeftSpec("ffa-lora", rank=4, layers=(-2, -1)).scaling
    4.0

    Raises ``UsageError`` on a value out of range or an option that the method does not have.
    """

    method: Method
    rank: int = 8
    alpha: float = 16.0
    target_modules: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(
                f"{self.method!r} is not a PEFT method of fedpriv", hint=f"choose one of {', '.join(METHODS)}"
            )
        if self.rank < 1:
            raise UsageError(f"a LoRA rank must be at least 1, not {self.rank}")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise UsageError(f"LoRA's alpha must be positive, not {self.alpha}")
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"the public seed must be between 0 and 2**64 - 1, not {self.seed}")
        if self.target_modules is not None and (not self.is_lora or not self.target_modules):
            raise UsageError(
                f"target_modules is empty or does not apply to {self.method}",
                hint="leave it out, or name the modules that lora or ffa-lora adapts",
            )
        if self.layers is not None and (self.method == "head" or not self.layers):
            raise UsageError(
                f"layers is empty or does not apply to {self.method}",
                hint="leave it out, or list layer numbers",
            )

    @property
    def is_lora(self) -> bool:
        """Whether low-rank halves are added to the model."""
        return self.method in ("lora", "ffa-lora")

    @property
    def scaling(self) -> float:
        """The factor ``alpha / rank`` before ``B A``."""
        return self.alpha / self.rank


def attach(model: nn.Module, spec: PeftSpec) -> nn.Module:
    """The model with exactly the parameters of ``spec`` trainable; the model given is changed in place.

    For the LoRA methods the result is a ``peft.PeftModel`` around it (``B`` zero, ``A`` from the public seed,
    the head among ``modules_to_save``); for the others it is the model itself.  The process's random state is
    left as it was.

    Raises ``UsageError`` where the model has no head, no such module or layer, no bias, or an adapter
    already.
    """
    if hasattr(model, "peft_config"):
        raise UsageError("the model has an adapter already", hint="load the base model anew and attach once")
    heads = head_modules(model)
    layers = None if spec.layers is None else _resolve_layers(model, spec.layers)
    if spec.is_lora:
        adapted = _add_lora(model, spec, heads, layers)
        wanted = {
            name
            for name, _ in adapted.named_parameters()
            if ".lora_B." in name
            or (".lora_A." in name and spec.method == "lora")
            or ".modules_to_save.default." in name
        }
    else:
        adapted = model
        wanted = {name for name, _ in model.named_parameters() if name.split(".", 1)[0] in heads}
        if spec.method == "bitfit":
            wanted |= _biases(model, wanted, layers)
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_(name in wanted)
        parameter.grad = None
    return adapted


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


def _biases(model: nn.Module, head: set[str], layers: tuple[int, ...] | None) -> set[str]:
    names = {
        name
        for name, _ in model.named_parameters()
        if name.rsplit(".", 1)[-1] == "bias" and (layers is None or _layer_of(name) in layers)
    }
    if not names - head:
        raise UsageError(
            f"{type(model).__name__} has no bias outside its head to train with bitfit",
            hint="use lora or ffa-lora for this family",
        )
    return names


def _layer_of(name: str) -> int | None:
    found = _LAYER.search(name)
    return int(found.group(1)) if found else None


def _add_lora(
    model: nn.Module, spec: PeftSpec, heads: tuple[str, ...], layers: tuple[int, ...] | None
) -> nn.Module:
    import peft
    import torch

    config = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=_targets(model, spec, heads),
        layers_to_transform=None if layers is None else list(layers),
        modules_to_save=list(heads),
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft 0.21 asks transformers 5 for a property under its old name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # peft sets the flag of Conv1D layers itself and says so.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False but the target module")
        try:
            adapted: Any = peft.get_peft_model(model, config)
        except ValueError as problem:
            raise UsageError(f"the model cannot take LoRA: {_first_sentence(problem)}") from None
    for name, parameter in adapted.named_parameters():
        if ".lora_A." in name:
            _, fan_in = parameter.shape
            start = uniform(spec.seed, _plain(name), tuple(parameter.shape), 1 / math.sqrt(fan_in))
            parameter.data.copy_(torch.from_numpy(start))
        elif ".lora_B." in name:
            parameter.data.zero_()
    result: nn.Module = adapted
    return result


def _plain(name: str) -> str:
    """The name that a weight has in a saved adapter, which is the one hashed."""
    return name.replace(".default.", ".")


def _targets(model: nn.Module, spec: PeftSpec, heads: tuple[str, ...]) -> list[str]:
    """What to give to peft: the ends of names, or whole names where an end would also match in the head."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    body = [name for name in linear if name.split(".", 1)[0] not in heads]
    if spec.target_modules == ("all-linear",):
        return body
    ends = sorted({name.rsplit(".", 1)[-1] for name in body} | {_LAYER.split(name)[-1] for name in body})
    targets = spec.target_modules
    if targets is None:
        family = str(getattr(getattr(model, "config", None), "model_type", ""))
        known = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(family)
        # peft's table has gaps (DistilBERT) and patterns; the usual names of query and value fill them.
        choices = [tuple(known)] if isinstance(known, list) else []
        choices += [pair for pair in _QUERY_AND_VALUE if set(pair) <= set(ends)]
        if not choices:
            raise UsageError(
                f"no default target modules are known for the family {family!r}",
                hint=f"set target_modules to some of: {', '.join(ends)}",
            )
        targets = choices[0]
    for target in targets:
        if not any(_ends_with(name, target) for name in body):
            near = difflib.get_close_matches(target, ends, n=3, cutoff=0.4) or ends
            raise UsageError(
                f"no linear module of the model is called {target!r}",
                hint=f"the nearest are: {', '.join(near)}",
            )
    if any(_ends_with(name, target) for name in set(linear) - set(body) for target in targets):
        return [name for name in body if any(_ends_with(name, target) for target in targets)]
    return sorted(targets)


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _first_sentence(problem: Exception) -> str:
    return str(problem).split("\n", 1)[0].split(". ", 1)[0]
