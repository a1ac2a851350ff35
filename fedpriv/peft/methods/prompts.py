"""Trained vectors in front of a text: before its embeddings, or before every layer's keys and values."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from fedpriv.errors import UsageError
from fedpriv.peft.methods.library import plain, wrapped
from fedpriv.peft.methods.method import Method
from fedpriv.peft.methods.place import Place
from fedpriv.peft.public_init import start_uniform

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.peft.methods.spec import PeftSpec


class _InFront(Method):
    """What the three have in common: where their parameters are, and how these start."""

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        config: Any = model.config
        # DistilBERT has other names for these, which peft does not look for.
        shape = {
            "token_dim": config.hidden_size,
            "num_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
        }
        common = {
            "task_type": place.task_type,
            "num_virtual_tokens": spec.virtual_tokens,
            "modules_to_save": list(place.heads) or None,
            **({} if "hidden_size" in config.to_dict() else shape),
        }
        adapted = wrapped(model, self._config(spec, common), self.name)
        deviation = float(getattr(config, "initializer_range", None) or 0.02)
        for name, parameter in adapted.named_parameters():
            if not self.sends(name, place):
                continue
            if ".embedding." in name:
                start_uniform(parameter, spec.seed, plain(name), deviation * math.sqrt(3.0))
            elif parameter.dim() == 2:
                start_uniform(parameter, spec.seed, plain(name), 1 / math.sqrt(parameter.shape[1]))
            else:
                parameter.data.zero_()
        return adapted

    def sends(self, name: str, place: Place) -> bool:
        return name.startswith("prompt_encoder.")

    @abstractmethod
    def _config(self, spec: PeftSpec, common: dict[str, Any]) -> Any:
        """The ``peft`` library's configuration."""


class Prompt(_InFront):
    """Trained embeddings before those of the text (Lester et al., 2104.08691).

    They take positions: ``max_length`` and ``virtual_tokens`` together must fit the model.  What reads the
    first position (``pooling = "cls"``, BERT's own pooler) reads a virtual token's, and a mean is over them
    as well.  A decoder's own classification head looks for the last token by its id, which embeddings do not
    have, so that padding would move its result: that is refused, and ``pooling = "mean"`` works.
    """

    name = "prompt"
    options: ClassVar = {"virtual_tokens": 10}
    exact = True
    composition = "the embeddings themselves are sent"
    stored = "peft"

    def _config(self, spec: PeftSpec, common: dict[str, Any]) -> Any:
        import peft

        return peft.PromptTuningConfig(**common)


class PTuning(_InFront):
    """Embeddings before those of the text, made by a small network from trained ones (Liu et al.,
    2103.10385), of ``encoder_width`` inside.  Positions and heads: as for :class:`Prompt`.

    What ``PeftModel.from_pretrained`` reads is the embeddings that the network ends with; the network itself
    is saved beside them.
    """

    name = "p-tuning"
    options: ClassVar = {"virtual_tokens": 10, "encoder_width": 64}
    exact = False
    composition = (
        "the mean of small networks is not the network of mean outputs, where whole updates are summed"
    )
    stored = "both"

    def _config(self, spec: PeftSpec, common: dict[str, Any]) -> Any:
        import peft

        return peft.PromptEncoderConfig(encoder_hidden_size=spec.encoder_width, **common)


class Prefix(_InFront):
    """Trained keys and values before those of every layer (Li and Liang, 2101.00190), without the paper's
    network that makes them, which would be most of an upload.

    They take positions, as for :class:`Prompt`.
    """

    name = "prefix"
    options: ClassVar = {"virtual_tokens": 10}
    exact = True
    composition = "the keys and values themselves are sent"
    stored = "peft"

    def add(self, model: nn.Module, spec: PeftSpec, place: Place) -> nn.Module:
        # Where the classifier does not take them itself, peft hands them to what is below it and applies the
        # head: what transformers' own classifiers would have done, and not what others would.
        taker = model
        if type(model).__module__.startswith("transformers."):
            taker = model.get_submodule(str(model.base_model_prefix))
        if not any("past_key_values" in inspect.signature(m.forward).parameters for m in (model, taker)):
            raise UsageError(
                f"{type(model).__name__} takes no keys and values from outside, which prefix trains",
                hint="use prompt, lora or ffa-lora for this model",
            )
        return super().add(model, spec, place)

    def _config(self, spec: PeftSpec, common: dict[str, Any]) -> Any:
        import peft

        return peft.PrefixTuningConfig(**common)
