"""Trained tokens at the input of every block of a vision transformer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

from fedpriv.errors import UsageError
from fedpriv.peft.methods.method import Method, mark
from fedpriv.peft.methods.place import Place, family_of
from fedpriv.peft.methods.sides import replace
from fedpriv.peft.public_init import start_uniform

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec

_FAMILIES: Final = ("vit", "dinov2")
"""Families whose blocks take one tensor, a class token and then the patches, and give one."""

_NAME: Final = "virtual_tokens"


class DeepPrompt(Method):
    """Embeddings between the class token and the patches, others at the input of every block, where they
    take the place of those of the block below (VPT-deep; Jia et al., 2203.12119, section 3.2).

    They have no position embedding, and the head does not read them.  They start as the paper's do, uniform
    within sqrt(6 / (3 p^2 + d)) for patches of side p and hidden states of width d, from the public seed.
    """

    name = "deep-prompt"
    options: ClassVar = {"virtual_tokens": 10, "layers": None}
    exact = True
    composition = "the embeddings themselves are sent"

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        from fedpriv.peft.methods.prompted_block import PromptedBlock

        config, blocks = model.config, _blocks(model)
        tokens = spec.virtual_tokens or self.options["virtual_tokens"]
        width, patch = int(config.hidden_size), int(config.patch_size)  # type: ignore[union-attr, arg-type]
        for name in blocks:
            if place.in_layers(f"{name}.{_NAME}"):
                block = PromptedBlock(model.get_submodule(name), tokens, width)
                bound = math.sqrt(6.0 / (3 * patch**2 + width))
                start_uniform(block.virtual_tokens, spec.seed, f"{name}.{_NAME}", bound)
                replace(model, name, block)
        return mark(model, self)

    def sends(self, name: str, place: Place) -> bool:
        return name.endswith(f".{_NAME}")


def _blocks(model: nn.Module) -> list[str]:
    """Names of the model's blocks, from the lowest on."""
    from torch import nn

    if family_of(model) not in _FAMILIES:
        raise UsageError(
            f"deep-prompt is for vision transformers ({', '.join(_FAMILIES)}), not for "
            f"{type(model).__name__}",
            hint="use prompt for texts, and lora or ffa-lora for other models of images",
        )
    depth = model.config.num_hidden_layers  # type: ignore[union-attr]
    (found,) = (
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    )
    return [f"{found}.{number}" for number in range(len(model.get_submodule(found)))]  # type: ignore[arg-type]
