"""One data set's chain as a document, and its check (protocols/ledger/spec.md, 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fedpriv.dp import event_from_dict
from fedpriv.errors import FedprivError, IntegrityError
from fedpriv.ledger.body import (
    MAX_INTEGER,
    MAX_SEQ,
    Kind,
    check_body,
    check_dataset,
    check_time,
    hex_bytes,
    number,
    parse_plain,
)
from fedpriv.ledger.budget import admit_plan, admit_reserve, spent
from fedpriv.ledger.chain import Chain
from fedpriv.ledger.rows import Row

__all__ = ["FORMAT", "Mismatch", "make_bundle", "read_row", "verify_bundle"]

FORMAT: Final = "fedpriv/ledger-bundle/v1"
RDP_TOLERANCE: Final = 1e-9
PLD_TOLERANCE: Final = 1e-6

_BUNDLE_FIELDS: Final = frozenset({"format", "dataset", "signer", "head", "rows", "claims"})
_ROW_FIELDS: Final = frozenset({"seq", "kind", "time", "body", "prev", "signer", "hash", "signature"})
_HEX_FIELDS: Final = {"prev": 32, "signer": 32, "hash": 32, "signature": 64}

# Claimed figure -> how far a recomputation may be from it, relative to max(1, figure); None: equal as text.
_CLAIMS: Final[Mapping[str, float | None]] = {
    "rule": None,
    "delta": None,
    "budget": None,
    "reserved": None,
    "released": None,
    "voided": None,
    "epsilon": PLD_TOLERANCE,
    "epsilon_pld": PLD_TOLERANCE,
    "planned_epsilon": PLD_TOLERANCE,
    "epsilon_rdp": RDP_TOLERANCE,
    "epsilon_filter": RDP_TOLERANCE,
}
_RUN_CLAIMS: Final[Mapping[str, float | None]] = {
    "rounds": None,
    "epsilon_pld": PLD_TOLERANCE,
    "planned_epsilon": PLD_TOLERANCE,
    "epsilon_rdp": RDP_TOLERANCE,
}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One thing in a bundle that does not hold: ``where`` it stands and ``what`` is wrong with it."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def make_bundle(dataset: str, rows: Sequence[Row], *, signer: bytes) -> dict[str, object]:
    """The bundle of a sound chain: its rows, its head, and the figures that it claims.

    ``signer`` is the 32-byte public key that signed every row. The result holds only what JSON holds.
    """
    return {
        "format": FORMAT,
        "dataset": dataset,
        "signer": signer.hex(),
        "head": {"seq": rows[-1].seq, "hash": rows[-1].hash.hex()},
        "rows": [row.to_dict() for row in rows],
        "claims": claims(Chain.of(dataset, rows)),
    }


def claims(chain: Chain) -> dict[str, object]:
    """The figures of a chain as a bundle states them: decimal strings, counts as integers."""
    figures = spent(chain)
    return {
        "rule": figures.rule,
        "budget": repr(figures.budget),
        "delta": repr(figures.delta),
        "epsilon": repr(figures.epsilon),
        "planned_epsilon": repr(figures.planned_epsilon),
        "epsilon_pld": repr(figures.epsilon_pld),
        "epsilon_rdp": repr(figures.epsilon_rdp),
        "epsilon_filter": repr(figures.epsilon_filter),
        "reserved": figures.reserved,
        "released": figures.released,
        "voided": figures.voided,
        "runs": {
            run.run_id: {
                "rounds": run.rounds,
                "epsilon_pld": repr(run.epsilon_pld),
                "epsilon_rdp": repr(run.epsilon_rdp),
                "planned_epsilon": repr(run.planned_epsilon),
            }
            for run in figures.runs
        },
    }


def verify_bundle(
    bundle: object, *, signer: bytes | None = None, expected_head: bytes | None = None
) -> list[Mismatch]:
    """Everything that does not hold in a bundle; an empty list says that all of it does.

    Recomputes every hash, signature, transition, budget decision and ε. It reads nothing but its arguments
    and never raises, whatever ``bundle`` is.

    Args:
        bundle: what `Ledger.export` gave, or the same after a way through JSON.
        signer: the 32-byte public key that must have signed; without it, the bundle's own is taken, and the
            result says that the bundle agrees with itself, not who made it.
        expected_head: the 32-byte hash of the last row as known from elsewhere. Without it rows missing at
            the end cannot be noticed.

    Returns:
        Mismatches in the order of the bundle; ``where`` is "bundle", "signer", "row 3", "head" or
        "claims, epsilon".
    """
    if not isinstance(bundle, dict) or set(bundle) != _BUNDLE_FIELDS:
        return [
            Mismatch("bundle", f"it is not an object with the fields {', '.join(sorted(_BUNDLE_FIELDS))}")
        ]
    if bundle["format"] != FORMAT:
        return [Mismatch("bundle", f"its format is not {FORMAT}")]
    try:
        dataset = check_dataset(bundle["dataset"])
    except FedprivError as error:
        return [Mismatch("bundle", str(error))]
    if not isinstance(bundle["rows"], list) or not bundle["rows"]:
        return [Mismatch("bundle", "it has no rows")]
    found = list(_verify_signer(bundle["signer"], signer))
    key = signer if signer is not None else hex_bytes(bundle["signer"], 32)
    rows: list[Row | None] = []
    for index, entry in enumerate(bundle["rows"]):
        try:
            rows.append(read_row(dataset, entry))
        except FedprivError as error:
            rows.append(None)
            found.append(Mismatch(f"row {index}", str(error)))
    chain = Chain(dataset)
    broken = bool(found) or any(row is None for row in rows)
    for index, row in enumerate(rows):
        if row is None:
            continue
        before = rows[index - 1] if index else None
        faults = list(_verify_row(chain, row, index, before, key))
        found += (Mismatch(f"row {index}", fault) for fault in faults)
        broken = broken or bool(faults)
        if not broken:
            # What a row means is judged only while every row before it stands: one fault, one finding.
            fault = _verify_meaning(chain, row)
            if fault:
                found.append(Mismatch(f"row {index}", fault))
                broken = True
            else:
                chain.apply(row)
    found += _verify_head(bundle["head"], rows[-1], expected_head)
    if not broken:
        found += _verify_claims(bundle["claims"], chain)
    return found


def _verify_signer(stated: object, wanted: bytes | None) -> Iterator[Mismatch]:
    key = hex_bytes(stated, 32)
    if key is None:
        yield Mismatch("signer", "it is not a public key of 32 bytes in hexadecimal")
    elif wanted is not None and key != wanted:
        yield Mismatch("signer", "the bundle was signed by another key than the expected one")


def _verify_row(chain: Chain, row: Row, index: int, before: Row | None, key: bytes | None) -> Iterator[str]:
    """What is wrong with a row's place, hash and signature."""
    if row.seq != index:
        yield f"it carries the number {row.seq}, so rows are missing, repeated or out of order"
    expected = chain.genesis if index == 0 else None if before is None else before.hash
    if expected is not None and row.prev != expected:
        yield "it does not follow the row before it"
    if row.recomputed_hash() != row.hash:
        yield "it was changed after it was written: its hash does not fit"
    if key is not None and row.signer != key:
        yield "it was signed by another key than the bundle's"
    if not row.signature_holds():
        yield "its signature does not hold"


def _verify_meaning(chain: Chain, row: Row) -> str:
    """Why a row was not allowed where it stands, or an empty text."""
    try:
        chain.check(row.kind, row.body)
        if row.kind == Kind.RESERVE:
            admit_reserve(chain, chain.runs[row.run])
        elif row.kind == Kind.PLAN:
            return _verify_plan(chain, row)
    except FedprivError as error:
        return f"it was not allowed there: {error}"
    except Exception as error:
        # The accountant met parameters that it cannot price; a verifier answers, whatever it is given.
        return f"its cost cannot be recomputed ({type(error).__name__})"
    return ""


def _verify_plan(chain: Chain, row: Row) -> str:
    """Recompute the decision that a PLAN row records."""
    event, rounds = row.body["event"], row.body["rounds"]
    assert isinstance(event, dict)  # noqa: S101 -- check_body saw to both
    assert isinstance(rounds, int)  # noqa: S101
    admission = admit_plan(chain, event_from_dict(event), rounds)
    if row.body["rule"] != admission.rule:
        return f"it names the rule {row.body['rule']!r} where {admission.rule!r} applies"
    claimed = number(row.body["epsilon"])
    if abs(claimed - admission.epsilon) > PLD_TOLERANCE * max(1.0, admission.epsilon):
        return f"it claims epsilon = {claimed!r}; recomputed it is {admission.epsilon!r}"
    return ""


def _verify_head(head: object, last: Row | None, expected: bytes | None) -> Iterator[Mismatch]:
    if not isinstance(head, dict) or set(head) != {"seq", "hash"}:
        yield Mismatch("head", "it is not an object with the fields hash, seq")
        return
    if last is not None and (head["seq"] != last.seq or head["hash"] != last.hash.hex()):
        yield Mismatch("head", "it is not the last row of the bundle")
    if last is not None and expected is not None and last.hash != expected:
        yield Mismatch("head", "the last row is not the expected one: rows are missing, or were added since")


def _verify_claims(stated: object, chain: Chain) -> Iterator[Mismatch]:
    """Compare every figure that the bundle claims with what its rows give."""
    if not isinstance(stated, dict):
        yield Mismatch("claims", "they are not an object")
        return
    try:
        actual = claims(chain)
    except Exception as error:
        # As in _verify_meaning: figures that cannot be recomputed are a finding, not a crash.
        yield Mismatch("claims", f"they cannot be recomputed ({type(error).__name__})")
        return
    given, runs = dict(stated), actual.pop("runs")
    given_runs = given.pop("runs", None)
    yield from _compare("claims", _CLAIMS, given, actual)
    if not isinstance(given_runs, dict) or not isinstance(runs, dict) or set(given_runs) != set(runs):
        yield Mismatch("claims", "their runs are not those of the rows")
        return
    for run_id, figures in runs.items():
        yield from _compare(f"claims for run {run_id}", _RUN_CLAIMS, given_runs[run_id], figures)


def _compare(
    where: str, expected: Mapping[str, float | None], stated: object, actual: Mapping[str, object]
) -> Iterator[Mismatch]:
    """Every figure of ``stated`` that is further from ``actual`` than is allowed for it."""
    if not isinstance(stated, dict) or set(stated) != set(expected):
        yield Mismatch(where, f"they are not an object with the fields {', '.join(sorted(expected))}")
        return
    for name, tolerance in expected.items():
        if not _agree(stated[name], actual[name], tolerance):
            what = f"the bundle states {_brief(stated[name])}; its rows give {actual[name]}"
            yield Mismatch(f"{where}, {name}", what)


def _agree(stated: object, actual: object, tolerance: float | None) -> bool:
    if type(stated) is not type(actual):
        return False
    if stated == actual or tolerance is None:
        return stated == actual
    try:
        claimed, value = number(stated), number(actual)
    except IntegrityError:
        return False
    return abs(claimed - value) <= tolerance * max(1.0, value)


def read_row(dataset: str, entry: object) -> Row:
    """A row of a bundle, well formed; `IntegrityError` otherwise."""
    if not isinstance(entry, dict) or set(entry) != _ROW_FIELDS:
        raise IntegrityError(f"it is not an object with the fields {', '.join(sorted(_ROW_FIELDS))}")
    parts: dict[str, bytes] = {}
    for name, size in _HEX_FIELDS.items():
        value = hex_bytes(entry[name], size)
        if value is None:
            raise IntegrityError(f"its {name} is not {size} bytes in lower-case hexadecimal")
        parts[name] = value
    seq, kind = entry["seq"], entry["kind"]
    if type(seq) is not int or not 0 <= seq <= MAX_SEQ:
        raise IntegrityError("its number is not a whole number")
    body = parse_plain(entry["body"])
    if not isinstance(kind, str):
        raise IntegrityError("its kind is not text")
    check_body(kind, body)
    return Row(
        seq=seq,
        dataset=dataset,
        kind=kind,
        time=check_time(entry["time"]),
        body=body,
        prev=parts["prev"],
        signer=parts["signer"],
        hash=parts["hash"],
        signature=parts["signature"],
    )


def _brief(value: object) -> str:
    """A stated figure for a message: one short line, whatever it is."""
    if not isinstance(value, str) and (type(value) is not int or abs(value) >= MAX_INTEGER):
        return type(value).__name__
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
