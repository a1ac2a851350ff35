"""The losses of the records of a batch, each over its own tokens, for the heads of Hugging Face models.

A model's own loss is a mean over the tokens of the batch, so that a long record changes what the others
weigh.  Here record i's loss is what the model's own would be on a batch of record i alone; a record without
targets has loss 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn import functional

from fedpriv.errors import UsageError
from fedpriv.training.frozen_head import FrozenHead

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.training.per_record import Losses

__all__ = [
    "IGNORED",
    "causal_lm",
    "classification",
    "losses_of",
    "next_token_losses",
    "over_own_tokens",
    "seq2seq_lm",
    "token_classification",
]

IGNORED: Final = -100


def classification(model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
    """Losses of texts or images with labels: one class, several classes, or numbers.

    Which of them, the model's configuration says (``problem_type``), else the labels, as in transformers.

    Args:
        model: gives logits of shape (b, classes).
        batch: what the model takes, and ``labels``: (b,) of whole numbers, or (b, classes).

    Returns:
        shape (b,).
    """
    logits, labels = _forward(model, batch)
    kind = getattr(model.config, "problem_type", None) or _problem_type(logits, labels)
    if kind == "regression":
        return (logits - labels.reshape(logits.shape)).square().mean(1)
    if kind == "multi_label_classification":
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
    return functional.cross_entropy(logits, labels.reshape(-1), ignore_index=IGNORED, reduction="none")


def token_classification(model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
    """Losses of texts with a label for each token (or masked token): shape (b,), labels (b, t)."""
    logits, labels = _forward(model, batch)
    return over_own_tokens(logits[:, -labels.shape[1] :], labels)


def causal_lm(model: nn.Module, batch: Mapping[str, Any], *, head: FrozenHead | None = None) -> torch.Tensor:
    """Losses of texts whose next tokens are predicted: shape (b,), labels (b, t), the shift done here.

    A prompt before the text lengthens the logits; its last position then predicts the first token.

    Args:
        head: the model's; with it, and where it is frozen, the logits are never held as a whole.
    """
    return next_token_losses(model, head, lambda: _next_tokens(*_forward(model, batch)))


def next_token_losses(
    model: nn.Module, head: FrozenHead | None, forward: Callable[[], tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    """Losses of texts, shape (b,), from a block of logits at a time where ``head`` allows it.

    Args:
        forward: gives what ``model`` makes of the texts, (b, t, ...), and the token after each, (b, t).
    """
    if head is None or not head.serves(model):
        return over_own_tokens(*forward())
    with head.left_out():
        hidden, targets = forward()
    return head.over_own_tokens(hidden, targets, IGNORED)


def _next_tokens(outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is given at each position, (b, t, ...), and the token after it."""
    prompt = outputs.shape[1] - labels.shape[1]
    if prompt:
        return outputs[:, prompt - 1 : -1], labels
    return outputs[:, :-1], labels[:, 1:]


def seq2seq_lm(model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
    """Losses of pairs of texts: shape (b,), labels (b, t); decoder inputs are the labels shifted right."""
    batch = dict(batch)
    if "decoder_input_ids" not in batch and "decoder_inputs_embeds" not in batch:
        batch["decoder_input_ids"] = _base(model).prepare_decoder_input_ids_from_labels(
            labels=_labels_of(batch)
        )
    logits, labels = _forward(model, batch)
    return over_own_tokens(logits[:, -labels.shape[1] :], labels)


_BY_CLASS: Final = {
    "ForSequenceClassification": classification,
    "ForImageClassification": classification,
    "PooledClassifier": classification,
    "ForTokenClassification": token_classification,
    "ForMaskedLM": token_classification,
    "ForCausalLM": causal_lm,
    "LMHeadModel": causal_lm,
    "ForConditionalGeneration": seq2seq_lm,
}


def losses_of(model: nn.Module) -> Losses:
    """The losses for a Hugging Face model, found by its class; a PEFT model is looked into.

    Raises:
        UsageError: none is known for the class.
    """
    base = _base(model)
    for kind in type(base).__mro__:
        for end, losses in _BY_CLASS.items():
            if kind.__name__.endswith(end):
                encoder_decoder = bool(getattr(base.config, "is_encoder_decoder", False))
                if (losses is seq2seq_lm) == encoder_decoder or losses is classification:
                    return partial(causal_lm, head=FrozenHead.of(model)) if losses is causal_lm else losses
    raise UsageError(
        f"no loss a record is known for a {type(base).__name__}",
        hint="give losses=, a function of (model, batch) that returns one loss a record, shape (records,)",
    )


def _forward(model: nn.Module, batch: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels; the model is not told the labels, so that it computes no loss of its own."""
    labels = _labels_of(batch)
    output = model(**{key: value for key, value in batch.items() if key != "labels"})
    return (output.logits if hasattr(output, "logits") else output[0]), labels


def _labels_of(batch: Mapping[str, Any]) -> torch.Tensor:
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    if not torch.is_tensor(labels):
        raise UsageError(
            "a batch holds no tensor 'labels'",
            hint="let the collator give a dict with labels, or give losses= of your own",
        )
    return labels


def _base(model: nn.Module) -> Any:
    """The transformers model inside a PEFT model, or the model itself."""
    inside: Any = getattr(model, "get_base_model", None)
    return model if inside is None else inside()


def _problem_type(logits: torch.Tensor, labels: torch.Tensor) -> str:
    if logits.shape[1] == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def over_own_tokens(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of each record over its own targets, shape (b,).

    Args:
        logits: shape (b, t, classes).
        labels: shape (b, t), ``IGNORED`` where there is no target; a record without any has loss 0.
    """
    each = functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    count = (labels != IGNORED).sum(1)
    return each.view(labels.shape).sum(1) / count.clamp_min(1)
