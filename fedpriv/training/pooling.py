"""Classifiers with one linear layer on pooled hidden states: of texts, for any encoder or decoder of
transformers, and of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


# transformers is not type-checked here, so its classes are Any to mypy.
class PooledClassifier(PreTrainedModel):  # type: ignore[misc]
    """``encoder`` (the base model) and ``classifier`` (a linear layer on the pooled last hidden states).

    Many published encoders were trained for the mean of their hidden states and come with no pooler, or with
    one that was never trained.  The pooled vector is standardised (layer normalisation without weights).
    Nothing here mixes records: both the mean and the normalisation are over a record's own numbers.
    """

    base_model_prefix = "encoder"
    main_input_name = "input_ids"

    def __init__(self, config: Any, encoder: nn.Module, pooling: str) -> None:
        super().__init__(config)
        self.encoder = encoder
        self.pooling = pooling
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    @classmethod
    def load(
        cls, place: Path | str, config: Any, pooling: str, options: dict[str, Any]
    ) -> tuple[PooledClassifier, set[str]]:
        """The classifier around a pretrained encoder, and the names of the weights that are new."""
        # BERT's own pooler would stay unused, and unused parameters cannot be trained.
        bare = {} if config.model_type not in _HAVE_POOLER else {"add_pooling_layer": False}
        encoder, report = AutoModel.from_pretrained(
            place, config=config, dtype=torch.float32, output_loading_info=True, **bare, **options
        )
        missing = {f"encoder.{name}" for name in report["missing_keys"]}
        return cls(config, encoder, pooling), missing | {"classifier.weight", "classifier.bias"}

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:
        """Logits of shape (b, labels) for token ids and mask of shape (b, length), padded on the right."""
        options.pop("return_dict", None)
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **options)[0]
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        elif attention_mask is None:
            pooled = hidden.mean(dim=1)
        else:
            weight = attention_mask.to(hidden.dtype).unsqueeze(-1)
            pooled = (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1.0)
        return self._classified(pooled, labels)

    def _classified(self, pooled: torch.Tensor, labels: torch.Tensor | None) -> SequenceClassifierOutput:
        # Without weights of its own: every record's features get the same length, so that clipping treats
        # records alike.
        logits = self.classifier(nn.functional.layer_norm(pooled, pooled.shape[-1:]))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class PooledImageClassifier(PooledClassifier):
    """The same for images, whose hidden states are a class token's and then those of the patches.

    ``cls`` reads the former, ``mean`` the mean of the latter.
    """

    main_input_name = "pixel_values"

    def forward(  # type: ignore[override]
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **options: Any
    ) -> SequenceClassifierOutput:
        """Logits of shape (b, labels) for pixels of shape (b, 3, height, width)."""
        options.pop("return_dict", None)
        hidden = self.encoder(pixel_values=pixel_values, **options)[0]
        return self._classified(hidden[:, 0] if self.pooling == "cls" else hidden[:, 1:].mean(dim=1), labels)


_HAVE_POOLER = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "data2vec-text",
        "ernie",
        "roberta",
        "vit",
        "xlm-roberta",
        "xlm-roberta-xl",
    }
)
