"""What the caller knows from elsewhere, held against what was handed in (clause 4.12).

These checks are no part of a report, which is made by somebody who does not know what its reader knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedpriv.errors import UsageError
from fedpriv.report.adapter_files import AdapterFiles
from fedpriv.report.check import Check
from fedpriv.report.checks.agreement import equal
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.wording import count

__all__ = ["Outside"]

_MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Outside:
    """``signer`` is the ledger's public key, ``head`` the hash of a row that its chain must hold (32 bytes in
    hex each), ``adapter`` the files of the adapter in use.  What is not known is ``None``."""

    signer: str | None = None
    head: str | None = None
    adapter: AdapterFiles | None = None

    @classmethod
    def of(cls, signer: str | None, head: str | None, adapter: str | Path | None) -> Outside:
        """As given by a caller; :class:`UsageError` where one of them cannot be what it is called."""
        files = None
        if adapter is not None:
            if not Path(adapter).is_dir():
                raise UsageError(f"there is no adapter's folder at {adapter}", hint="name the folder itself")
            files = AdapterFiles.of(Path(adapter))
        return cls(
            _hexadecimal(signer, "a signer's key", "it stands as server_key in run.json"),
            _hexadecimal(head, "the head of a chain", "section 15 of a report shows it"),
            files,
        )

    def checks(self, rundir: RunDirectory, history: History) -> Iterator[Check]:
        """One check for each thing that is known."""
        if self.signer is not None:
            key, holds = rundir.run["server_key"].lower(), "it is the key that was given"
            yield equal("signer", "run.json, server_key", key, self.signer, holds)
        if self.head is not None:
            yield self._head(rundir.row_hashes)
        if self.adapter is not None:
            yield self._adapter(self.adapter, rundir, history)

    def _head(self, hashes: list[object]) -> Check:
        where = "ledger.json, head"
        if self.head not in hashes:
            what = "no row has the given hash: rows were cut off the end, or it is another history"
            return Check("head", where, "failed", what)
        after = len(hashes) - 1 - hashes.index(self.head)
        what = f"{count(after, 'row')} after the given head" if after else "the given head is the last row"
        return Check("head", where, "ok", what)

    @staticmethod
    def _adapter(given: AdapterFiles, rundir: RunDirectory, history: History) -> Check:
        recorded = history.finish.details.get("adapter") if history.finish else None
        if given.digests and given.digest == recorded:
            return Check("adapter in use", "the given folder", "ok", "it is the adapter of this run")
        unlike = given.unlike(rundir.adapter or AdapterFiles({}))
        named = ", ".join(unlike[:_MOST_NAMES]) + (" and more" if len(unlike) > _MOST_NAMES else "")
        what = f"it is not the adapter of this run{': ' + named if named else ''}"
        return Check("adapter in use", "the given folder", "failed", what)


def _hexadecimal(text: str | None, what: str, hint: str) -> str | None:
    if text is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise UsageError(f"{text[:80]!r} is not {what}: that is 64 hexadecimal digits", hint=hint)
    return None if text is None else text.lower()
