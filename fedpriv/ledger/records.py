"""Which data set records belong to, and so whose budget they spend (protocols/ledger/spec.md, 11).

The ledger's owner keeps the marks of every data set's records.  Records of which it has one in a hundred are
that data set, reordered, relabelled, grown, cut or split otherwise: they spend from its budget, and are its
own from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from fedpriv.errors import UsageError
from fedpriv.ledger.body import Kind, check_dataset
from fedpriv.ledger.budget import Spent
from fedpriv.ledger.known import Known, all_known, named_records, records_in
from fedpriv.ledger.ledger import Ledger
from fedpriv.ledger.marks import Marks, Overlap, salt_of
from fedpriv.ledger.marks_file import MarksFolder

__all__ = ["Other", "Recognised", "announce", "check_resumed", "first_seen", "recognise", "remember"]

_LEAST_SHARE: Final = 0.01
_LONGEST_VERSION: Final = 64


@dataclass(frozen=True, slots=True)
class Other:
    """Another data set of the ledger that has some of the records, with a budget of its own.

    Whoever is behind a shared record is behind both data sets: what the two may lose adds up, ε and δ.
    """

    dataset: str
    name: str
    version: str | None
    shared: int
    budget: float
    spent: float

    def to_dict(self) -> dict[str, object]:
        """As plain JSON values, and as a PLAN row holds it."""
        return {
            "dataset": self.dataset,
            "name": self.name,
            "version": self.version,
            "shared": self.shared,
            "budget": self.budget,
            "spent": self.spent,
        }


@dataclass(frozen=True, slots=True)
class Recognised:
    """Whose budget records spend.

    Attributes:
        dataset: the data set's name in the ledger, 16 to 128 hexadecimal digits.
        marks: of the records.
        version: what their owner calls this version of the data, ``None`` where there is one only.
        named: whether the owner gave the name, so that it is not computed.
        spent: what the data set has lost; ``None`` where the ledger does not know it, or nobody asked.
        name: what the ledger calls it, for people; ``None`` where the ledger does not know it.
        shared: how many of the records it has already.
        others: other data sets of the ledger that have some of them.
    """

    dataset: str
    marks: Marks = field(repr=False)
    version: str | None = None
    named: bool = False
    spent: Spent | None = None
    name: str | None = None
    shared: int = 0
    others: tuple[Other, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the ledger has a budget for the data set."""
        return self.name is not None

    @property
    def records(self) -> int:
        """Number of distinct records."""
        return self.marks.count

    @property
    def new(self) -> int:
        """Records that the data set gains."""
        return max(self.records - self.shared, 0)

    def called(self, name: str) -> str:
        """What a new data set is called whose owner calls it ``name``: no two versions alike."""
        return self.name or (name if self.version is None else f"{name} ({self.version})")

    def to_dict(self) -> dict[str, object]:
        """As plain JSON values; the data set's name in the ledger only where it has one there."""
        return {
            "dataset": self.dataset if self.known else None,
            "name": self.name,
            "version": self.version,
            "records": self.records,
            "known": self.shared,
            "new": self.new,
            "epsilon_spent": self.spent.epsilon if self.spent else 0.0,
            "others": [other.to_dict() for other in self.others],
        }


def first_seen(marks: Marks, salt: bytes, version: str | None = None) -> Recognised:
    """Records where there is no ledger yet that could know them."""
    return Recognised(marks.name(salt, _checked(version)), marks, version)


def recognise(
    ledger: Ledger,
    marks: Marks,
    version: str | None = None,
    *,
    dataset: str | None = None,
    priced: bool = True,
) -> Recognised:
    """Find the data set that records belong to; nothing is written.

    Args:
        ledger: whose data sets are compared.
        marks: of the records, under the ledger's salt (`salt_of`).
        version: the owner's name for this version of the data, which has a budget of its own.
        dataset: a name that the owner gives the data set.
        priced: whether to say what the data set has lost, which takes seconds.

    Raises:
        UsageError: the records belong to several data sets, or to another one than ``dataset``, or too few
            marks are known to tell.
        IntegrityError: the marks of a data set are missing or not as they were written.
    """
    _checked(version)
    return _among(ledger, all_known(ledger), marks, version, dataset, priced=priced)


def _among(
    ledger: Ledger,
    known_sets: Sequence[Known],
    marks: Marks,
    version: str | None,
    dataset: str | None,
    *,
    priced: bool,
) -> Recognised:
    """What `recognise` says, given the data sets whose records the ledger knows."""
    compared = [(known, known.marks.overlap(marks)) for known in known_sets]
    same = [(known, overlap) for known, overlap in compared if overlap.share >= _LEAST_SHARE]
    if version is not None:
        same = [(known, overlap) for known, overlap in same if known.version == version]
    elif len(same) > 1:  # a version beside it does not take a data set's own records from it
        own = [pair for pair in same if pair[0].version is None and pair[1].shared == marks.count]
        same = own if own and marks.whole else same
    elif not same:
        _check_telling(compared)
    names = [known.dataset for known, _ in same]
    if len(names) > 1 or (dataset is not None and version is None and names not in ([], [dataset])):
        raise _several(ledger, [known for known, _ in same], dataset)
    chosen = dataset or next(iter(names), marks.name(salt_of(ledger), version))
    budget = ledger.budget(check_dataset(chosen))
    return Recognised(
        dataset=chosen,
        marks=marks,
        version=version or next((known.version for known, _ in compared if known.dataset == chosen), None),
        named=dataset is not None,
        spent=ledger.spent(chosen) if budget is not None and priced else None,
        name=None if budget is None else budget.name,
        shared=sum(overlap.shared for known, overlap in compared if known.dataset == chosen),
        others=tuple(
            _other(ledger, known, overlap)
            for known, overlap in compared
            if overlap.shared and known.dataset != chosen
        ),
    )


@contextmanager
def remember(ledger: Ledger, found: Recognised) -> Iterator[dict[str, object]]:
    """Keep the marks of recognised records, lastingly, while the caller commits a plan on them.

    Gives what the PLAN row must carry as ``details.records``.  Until that row stands, the marks that stood
    before are in force; once it does, these are.

    Args:
        ledger: the one in which they were recognised.
        found: what `recognise` said, maybe some time ago.

    Raises:
        UsageError: they belong to another data set by now, or the marks cannot be written.
        IntegrityError: the marks of a data set are missing or not as they were written.
    """
    folder = MarksFolder(ledger.path)
    with folder.locked():
        known_sets, named_by_owner = all_known(ledger), found.dataset if found.named else None
        now = _among(ledger, known_sets, found.marks, found.version, named_by_owner, priced=False)
        if now.dataset != found.dataset:
            raise UsageError(
                "The records became part of another data set of the ledger while this run was prepared.",
                hint="Start it again; `fedpriv plan` says whose budget it spends.",
            )
        before = [known.marks for known in known_sets if known.dataset == found.dataset]
        marks = before[0].union(found.marks) if before else found.marks
        folder.write(found.dataset, marks)
        yield {
            "digest": marks.digest().hex(),
            "own": found.marks.digest().hex(),
            **({} if now.version is None else {"version": now.version}),
            **({"others": [other.to_dict() for other in now.others]} if now.others else {}),
        }
        named = named_records(ledger, found.dataset)
        if named is not None:
            folder.keep_only(found.dataset, str(named["digest"]))


def announce(ledger: Ledger, found: Recognised) -> None:
    """Keep the marks of a new data set that gets a budget before its first run, so that it is known by then.

    Raises:
        UsageError, IntegrityError: as `remember`.
    """
    if not found.known and found.version is None:  # what a version is called stands in its PLAN rows alone
        with remember(ledger, found):
            pass


def check_resumed(ledger: Ledger, dataset: str, run_id: str, marks: Marks) -> None:
    """Refuse to go on with a run on other records than it was planned on.

    Raises:
        UsageError: records were added, changed or left out since.
    """
    for row in ledger.rows(dataset):
        if row.kind == Kind.PLAN and row.run == run_id:
            named = records_in(row.body)
            if named is not None and named["own"] != marks.digest().hex():
                raise UsageError(
                    "The records are not those that the run was begun with: some were added, changed or left "
                    "out.",
                    hint="Resume it with the same data, or start a new run: it spends from the same budget.",
                )


def _other(ledger: Ledger, known: Known, overlap: Overlap) -> Other:
    spent = ledger.spent(known.dataset)
    return Other(known.dataset, known.name, known.version, overlap.shared, spent.budget, spent.epsilon)


def _checked(version: str | None) -> str | None:
    if version is not None and not (isinstance(version, str) and 1 <= len(version) <= _LONGEST_VERSION):
        raise UsageError(f"The version of a data set is a text of 1 to {_LONGEST_VERSION} characters.")
    return version


def _check_telling(compared: Sequence[tuple[Known, Overlap]]) -> None:
    """Refuse where a large data set, kept as a sample, may hide these records."""
    for known, overlap in compared:
        if not overlap.telling and overlap.share < _LEAST_SHARE:
            raise UsageError(
                f'These records are too few beside the data set "{known.name}", of whose marks a sample is '
                "kept, to tell whether they are part of it.",
                hint="If they are not, declare them a data set of their own: data.version, or "
                "Budget(version=…).",
            )


def _several(ledger: Ledger, found: Sequence[Known], dataset: str | None) -> UsageError:
    """The error for records that belong to several data sets, or to another than the owner says."""
    listed = " and ".join(
        f'"{known.name}" ({known.dataset[:12]}…'
        + (f', version "{known.version}"' if known.version is not None else "")
        + f", ε = {ledger.spent(known.dataset).epsilon:.4g} spent)"
        for known in found
    )
    if dataset is not None:
        return UsageError(
            f"The records are known as the data set {listed}; under the name {dataset[:12]}… they would get "
            "a second budget.",
            hint="Leave the fingerprint out, or declare a version with a budget of its own: "
            "Budget(version=…).",
        )
    return UsageError(
        f"The records belong to {len(found)} data sets of the ledger, {listed}, and no one budget speaks for "
        "them.",
        hint="Train on one of them; or name the version that is meant, or a new one with a budget of its own "
        "(data.version, or Budget(version=…)): for whoever is in several, ε then adds up.",
    )
