"""What one client keeps of a model to itself, as a file: section 5 of ``protocols/peft/artifact.md``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.peft.manifest import Manifest
from fedpriv.peft.methods import PeftSpec

__all__ = ["KeptPart"]

_FORMAT: Final = "fedpriv-kept/1"
_DOMAIN: Final = b"fedpriv/peft/kept/1\0"
_KEY: Final = "fedpriv"


@dataclass(frozen=True, slots=True, eq=False)
class KeptPart:
    """The parameters of a model that one client keeps, after one of its rounds.

    Attributes:
        spec: what is trained.
        manifest_digest: of the whole model, hexadecimal.
        round: after which these are the values.
        tensors: the kept parameters by their names in the manifest, float32.
    """

    spec: PeftSpec
    manifest_digest: str
    round: int
    tensors: Mapping[str, NDArray[np.float32]]

    @classmethod
    def of(cls, manifest: Manifest, spec: PeftSpec, round_: int, values: NDArray[np.float32]) -> Self:
        """The part that the method of ``spec`` keeps, of its values in the manifest's order.

        Raises ``UsageError`` where the method keeps nothing, or not so many values.
        """
        kept = spec.kind.keeps(manifest, spec)
        if kept is None or values.shape != (int(kept.sum()),):
            raise UsageError(f"{spec.method} does not keep a part of {values.size} values")
        tensors, begin = {}, 0
        for entry, start in zip(manifest.entries, manifest.offsets, strict=True):
            if kept[start]:
                part = values[begin : begin + entry.size]
                tensors[entry.name] = part.astype(np.float32).reshape(entry.shape)
                begin += entry.size
        return cls(spec, manifest.digest(), round_, tensors)

    def values(self) -> NDArray[np.float32]:
        """The values in the manifest's order, float32."""
        return np.concatenate([self.tensors[name].reshape(-1) for name in sorted(self.tensors)])

    def encode(self) -> bytes:
        """A safetensors file; ``decode`` is the inverse."""
        from safetensors.numpy import save

        said = {**self._said(), "digest": self._digest()}
        content: bytes = save(dict(self.tensors), metadata={_KEY: json.dumps(said, sort_keys=True)})
        return content

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """The part of ``encode``'s form; ``IntegrityError`` on anything else, one changed bit included."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(content)
            said = json.loads(_header(content)["__metadata__"][_KEY])
            part = cls(PeftSpec.from_dict(said["spec"]), said["manifest_digest"], said["round"], tensors)
            if said != json.loads(json.dumps({**part._said(), "digest": part._digest()})):
                raise ValueError
            if not tensors or any(tensor.dtype != np.float32 for tensor in tensors.values()):
                raise ValueError
        except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, UsageError):
            raise IntegrityError("it is damaged, or is not a client's own part of a model") from None
        return part

    def _said(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "spec": self.spec.to_dict(),
            "manifest_digest": self.manifest_digest,
            "round": self.round,
        }

    def _digest(self) -> str:
        """SHA-256, in hex, over what is said of the part, and its names and values in their order."""
        whole = hashlib.sha256(_DOMAIN + json.dumps(self._said(), sort_keys=True).encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            whole.update(hashlib.sha256(f"{name}{list(tensor.shape)}".encode()).digest())
            whole.update(hashlib.sha256(np.ascontiguousarray(tensor, dtype="<f4").tobytes()).digest())
        return whole.hexdigest()


def _header(content: bytes) -> Any:
    """The JSON at the start of a safetensors file: 8 bytes of its length, little-endian, before it."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])
