"""Classifiers of texts: a base model with a head, and its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedpriv.errors import UsageError
from fedpriv.training.model_place import ModelPlace, quiet
from fedpriv.training.new_head import check_head, label_settings, with_new_weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_length", "load_classifier"]


def load_classifier(
    model_id: str,
    *,
    label_names: Sequence[str],
    max_length: int,
    revision: str | None = None,
    pooling: str | None = None,
    seed: int = 0,
) -> tuple[nn.Module, Any]:
    """A sequence classifier in float32 and evaluation mode, and its tokenizer.

    ``model_id`` is ``package:module/path/in/package``, a local folder, or a Hugging Face identifier
    (``revision`` applies to that one only).  ``pooling=None`` takes the architecture's own classification
    model; ``"cls"`` and ``"mean"`` put one linear layer on the first, or on the mean, of the last hidden
    states (``PooledClassifier``). Weights that the checkpoint lacks, as a new head's, are derived from the
    public ``seed`` and are identical on every client.  No code from the checkpoint is run.

    Raises ``UsageError`` where the model cannot be found, has no such head, or is too short for
    ``max_length``.
    """
    check_head(label_names, pooling)
    place = ModelPlace.of(model_id, revision)
    with quiet():
        config = place.settings(**label_settings(label_names))
        if getattr(config, "is_encoder_decoder", False):
            raise UsageError(f"{model_id!r} is an encoder-decoder, which is not supported as a classifier")
        tokenizer = place.tokenizer()
        check_length(config, tokenizer, max_length)
        model = _with_head(place, config, pooling, seed)
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def check_length(config: Any, tokenizer: Any, max_length: int) -> None:
    """Raises ``UsageError`` where the model cannot read so many tokens."""
    # RoBERTa counts positions from its padding index, so its tokenizer knows the true limit, two below.
    limit = min(
        int(getattr(config, "max_position_embeddings", None) or 10**9), int(tokenizer.model_max_length)
    )
    if not 1 <= max_length <= limit:
        raise UsageError(
            f"max_length is {max_length}, but the model reads at most {limit} tokens"
            if max_length > limit
            else f"max_length must be at least 1, not {max_length}"
        )


def _with_head(place: ModelPlace, config: Any, pooling: str | None, seed: int) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    from fedpriv.training.pooling import PooledClassifier

    if pooling is None and config.model_type not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise UsageError(
            f"the family {config.model_type!r} of {place.model_id!r} has no sequence-classification head",
            hint='set pooling = "mean", or choose another model',
        )

    def load() -> tuple[Any, set[str]]:
        if pooling is not None:
            return PooledClassifier.load(place.place, config, pooling, place.options)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            place.place, config=config, dtype=torch.float32, output_loading_info=True, **place.options
        )
        return model, set(report["missing_keys"])

    deviation = float(getattr(config, "initializer_range", None) or 0.02)
    return with_new_weights(place, load, deviation=deviation, seed=seed)
