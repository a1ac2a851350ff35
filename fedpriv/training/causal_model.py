"""Causal language models: a decoder with a map to its vocabulary, and its tokenizer."""

from __future__ import annotations

from typing import Any

from fedpriv.errors import UsageError
from fedpriv.training.classifier import check_length
from fedpriv.training.model_place import ModelPlace, quiet
from fedpriv.training.task import evaluating

__all__ = ["load_language_model"]

# By how much logits may move, relative, where a later token is another.  Rounding stays below 1e-5; a model
# that looks ahead moves them by a share of their own size.
_SEES_LATER = 1e-3


def load_language_model(model_id: str, *, max_length: int, revision: str | None = None) -> tuple[Any, Any]:
    """A causal language model in float32 and evaluation mode, and its tokenizer.

    Args:
        model_id: ``package:module/path/in/package``, a local folder, or a Hugging Face identifier.
        max_length: positions that it must take.
        revision: of a Hugging Face model.

    Raises:
        UsageError: the model cannot be found, its checkpoint has no map to the vocabulary, it is too short,
            or it sees later tokens, so that to predict the next one is no task for it.
    """
    place = ModelPlace.of(model_id, revision)
    with quiet():
        config = place.settings()
        tokenizer = place.tokenizer()
        check_length(config, tokenizer, max_length)
        model = _weights(place, config)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.eval()
    _see_nothing_later(model, model_id)
    return model, tokenizer


def _weights(place: ModelPlace, config: Any) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UsageError(
            f"the family {config.model_type!r} of {place.model_id!r} has no causal language model",
            hint="choose a decoder, as of the families llama, gpt2 and qwen3",
        )
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            place.place, config=config, dtype=torch.float32, output_loading_info=True, **place.options
        )
    except (OSError, ValueError, RuntimeError, SafetensorError):
        raise place.unreadable("weights") from None
    if report["missing_keys"]:
        raise UsageError(
            f"the checkpoint {place.model_id!r} lacks {min(report['missing_keys'])!r}, without which it "
            "is no language model",
            hint="choose a checkpoint of a causal language model, with its map to the vocabulary",
        )
    return model


def _see_nothing_later(model: Any, model_id: str) -> None:
    """Refuse a model whose predictions depend on what comes after: it would have seen its targets."""
    import torch

    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 5]]) % int(model.config.vocab_size)
    with evaluating(model), torch.no_grad():
        one, other = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :-1].double()
    if float((one - other).norm()) > _SEES_LATER * float(one.norm()):
        raise UsageError(
            f"{model_id!r} sees the tokens that it is to predict: its attention looks ahead",
            hint="choose a decoder, as of the families llama, gpt2 and qwen3",
        )
