"""The in-toto Statement v1 of a bundle: which adapter, and the run's files, word for word.

The adapter is named twice.  The subject ``adapter`` has the digest that the run's FINISH row holds: SHA-256
of the listing of protocols/peft/artifact.md, section 4, which is no file that could be hashed as it is.  The
subjects ``adapter/NAME`` have the plain SHA-256 of each file, which any in-toto tool can check, and from
which the first one follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fedpriv.crypto import canonical_json
from fedpriv.crypto.strict_json import parse
from fedpriv.errors import DecodeError, IntegrityError
from fedpriv.report.adapter_files import AdapterFiles
from fedpriv.report.rundir import EVIDENCE, NEEDED

__all__ = ["PAYLOAD_TYPE", "PREDICATE_TYPE", "STATEMENT_TYPE", "Statement"]

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://fedpriv.example/privacy-evidence/v1"
"""A name and no address: nobody can own a host under ``.example`` (RFC 2606), so nothing is ever there."""

_ADAPTER: Final = "adapter"
_OVER: Final = (
    "the listing of names and SHA-256 of the subjects adapter/*: protocols/peft/artifact.md, section 4"
)
_MOST_ADAPTER_FILES: Final = 64
_LONGEST_NAME: Final = 256


@dataclass(frozen=True, slots=True)
class Statement:
    """``files`` has contents by name, out of a bundle's closed set, ``adapter`` the digests of its files."""

    files: Mapping[str, bytes]
    adapter: AdapterFiles

    def encode(self) -> bytes:
        """The statement as canonical JSON; :class:`IntegrityError` where a file is not UTF-8."""
        return canonical_json(self._value())

    @classmethod
    def decode(cls, payload: bytes) -> Statement:
        """The statement that ``payload`` is; what it says is not believed yet.

        Raises:
            DecodeError: it is none, or has a subject, a file or a field more or less than it should.
        """
        try:
            value = parse(payload)
        except DecodeError as error:
            raise DecodeError(f"the statement is not valid JSON: {error}") from None
        if not isinstance(value, dict) or value.get("_type") != STATEMENT_TYPE:
            raise DecodeError(f"the payload is not an in-toto statement of type {STATEMENT_TYPE}")
        if value.get("predicateType") != PREDICATE_TYPE:
            raise DecodeError(f"the statement's predicateType is not {PREDICATE_TYPE}")
        statement = cls(_files(value.get("predicate")), _adapter(value.get("subject")))
        # What was understood must be all that it says: no subject, file or field more, and the digest right.
        if statement._value() != value:
            raise DecodeError(
                "the statement has fields that do not belong there, or its subject 'adapter' does not "
                "follow from the files of the adapter"
            )
        return statement

    def _value(self) -> dict[str, Any]:
        whole = {"name": _ADAPTER, "digest": {"sha256": self.adapter.digest}, "annotations": {"over": _OVER}}
        parts = [
            {"name": f"{_ADAPTER}/{name}", "digest": {"sha256": self.adapter.digests[name]}}
            for name in sorted(self.adapter.digests)
        ]
        return {
            "_type": STATEMENT_TYPE,
            "subject": [whole, *parts],
            "predicateType": PREDICATE_TYPE,
            "predicate": {"files": {name: _text(name, content) for name, content in self.files.items()}},
        }


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise IntegrityError(f"{name} is not UTF-8") from None


def _files(predicate: object) -> dict[str, bytes]:
    files = predicate.get("files") if isinstance(predicate, dict) else None
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise DecodeError("the statement's predicate is not an object of files, each a text by its name")
    for name in files:
        if name not in EVIDENCE:
            raise DecodeError(f"the bundle holds {name[:80]!r}, which is no file of its closed set")
    for name in NEEDED:
        if name not in files:
            raise DecodeError(f"the bundle lacks {name}")
    return {name: text.encode("utf-8") for name, text in files.items()}


def _adapter(subjects: object) -> AdapterFiles:
    """The files of the adapter, read from all subjects but the first."""
    if not isinstance(subjects, list) or not 2 <= len(subjects) <= 1 + _MOST_ADAPTER_FILES:
        raise DecodeError(f"the subjects are not the adapter and 1 to {_MOST_ADAPTER_FILES} files of it")
    digests = {}
    for subject in subjects[1:]:
        name = subject.get("name") if isinstance(subject, dict) else None
        digest = subject.get("digest") if isinstance(subject, dict) else None
        sha256 = digest.get("sha256") if isinstance(digest, dict) else None
        if not isinstance(name, str) or not _is_path(name):
            raise DecodeError("a subject is not named as a file of the adapter is: adapter/NAME")
        if not isinstance(sha256, str) or not _is_sha256(sha256):
            raise DecodeError(f"the subject {name!r} has no SHA-256 in lower-case hexadecimal")
        digests[name.removeprefix(f"{_ADAPTER}/")] = sha256
    return AdapterFiles(digests)


def _is_path(name: str) -> bool:
    """Whether a subject's name leads below ``adapter`` wherever it is unpacked."""
    first, *rest = name.split("/")
    plain = name.isprintable() and len(name) <= _LONGEST_NAME and not set(name) & {"\\", ":"}
    return plain and first == _ADAPTER and bool(rest) and not {"", ".", ".."} & set(rest)


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
