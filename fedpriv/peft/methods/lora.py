"""Low-rank updates ``W + (alpha / rank) B A``, and where they stand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from fedpriv.errors import UsageError
from fedpriv.peft.methods.library import plain, wrapped
from fedpriv.peft.methods.method import Method
from fedpriv.peft.methods.place import Place, called, endings, ends_with, family_of, linear_maps
from fedpriv.peft.public_init import start_uniform

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec

_QUERY_AND_VALUE = (("query", "value"), ("q_proj", "v_proj"), ("q_lin", "v_lin"), ("query_key_value",))


class Lora(Method):
    """Both halves of ``W + (alpha / rank) B A`` (Hu et al., 2106.09685, section 4.1).

    Where clients sum whole updates, the mean of the products is not the product of the means: the model that
    goes on is ``mean(B) mean(A)``, which is not the mean of the clients' models ``mean(B A)``.  The gap
    between the two cannot be measured by a server that sees sums only, because it is a sum of products of
    what single clients hold.  What could be reported, at a price: each client adds ``B A x`` for some public
    random vectors x to its vector, clipped, noised and accounted like the rest of it, and the server compares
    the mean of these with ``mean(B) mean(A) x``.  Without more than the run spends anyway there is only a
    bound: with the updates clipped to C, ``||mean(B A) - mean(B) mean(A)||_F`` is at most C^2 / 2 before the
    factor alpha / rank, as it is the mean of ``(B - mean(B)) (A - mean(A))``.
    ``ffa-lora`` and ``fed-sb`` have no gap.
    """

    name = "lora"
    options: ClassVar = {"rank": 8, "alpha": 16.0, "target_modules": None, "layers": None}
    exact = False
    composition = (
        "the mean of the products B A is not the product of the means, where whole updates are summed"
    )
    stored = "peft"

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        import peft

        config = peft.LoraConfig(
            task_type=place.task_type,
            r=spec.rank,
            lora_alpha=spec.alpha,
            lora_dropout=0.0,
            bias="none",
            target_modules=_as_peft_reads_them(model, spec, place),
            layers_to_transform=None if place.layers is None else list(place.layers),
            modules_to_save=list(place.heads) or None,
        )
        adapted = wrapped(model, config, "LoRA")
        for name, parameter in adapted.named_parameters():
            if ".lora_A." in name:
                start_uniform(parameter, spec.seed, plain(name), 1 / math.sqrt(parameter.shape[1]))
            elif ".lora_B." in name:
                parameter.data.zero_()
        return adapted

    def sends(self, name: str, place: Place) -> bool:
        return ".lora_B." in name or ".lora_A." in name


class FfaLora(Lora):
    """``A`` frozen from the public seed, ``B`` trained, so that the mean of the clients' updates is the
    update of the mean and noise is never multiplied by noise (Sun et al., 2403.12313, section 3)."""

    name = "ffa-lora"
    exact = True
    composition = "with A the same everywhere, the mean of the products B A is mean(B) A"

    def sends(self, name: str, place: Place) -> bool:
        return ".lora_B." in name


def adapted_maps(model: nn.Module, spec: PeftSpec, place: Place) -> list[str]:
    """Names of the linear maps that ``target_modules`` means, in the layers that are trained.

    Raises ``UsageError`` where it means none, or the model's family has no default.
    """
    body = place.maps(model)
    found = body if spec.target_modules == ("all-linear",) else called(body, _targets(model, spec, body))
    return [name for name in found if place.in_layers(name)]


def _targets(model: nn.Module, spec: PeftSpec, body: list[str]) -> tuple[str, ...]:
    """The ends of names that are adapted: given, or what the ``peft`` library takes for the family."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    if spec.target_modules is not None:
        return spec.target_modules
    known = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(family_of(model))
    # peft's table has gaps (DistilBERT) and patterns; the usual names of query and value fill them.
    choices = [tuple(known)] if isinstance(known, list) else []
    choices += [pair for pair in _QUERY_AND_VALUE if set(pair) <= set(endings(body))]
    if not choices:
        raise UsageError(
            f"no default target modules are known for the family {family_of(model)!r}",
            hint=f"set target_modules to some of: {', '.join(endings(body))}",
        )
    return choices[0]


def _as_peft_reads_them(model: nn.Module, spec: PeftSpec, place: Place) -> list[str]:
    """What to give to peft: the ends of names, or whole names where an end would also match in the head."""
    body = place.maps(model)
    if spec.target_modules == ("all-linear",):
        return body
    targets = _targets(model, spec, body)
    found = called(body, targets)
    in_head = set(linear_maps(model)) - set(body)
    return found if any(ends_with(name, targets) for name in in_head) else sorted(targets)
