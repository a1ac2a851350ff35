"""A client's own adapter: the shared one, as a server hands it out, with the part that the client keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.local_file import PRIVATE, replace_file, writable
from fedpriv.peft.artifact import PEFT_STATE, STATE, digest_of, read
from fedpriv.peft.kept_part import KeptPart
from fedpriv.peft.methods.library import plain

__all__ = ["join"]

_WHAT: Final = "client's own adapter"
_OWNER: Final = 0o700


def join(adapter: str | Path, kept: KeptPart, directory: str | Path) -> str:
    """Write the adapter in the folder ``adapter`` with a client's own part in it, and return its digest.

    The directory must be empty or absent; it and its files can be read by their owner only, as they hold
    what the client keeps to itself.  No base model is needed.

    Raises ``UsageError`` where the part belongs to another model or the directory holds files,
    ``IntegrityError`` where the adapter is not whole.
    """
    source, out = Path(adapter), Path(directory)
    record = read(source)
    if (record.spec.to_dict(), record.manifest.digest()) != (kept.spec.to_dict(), kept.manifest_digest):
        raise UsageError(
            f"the adapter in {source} and the client's own part are of different models",
            hint="take both from one run",
        )
    files = {path.name: path.read_bytes() for path in sorted(source.iterdir()) if path.is_file()}
    if not {PEFT_STATE, STATE} & set(files):
        raise IntegrityError(f"{source} holds no parameters", hint="was the folder copied as a whole?")
    for name in {PEFT_STATE, STATE} & set(files):
        try:
            files[name] = _joined(files[name], kept)
        except ValueError:
            raise IntegrityError(
                f"{source / name} is damaged, or does not hold the parameters that the record beside it lists"
            ) from None
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder", hint="choose a new folder for the adapter")
    with writable(out, _WHAT):
        out.mkdir(mode=_OWNER, parents=True, exist_ok=True)
        out.chmod(_OWNER)
    for name, content in files.items():
        replace_file(out / name, content, what=_WHAT, mode=PRIVATE)
    return digest_of(out)


def _joined(content: bytes, kept: KeptPart) -> bytes:
    """A file of parameters with the kept ones in the place of the server's; ``ValueError`` where it lacks
    one of them, or is damaged."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError from error
    for name, values in kept.tensors.items():
        stored = name if name in tensors else plain(name)
        if stored not in tensors or tuple(tensors[stored].shape) != values.shape:
            raise ValueError
        tensors[stored] = torch.from_numpy(values.copy()).to(tensors[stored].dtype)
    joined: bytes = save(tensors, metadata={"format": "pt"})
    return joined
