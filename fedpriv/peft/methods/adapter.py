"""Small networks between the layers of a model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

from fedpriv.errors import UsageError
from fedpriv.peft.methods.method import Method, mark
from fedpriv.peft.methods.place import Place, ends_with, family_of
from fedpriv.peft.methods.sides import replace, sides
from fedpriv.peft.public_init import start_uniform

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec

PLACEMENTS: Final = ("pfeiffer", "houlsby")

# What a block's attention and its feed-forward part end with.
_OUTPUTS: Final = (
    ("attention.output.dense", "output.dense"),  # BERT, RoBERTa, ELECTRA and their kin
    ("attention.out_lin", "ffn.lin2"),  # DistilBERT
    ("attn.c_proj", "mlp.c_proj"),  # GPT-2
    ("self_attn.o_proj", "mlp.down_proj"),  # Llama, Mistral, Qwen 2 and 3
    ("attention.o_proj", "mlp.fc2"),  # ViT, DINOv2
    ("attention.o_proj", "mlp.down_proj"),  # the largest DINOv2
)


class Adapter(Method):
    """A bottleneck behind the feed-forward part of every layer (``pfeiffer``, Pfeiffer et al., 2005.00247),
    or behind its attention as well (``houlsby``, Houlsby et al., 1902.00751), before the residual sum.

    Each place has a module of its own.  ``up`` starts at zero, so that the model starts as it was; ``down``
    comes from the public seed: with both at zero neither would ever get a gradient.  For BERT, RoBERTa,
    DistilBERT, GPT-2, Llama, ViT, DINOv2 and families whose blocks name their parts as these do.
    """

    name = "adapter"
    options: ClassVar = {"placement": "pfeiffer", "bottleneck": 16, "layers": None}
    exact = False
    composition = (
        "the mean of bottlenecks is not the bottleneck of mean weights, where whole updates are summed"
    )

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        import torch

        from fedpriv.peft.methods.bottleneck import Bottleneck

        inner = spec.bottleneck or self.options["bottleneck"]
        for name in _places(model, spec, place):
            dense = model.get_submodule(name)
            with torch.random.fork_rng(devices=[]):  # torch draws a start that is not used
                module = Bottleneck(dense, sides(dense)[1], inner)
            bound = 1 / math.sqrt(module.down.in_features)
            start_uniform(module.down.weight, spec.seed, f"{name}.down.weight", bound)
            for zero in (module.down.bias, module.up.weight, module.up.bias):
                zero.data.zero_()
            replace(model, name, module)
        return mark(model, self)

    def sends(self, name: str, place: Place) -> bool:
        return name.rsplit(".", 2)[-2] in ("down", "up")


def _places(model: nn.Module, spec: PeftSpec, place: Place) -> list[str]:
    body = place.maps(model)
    for attention, feed_forward in _OUTPUTS:
        behind_attention = [name for name in body if ends_with(name, (attention,))]
        behind_both = [name for name in body if ends_with(name, (attention, feed_forward))]
        if behind_attention and len(behind_both) == 2 * len(behind_attention):
            found = behind_both
            if spec.placement == "pfeiffer":
                found = [name for name in behind_both if name not in behind_attention]
            return [name for name in found if place.in_layers(name)]
    raise UsageError(
        f"no places for adapters are known in the family {family_of(model)!r}",
        hint="use lora, ffa-lora or fed-sb with target_modules",
    )
