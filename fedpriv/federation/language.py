"""What a run measures of a language model beside accuracy: perplexity, and what the model writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

if TYPE_CHECKING:
    from fedpriv.federation.workplace import Workplace
    from fedpriv.training import CausalLanguageModel, Continuations, Encoded, Metrics

__all__ = ["base_figures", "check_prompts", "continuations_of", "kept_figures", "measured_of"]

_KEPT = ("base_perplexity", "base_continuations")
"""Keys of ``run.json`` that say how the base model did, where it is a language model."""


def check_prompts(work: Workplace) -> None:
    """Refuse, before anything is spent, to ask for continuations of texts that are too short.

    Raises:
        DataError: no held-out text is long enough.
    """
    if work.config.training.generate is not None and len(work.test):
        _prompts(work, work.config.training.generate)


def continuations_of(work: Workplace) -> Continuations | None:
    """What the model writes after the beginnings of held-out texts; None where this is not asked for.

    Raises:
        DataError: no held-out text is long enough.
    """
    from fedpriv.training import Continuations

    count = work.config.training.generate
    return None if count is None else Continuations.of(*_prompts(work, count))


def base_figures(work: Workplace, base: Metrics) -> dict[str, Any]:
    """What ``run.json`` says of the base model beside its accuracy; empty for other tasks."""
    if base.perplexity is None:
        return {}
    continued = continuations_of(work)
    return {
        "base_perplexity": base.perplexity,
        **({} if continued is None else {"base_continuations": continued.to_dict()}),
    }


def measured_of(work: Workplace) -> str:
    """What is measured on held-out records, with its verb."""
    if work.config.task != "causal-lm":
        return "accuracy is measured"
    if work.config.training.generate is None:
        return "perplexity and accuracy are measured"
    return "perplexity and accuracy are measured, and what the model writes after their beginnings,"


def kept_figures(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same, out of a ``run.json``."""
    return {key: facts[key] for key in _KEPT if key in facts}


def _prompts(work: Workplace, count: int) -> tuple[CausalLanguageModel, Encoded, NDArray[np.int64]]:
    """The task, the held-out texts, and which of them are continued."""
    from fedpriv.training import CausalLanguageModel, Encoded, prompts_of

    if not isinstance(work.task, CausalLanguageModel) or not isinstance(work.test, Encoded):
        raise UsageError("only a language model goes on with texts")
    return work.task, work.test, prompts_of(work.test, count)
