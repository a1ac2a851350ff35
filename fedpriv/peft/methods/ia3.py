"""Learned factors on activations."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from fedpriv.errors import UsageError
from fedpriv.peft.methods.library import wrapped
from fedpriv.peft.methods.method import Method
from fedpriv.peft.methods.place import Place, called, endings, ends_with, family_of

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec

# Where the peft library's table has a gap.
_MORE_FAMILIES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "distilbert": (("k_lin", "v_lin", "ffn.lin2"), ("ffn.lin2",)),
    "dinov2": (("k_proj", "v_proj", "mlp.fc2"), ("mlp.fc2",)),
    "vit": (("k_proj", "v_proj", "mlp.fc2"), ("mlp.fc2",)),
}


class Ia3(Method):
    """A vector of factors, one at the start, on what ``target_modules`` give, and on what those of them read
    that are ``feedforward_modules`` (Liu et al., 2205.05638, section 3.3).

    By default the keys, the values and the input of the last feed-forward map, as the ``peft`` library has
    them for the family.
    """

    name = "ia3"
    options: ClassVar = {"target_modules": None, "feedforward_modules": None, "layers": None}
    exact = True
    composition = (
        "each factor multiplies a row or a column of a frozen weight, and the mean of the factors its mean"
    )
    stored = "peft"

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        import peft

        body = place.maps(model)
        targets, feed_forward = _choice(model, spec, body)
        found = [name for name in called(body, targets) if place.in_layers(name)]
        config = peft.IA3Config(
            task_type=place.task_type,
            target_modules=found,
            feedforward_modules=[name for name in found if ends_with(name, feed_forward)],
            modules_to_save=list(place.heads) or None,
        )
        return wrapped(model, config, "IA3")

    def sends(self, name: str, place: Place) -> bool:
        return ".ia3_l." in name


def _choice(model: nn.Module, spec: PeftSpec, body: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ends of names of all targets, and of those among them whose input is scaled."""
    from peft.utils import constants

    family = family_of(model)
    if spec.target_modules is not None:
        targets, feed_forward = spec.target_modules, spec.feedforward_modules or ()
    elif spec.feedforward_modules is not None:
        raise UsageError("feedforward_modules is given without target_modules", hint="give both, or neither")
    elif family in _MORE_FAMILIES:
        targets, feed_forward = _MORE_FAMILIES[family]
    elif family in constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING:
        targets = tuple(constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING[family])
        feed_forward = tuple(constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(family, ()))
    else:
        raise UsageError(
            f"no default target modules are known for the family {family!r}",
            hint=f"set target_modules to some of: {', '.join(endings(body))}",
        )
    called(called(body, targets), feed_forward)  # refused where one of these is not among the targets
    return targets, feed_forward
