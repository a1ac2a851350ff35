"""The files of an adapter by their digests: what a run released at its end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fedpriv.errors import IntegrityError

__all__ = ["AdapterFiles"]

_DOMAIN: Final = b"fedpriv/peft/artifact/1\0"


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """The relative path of each file below an adapter's folder, and the file's SHA-256 in hex.

    >>> AdapterFiles({"a.json": "00" * 32}).digest[:16]
    '66432040172abd47'
    """

    digests: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path) -> AdapterFiles:
        """Those of ``folder``, perhaps none; :class:`IntegrityError` where one cannot be read."""
        found = {}
        try:
            for path in folder.rglob("*"):
                if path.is_file():
                    name = path.relative_to(folder).as_posix()
                    name.encode("utf-8")
                    with path.open("rb") as content:
                        found[name] = hashlib.file_digest(content, "sha256").hexdigest()
        except (OSError, UnicodeEncodeError) as error:
            raise IntegrityError(f"a file of the adapter cannot be read: {error}") from None
        return cls(found)

    @property
    def digest(self) -> str:
        """The digest of the folder (protocols/peft/artifact.md, 4), which follows from those of its files.

        Written from that text and not shared with what saves an adapter: a verification has its own.
        """
        whole = hashlib.sha256(_DOMAIN)
        for name in sorted(self.digests):
            encoded = name.encode("utf-8")
            whole.update(len(encoded).to_bytes(8, "little") + encoded + bytes.fromhex(self.digests[name]))
        return whole.hexdigest()

    def unlike(self, other: AdapterFiles) -> list[str]:
        """The names of files that are not in both, or not the same in both."""
        names = self.digests.keys() | other.digests.keys()
        return sorted(name for name in names if self.digests.get(name) != other.digests.get(name))
