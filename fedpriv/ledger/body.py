"""What a row says: its kind, the fields of that kind, and the values that they may hold (spec 2 and 3)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from fedpriv.crypto import canonical_json
from fedpriv.dp import event_from_dict
from fedpriv.errors import FedprivError, IntegrityError, UsageError

__all__ = [
    "Body",
    "Details",
    "Kind",
    "check_body",
    "check_dataset",
    "check_run",
    "check_time",
    "hex_bytes",
    "number",
    "parse_body",
    "parse_plain",
    "plain",
]

Body: TypeAlias = dict[str, object]
Details: TypeAlias = Mapping[str, object]


class Kind:
    """The closed set of row kinds; a kind is never given a new meaning."""

    BUDGET: Final = "BUDGET"
    PLAN: Final = "PLAN"
    RESERVE: Final = "RESERVE"
    RELEASE: Final = "RELEASE"
    VOID: Final = "VOID"
    FINISH: Final = "FINISH"


MAX_SEQ: Final = 2**53
MAX_INTEGER: Final = 2**63
MAX_ROUNDS: Final = 10**7
MAX_BODY_BYTES: Final = 2**20
_MAX_DEPTH: Final = 32

_DATASET = re.compile(r"[0-9a-f]{16,128}")
_RUN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|\+00:00)")
_DECIMAL = re.compile(r"(0|[1-9]\d{0,19})(\.\d{1,40})?(e[+-]?\d{1,3})?")

# The fields of a body, all of them required and no others allowed (spec 3).
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    Kind.BUDGET: frozenset({"name", "epsilon", "delta"}),
    Kind.PLAN: frozenset({"run", "event", "rounds", "rule", "epsilon", "details"}),
    Kind.RESERVE: frozenset({"run", "round", "details"}),
    Kind.RELEASE: frozenset({"run", "round", "details"}),
    Kind.VOID: frozenset({"run", "round", "evidence"}),
    Kind.FINISH: frozenset({"run", "details"}),
}

RULE_PLD: Final = "committed-plan PLD"
RULE_RDP: Final = "RDP filter"
RULES: Final = frozenset({RULE_PLD, RULE_RDP})


def check_dataset(dataset: object) -> str:
    """Return ``dataset`` if it is a fingerprint: 16 to 128 lower-case hexadecimal digits."""
    if not isinstance(dataset, str) or not _DATASET.fullmatch(dataset):
        raise UsageError(
            f"{_short(dataset)} is not the fingerprint of a data set.",
            hint="A fingerprint is 16 to 128 lower-case hexadecimal digits.",
        )
    return dataset


def check_run(run_id: object) -> str:
    """Return ``run_id`` if it may name a run."""
    if not isinstance(run_id, str) or not _RUN.fullmatch(run_id):
        raise UsageError(
            f"{_short(run_id)} cannot name a run.",
            hint="Use 1 to 128 letters, digits, dots, underscores and dashes, the first a letter or digit.",
        )
    return run_id


def plain(value: object, _depth: int = 0) -> object:
    """``value`` as canonical JSON can hold it: floats become decimal strings, tuples become lists.

    >>> plain({"clip": 0.5, "survivors": (1, 2)})
    {'clip': '0.5', 'survivors': [1, 2]}
    """
    if _depth > _MAX_DEPTH:
        raise UsageError(f"The details of a ledger row are nested deeper than {_MAX_DEPTH} levels.")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) >= MAX_INTEGER:
            raise UsageError("A ledger row cannot hold an integer of 64 bits or more; write it as text.")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UsageError(f"A ledger row cannot hold the number {value!r}.")
        return repr(float(value))
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise UsageError("The keys of the details of a ledger row must be text.")
        return {key: plain(item, _depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, _depth + 1) for item in value]
    raise UsageError(
        f"A ledger row cannot hold a value of type {type(value).__name__}.",
        hint="Use text, integers, floats, true/false, lists and mappings with text keys.",
    )


def check_time(time: object) -> str:
    """Return ``time`` if it is a UTC time in RFC 3339 form."""
    if not isinstance(time, str) or not _TIME.fullmatch(time):
        raise IntegrityError(f"{_short(time)} is not a UTC time in RFC 3339 form.")
    return time


def number(text: object) -> float:
    """The value of a decimal string of a body; `IntegrityError` if it is not one."""
    if not isinstance(text, str) or len(text) > 64 or not _DECIMAL.fullmatch(text):
        raise IntegrityError(f"{_short(text)} is not a decimal number as the ledger writes them.")
    return float(text)


def hex_bytes(value: object, size: int) -> bytes | None:
    """The bytes that lower-case hexadecimal text stands for, if it is such text of the right size."""
    if not isinstance(value, str) or len(value) != 2 * size:
        return None
    return None if set(value) - set("0123456789abcdef") else bytes.fromhex(value)


def parse_body(text: bytes | str) -> Body:
    """A stored body; `IntegrityError` if it is not the canonical form of a JSON object."""
    raw = text.encode("utf-8") if isinstance(text, str) else text
    try:
        body = parse_plain(json.loads(raw))
    except (ValueError, RecursionError, FedprivError) as error:
        raise IntegrityError("The body of a row is not canonical JSON.") from error
    if canonical_json(body) != raw:
        raise IntegrityError("The body of a row is not canonical JSON.")
    return body


def parse_plain(value: object) -> Body:
    """A body as a JSON reader gives it, copied; `IntegrityError` for what canonical JSON does not hold."""
    if not isinstance(value, dict):
        raise IntegrityError("The body of a row is not an object.")
    copy = _parse_value(value, 0)
    assert isinstance(copy, dict)  # noqa: S101 -- a dict gives a dict
    if len(canonical_json(copy)) > MAX_BODY_BYTES:
        raise IntegrityError(f"The body of a row is over {MAX_BODY_BYTES} bytes.")
    return copy


def _parse_value(value: object, depth: int) -> object:
    if depth > _MAX_DEPTH:
        raise IntegrityError(f"The body of a row is nested deeper than {_MAX_DEPTH} levels.")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int) and abs(value) < MAX_INTEGER:
        return value
    if isinstance(value, list):
        return [_parse_value(item, depth + 1) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _parse_value(item, depth + 1) for key, item in value.items()}
    raise IntegrityError("The body of a row is not canonical JSON.")


def check_body(kind: str, body: Body) -> None:
    """Raise `IntegrityError` unless ``body`` has exactly the fields of ``kind``, well formed (spec 3)."""
    fields = _FIELDS.get(kind)
    if fields is None:
        raise IntegrityError(f"{_short(kind)} is not a kind of row that this version knows.")
    if set(body) != fields:
        raise IntegrityError(f"A {kind} row has the fields {sorted(body)}, not {sorted(fields)}.")
    for name, value in body.items():
        _CHECKS[name](kind, value)


def _check_name(kind: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > 256:
        raise IntegrityError(f"The name in a {kind} row is not text of at most 256 characters.")


def _check_epsilon(kind: str, value: object) -> None:
    number(value)


def _check_delta(kind: str, value: object) -> None:
    if not 0.0 < number(value) < 1.0:
        raise IntegrityError(f"The delta {_short(value)} in a {kind} row is not between 0 and 1.")


def _check_run(kind: str, value: object) -> None:
    if not isinstance(value, str) or not _RUN.fullmatch(value):
        raise IntegrityError(f"{_short(value)} in a {kind} row cannot name a run.")


def _check_event(kind: str, value: object) -> None:
    if not isinstance(value, dict):
        raise IntegrityError(f"The event in a {kind} row is not an object.")
    event_from_dict(value)


def _check_rounds(kind: str, value: object) -> None:
    if type(value) is not int or not 1 <= value <= MAX_ROUNDS:
        raise IntegrityError(f"The rounds {_short(value)} of a {kind} row are not in 1..{MAX_ROUNDS}.")


def _check_round(kind: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= MAX_SEQ:
        raise IntegrityError(f"The round {_short(value)} in a {kind} row is not a round number.")


def _check_rule(kind: str, value: object) -> None:
    if not isinstance(value, str) or value not in RULES:
        raise IntegrityError(f"The rule {_short(value)} in a {kind} row is not one of {sorted(RULES)}.")


def _check_details(kind: str, value: object) -> None:
    if not isinstance(value, dict):
        raise IntegrityError(f"The details in a {kind} row are not an object.")


def _check_evidence(kind: str, value: object) -> None:
    if not isinstance(value, str | dict) or not value:
        raise IntegrityError(f"A {kind} row carries no evidence.")


_CHECKS: Final = {
    "name": _check_name,
    "epsilon": _check_epsilon,
    "delta": _check_delta,
    "run": _check_run,
    "event": _check_event,
    "rounds": _check_rounds,
    "round": _check_round,
    "rule": _check_rule,
    "details": _check_details,
    "evidence": _check_evidence,
}


def _short(value: object) -> str:
    """``value`` for a message: one line, never long."""
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        return "an integer of 64 bits or more"
    text = repr(value) if isinstance(value, str | int | float) or value is None else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
