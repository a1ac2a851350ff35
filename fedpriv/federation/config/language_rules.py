"""What a language model and other keys of a configuration get wrong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.errors import ConfigError

if TYPE_CHECKING:
    from fedpriv.federation.config.tables import Model, Partition, Training

__all__ = ["check_language"]

_BY_LABEL = ("dirichlet", "shards")


def check_language(task: str, model: Model, partition: Partition, training: Training) -> None:
    """Refuse partitions by labels where there are none, and continuations where there are no texts for
    them."""
    if task != "causal-lm":
        if training.generate is not None:
            raise ConfigError(
                f"`training.generate` is set, and the task {task!r} generates no text",
                key="training.generate",
                hint='leave it out, or set `task = "causal-lm"`',
            )
        return
    if partition.method in _BY_LABEL:
        raise ConfigError(
            f"`partition.method` is {partition.method!r}, which goes by labels, and the task 'causal-lm' has "
            "none",
            key="partition.method",
            hint='use `method = "column"`, "groups", "iid" or "quantity"',
        )
    if training.generate is None:
        return
    from fedpriv.training import CONTINUED, PROMPT

    if model.max_length < PROMPT + CONTINUED:
        raise ConfigError(
            f"`training.generate` needs texts of {PROMPT + CONTINUED} tokens, and `model.max_length` is "
            f"{model.max_length}",
            key="model.max_length",
            hint=f"raise it to {PROMPT + CONTINUED} or more, or leave `training.generate` out",
        )
