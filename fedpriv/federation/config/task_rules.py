"""What a task and other keys of a configuration get wrong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from fedpriv.errors import ConfigError

if TYPE_CHECKING:
    from fedpriv.federation.config.tables import Data, Model, Peft

__all__ = ["Task", "check_task", "unused_by"]

Task = Literal["text-classification", "image-classification", "causal-lm"]

_IMAGES: Final = "image-classification"

# Keys that a task does not read.
_UNUSED: Final[dict[str, dict[str, set[str]]]] = {
    "text-classification": {"model": {"image_size"}, "data": {"image"}},
    "image-classification": {"model": {"max_length"}, "data": {"text", "format"}},
    "causal-lm": {"model": {"image_size", "pooling"}, "data": {"image", "label", "labels"}},
}

_BEFORE_TEXTS: Final = ("prompt", "prefix", "p-tuning")


def unused_by(task: str) -> dict[str, set[str]]:
    """The keys, by table, that do not apply to ``task``, and are not written out."""
    return _UNUSED[task]


def check_task(task: str, model: Model, data: Data, peft: Peft) -> None:
    """Refuse keys that are given and do not apply, and methods for other inputs."""
    for name, table in (("model", model), ("data", data)):
        for key in sorted(_UNUSED[task].get(name, set()) & table.model_fields_set):
            raise ConfigError(
                f"`{name}.{key}` is set, and it does not apply to the task {task!r}",
                key=f"{name}.{key}",
                hint="leave it out, or set `task` to what the records are",
            )
    if task == _IMAGES and peft.method in _BEFORE_TEXTS:
        raise ConfigError(
            f"`peft.method` is {peft.method!r}, which trains what stands before a text, and the records are "
            "images",
            key="peft.method",
            hint='use `method = "deep-prompt"`',
        )
    if task != _IMAGES and peft.method == "deep-prompt":
        raise ConfigError(
            "`peft.method` is 'deep-prompt', which is for images, and the records are texts",
            key="peft.method",
            hint='use `method = "prompt"`, or `task = "image-classification"`',
        )
