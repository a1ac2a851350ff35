"""What a row may hold: facts in, canonical text out, and the same read back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedpriv.crypto import canonical_json
from fedpriv.dp import PoissonGaussian
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.ledger import Ledger
from fedpriv.ledger.body import check_body, number, parse_body, plain


def test_facts_of_a_run_become_canonical() -> None:
    facts = {
        "clip": 0.1,
        "z": np.float64(1.25),
        "t": (1, [2.5, None]),
        "on": True,
        "name": "größer",
        "n": 2**62,
    }
    assert plain(facts) == {
        "clip": "0.1",
        "z": "1.25",
        "t": [1, ["2.5", None]],
        "on": True,
        "name": "größer",
        "n": 2**62,
    }
    assert parse_body(canonical_json(plain(facts))) == plain(facts)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 2**63, -(2**63), b"bytes", {1: 2}, {"a": {3}}, object()]
)
def test_values_that_no_row_can_hold(
    ledger: Ledger, dataset: str, event: PoissonGaussian, value: object
) -> None:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    with pytest.raises(UsageError, match="ledger row"):
        ledger.plan("a", dataset, event=event, rounds=1, details={"value": value})
    assert len(ledger.rows(dataset)) == 1


def test_details_without_end_and_details_without_measure(
    ledger: Ledger, dataset: str, event: PoissonGaussian
) -> None:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(UsageError, match="nested deeper"):
        ledger.plan("a", dataset, event=event, rounds=1, details={"value": endless})
    with pytest.raises(UsageError, match="over the limit"):
        ledger.plan("a", dataset, event=event, rounds=1, details={"value": "x" * 2**20})
    assert len(ledger.rows(dataset)) == 1
    ledger.plan("a", dataset, event=event, rounds=1, details={})


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1.5}',
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":"\\u0041"}',
        b"[1]",
        b'{"a":NaN}',
        b'{"a":1',
        b'\xff{"a":1}',
        b'{"a":9223372036854775808}',
    ],
)
def test_only_the_canonical_text_of_a_body_is_read(text: bytes) -> None:
    with pytest.raises(IntegrityError, match="canonical JSON"):
        parse_body(text)


@pytest.mark.parametrize("text", ["3.0", "1e-05", "0.0", "12", "1.5e+16", "7.25"])
def test_decimal_strings(text: str) -> None:
    assert number(text) == float(text)


@pytest.mark.parametrize(
    "text", ["", "-1.0", "+1", "01", ".5", "1.", "inf", "nan", "1_0", " 1", "0x1", 1.0, None]
)
def test_what_is_no_decimal_string(text: object) -> None:
    with pytest.raises(IntegrityError, match="decimal number"):
        number(text)


def test_an_unknown_kind_is_refused_not_skipped() -> None:
    with pytest.raises(IntegrityError, match="'REFUND' is not a kind"):
        check_body("REFUND", {})
