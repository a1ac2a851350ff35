"""A keyed mark of each record, by which its owner, and nobody else, knows it again (ledger spec, 11)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto import derive_key, digest
from fedpriv.errors import UsageError
from fedpriv.ledger.ledger import Ledger

__all__ = ["MOST", "Marks", "Overlap", "marks_of", "salt_of"]

MOST: Final = 1 << 20
"""So many marks of one data set are kept: the least ones, which are a uniform sample of all."""

_TELLING: Final = 16
"""With fewer marks in the part that two samples have in common, nothing is said about their overlap."""

_BYTES: Final = 8
_ALL: Final = (1 << 64) - 1
_DIGEST: Final = "fedpriv/ledger/marks/v1"


def salt_of(ledger: Ledger) -> bytes:
    """The key of this ledger's marks (32 bytes), from its signing seed: there is no second secret to keep."""
    return derive_key(ledger.key.seed, salt=b"", info=(b"fedpriv/ledger/salt/v1",))


def marks_of(records: Iterable[bytes], salt: bytes) -> NDArray[np.uint64]:
    """One mark a record, in their order: uint64, shape (records,).

    Args:
        records: each in its canonical form.
        salt: 32 secret bytes; under another one, the marks of the same records have nothing in common.

    >>> one, same, other = marks_of([b"a", b"a", b"b"], bytes(32))
    >>> bool(one == same), bool(one == other)
    (True, False)
    """
    keyed = hashlib.blake2b(key=salt, digest_size=_BYTES, person=b"fedpriv mark v1")
    found = bytearray()
    for record in records:
        one = keyed.copy()
        one.update(record)
        found += one.digest()
    return np.frombuffer(bytes(found), dtype="<u8").astype(np.uint64)


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two sets of records have in common: records, and as a share of the smaller set.

    Both are estimates where one of the sets is a sample; ``telling`` says whether they mean anything.
    """

    shared: int
    share: float
    telling: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """A set of records: its marks, ascending and distinct, or where they are too many the least `MOST`.

    What is kept of a large set is the sample that lies below its largest kept mark, whatever the records
    are (bottom-k sketch), so that two samples can be compared below the smaller of their limits.

    >>> a, b = Marks.of(np.arange(10, dtype=np.uint64)), Marks.of(np.arange(5, 25, dtype=np.uint64))
    >>> a.overlap(b)
    Overlap(shared=5, share=0.5, telling=True)
    >>> a.union(b).count
    25
    """

    kept: NDArray[np.uint64] = field(repr=False)

    @classmethod
    def of(cls, marks: NDArray[np.uint64]) -> Marks:
        """The set of records with these marks, in any order and any number of times.

        Raises:
            UsageError: there is none.
        """
        if not len(marks):
            raise UsageError("The data set holds no record.", hint="Name data with at least one record.")
        ordered = np.sort(marks)  # np.unique takes twenty times as long
        kept = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])][:MOST]
        kept.flags.writeable = False
        return cls(kept)

    @property
    def whole(self) -> bool:
        """Whether every mark is kept."""
        return len(self.kept) < MOST

    @property
    def count(self) -> int:
        """Number of distinct records; an estimate (standard error 0.1 %) where not all marks are kept."""
        return len(self.kept) if self.whole else round((len(self.kept) - 1) / self._part)

    def overlap(self, other: Marks) -> Overlap:
        """What this set and ``other`` have in common."""
        limit = min(self._limit, other._limit)
        mine, theirs = self._below(limit), other._below(limit)
        smaller = min(len(mine), len(theirs))
        both = int(np.count_nonzero(np.isin(mine, theirs, assume_unique=True)))
        exact = self.whole and other.whole
        return Overlap(
            shared=both if exact else round(both / min(self._part, other._part)),
            share=both / smaller if smaller else 0.0,
            telling=exact or smaller >= _TELLING,
        )

    def union(self, other: Marks) -> Marks:
        """The records of both."""
        limit = min(self._limit, other._limit)
        return Marks.of(np.concatenate([self._below(limit), other._below(limit)]))

    def digest(self) -> bytes:
        """SHA-256 of the kept marks, 32 bytes."""
        return digest(_DIGEST, self.kept.astype("<u8").tobytes())

    def name(self, salt: bytes, version: str | None = None) -> str:
        """The name that a data set of these records gets in the ledger of ``salt``: 64 hexadecimal digits."""
        keyed = hashlib.blake2b(key=salt, digest_size=32, person=b"fedpriv name v1")
        keyed.update(self.digest())
        keyed.update(b"" if version is None else b"/" + version.encode())
        return keyed.hexdigest()

    @property
    def _limit(self) -> int:
        """No mark up to here is left out."""
        return _ALL if self.whole else int(self.kept[-1])

    @property
    def _part(self) -> float:
        """The part of all records whose marks are kept."""
        return (self._limit + 1) / (_ALL + 1)

    def _below(self, limit: int) -> NDArray[np.uint64]:
        return self.kept[: int(np.searchsorted(self.kept, np.uint64(limit), side="right"))]
