"""The task that a configuration names: the one place that knows all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from fedpriv.federation.config import Config

if TYPE_CHECKING:
    from fedpriv.peft import PeftSpec
    from fedpriv.training import Task

__all__ = ["RecordColumns", "record_columns", "task_of"]


class RecordColumns(TypedDict):
    """The arguments of :func:`fedpriv.data.load` that say what a record is."""

    text: str
    image: str | None
    label: str | None


def record_columns(config: Config) -> RecordColumns:
    """Which columns make a record of this task."""
    options, images = config.data, config.task == "image-classification"
    return {
        "text": options.text,
        "image": (options.image or "image") if images else None,
        "label": None if config.task == "causal-lm" else options.label,
    }


def task_of(config: Config, spec: PeftSpec, model: str, labels: tuple[str, ...]) -> Task:
    """The model at ``model`` with the parameters of ``spec`` attached, and what is to be learned with it.

    Args:
        config: the configuration.
        spec: what is trained.
        model: where the model is.
        labels: names of the classes; empty for a language model.

    Raises:
        UsageError: the model cannot be used as the configuration describes it.
    """
    from fedpriv import peft, training

    options, seed = config.model, config.run.seed
    match config.task:
        case "text-classification":
            network, tokenizer = training.load_classifier(
                model,
                label_names=labels,
                max_length=options.max_length + spec.positions,  # virtual tokens take positions, too
                revision=options.revision,
                pooling=options.pooling,
                seed=seed,
            )
            network = peft.attach(network, spec)
            return training.SequenceClassification(network, tokenizer, options.max_length)
        case "image-classification":
            network, pixels = training.load_image_classifier(
                model,
                label_names=labels,
                image_size=options.image_size,
                revision=options.revision,
                pooling=options.pooling,
                seed=seed,
            )
            return training.ImageClassification(peft.attach(network, spec), pixels)
        case "causal-lm":
            network, tokenizer = training.load_language_model(
                model, max_length=options.max_length + spec.positions, revision=options.revision
            )
            network = peft.attach(network, spec)
            return training.CausalLanguageModel(network, tokenizer, options.max_length)
