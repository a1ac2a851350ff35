"""Section 12: how well a language model predicts, and what it writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedpriv.errors import IntegrityError

__all__ = ["language", "metric_of"]


def language(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a result says of a language model, before training and after; empty for other tasks.

    Raises:
        IntegrityError: ``result.json`` holds something else in its place.
    """
    if "perplexity" not in result:
        return {}
    try:
        found: dict[str, Any] = {key: _perplexity(result[key]) for key in ("perplexity", "base_perplexity")}
        if "continuations" in result:
            found |= {key: _continuations(result[key]) for key in ("continuations", "base_continuations")}
    except (KeyError, TypeError, ValueError):
        raise IntegrityError(
            "result.json: its figures of a language model are not what a run writes"
        ) from None
    return {"language": found}


def metric_of(result: Mapping[str, Any], *, shared_alone: bool = False) -> str:
    """What an accuracy is the share of; ``shared_alone``: by the parts of a model that clients do not keep to
    themselves."""
    alone = ", by the shared parts alone, without what each client keeps to itself" if shared_alone else ""
    if "perplexity" in result:
        return f"next tokens guessed right, of held-out texts{alone}"
    return f"accuracy on held-out data{alone}"


def _perplexity(value: object) -> float:
    if not isinstance(value, int | float) or not value >= 1:
        raise ValueError
    return float(value)


def _continuations(value: Mapping[str, Any]) -> dict[str, Any]:
    prompts = value["prompts"]
    if type(prompts) is not int or prompts < 1:
        raise ValueError
    return {"prompts": prompts, "rouge_l": float(value["rouge_l"]), "distinct_2": float(value["distinct_2"])}
