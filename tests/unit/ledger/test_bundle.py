"""The exported bundle: what it holds, that it survives JSON, and that no input makes the verifier raise."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.crypto import SigningKey, canonical_json
from fedpriv.dp import PoissonGaussian, epsilon_pld
from fedpriv.errors import UsageError
from fedpriv.ledger import Ledger, verify_bundle

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def bundle(ledger: Ledger, dataset: str, event: PoissonGaussian) -> dict[str, Any]:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    ledger.plan("a", dataset, event=event, rounds=5, details={"config": "ab" * 32})
    ledger.reserve("a", 0)
    ledger.release("a", 0, {"survivors": [1, 2], "realised_multiplier": 1.25})
    ledger.reserve("a", 1)
    ledger.void("a", 1, "no client answered")
    ledger.reserve("a", 2)
    ledger.finish("a", {"adapter": "cd" * 32})
    return ledger.export(dataset)


def test_a_bundle_survives_json_and_verifies_without_the_ledger(
    bundle: dict[str, Any], ledger: Ledger, dataset: str, event: PoissonGaussian
) -> None:
    assert canonical_json(bundle)
    again = json.loads(json.dumps(bundle))
    assert again == bundle
    assert verify_bundle(again, signer=ledger.public, expected_head=ledger.head(dataset)) == []
    claims = bundle["claims"]
    assert claims["rule"] == "committed-plan PLD"
    assert float(claims["epsilon"]) == epsilon_pld([(event, 2)], 1e-5)
    assert float(claims["planned_epsilon"]) == epsilon_pld([(event, 5)], 1e-5)
    assert (claims["reserved"], claims["released"], claims["voided"]) == (3, 1, 1)
    assert list(claims["runs"]) == ["a"]


def test_a_data_set_without_rows_has_no_bundle(ledger: Ledger, dataset: str) -> None:
    with pytest.raises(UsageError, match="knows no data set"):
        ledger.export(dataset)


def test_a_bundle_of_a_budget_alone(ledger: Ledger, dataset: str) -> None:
    ledger.set_budget(dataset, "reviews", 3.0, 1e-5)
    bundle = ledger.export(dataset)
    assert verify_bundle(bundle) == []
    assert bundle["claims"]["epsilon"] == "0.0"  # type: ignore[index]


def test_an_expected_signer_is_not_taken_from_the_bundle(bundle: dict[str, Any]) -> None:
    other = SigningKey.from_seed(bytes(32)).public
    assert verify_bundle(bundle) == []
    assert verify_bundle(bundle, signer=other)[0].where == "signer"


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("bundle", lambda b: b.update(format="fedpriv/ledger-bundle/v2")),
        ("bundle", lambda b: b.update(more=1)),
        ("bundle", lambda b: b.pop("claims")),
        ("bundle", lambda b: b.update(rows=[])),
        ("bundle", lambda b: b.update(rows={})),
        ("bundle", lambda b: b.update(dataset="../etc")),
        ("signer", lambda b: b.update(signer="zz")),
        ("row 2", lambda b: b["rows"][2].update(seq=True)),
        ("row 2", lambda b: b["rows"][2].update(hash=b["rows"][2]["hash"].upper())),
        ("row 2", lambda b: b["rows"][2].update(time="soon")),
        ("row 2", lambda b: b["rows"][2].update(body=[])),
        ("row 2", lambda b: b["rows"][2]["body"].update(round=0.0)),
        ("row 2", lambda b: b["rows"][2]["body"].update(round=10**5000)),
        ("row 2", lambda b: b["rows"][2]["body"].update(details={"\ud800": 1})),
        ("row 2", lambda b: b["rows"].__setitem__(2, None)),
        ("head", lambda b: b.update(head=[])),
        ("head", lambda b: b["head"].update(seq="7")),
        ("claims", lambda b: b.update(claims=None)),
        ("claims", lambda b: b["claims"].pop("delta")),
        ("claims, reserved", lambda b: b["claims"].update(reserved="3")),
        ("claims, epsilon", lambda b: b["claims"].update(epsilon="NaN")),
        ("claims, epsilon_rdp", lambda b: b["claims"].update(epsilon_rdp=1.0)),
        ("claims", lambda b: b["claims"].update(runs={})),
        ("claims for run a", lambda b: b["claims"]["runs"].update(a=[])),
    ],
)
def test_a_malformed_part_is_named(
    bundle: dict[str, Any], where: str, change: Callable[[dict[str, Any]], object]
) -> None:
    broken = copy.deepcopy(bundle)
    change(broken)
    found = verify_bundle(broken)
    assert found[0].where == where, found
    assert found[0].what
    assert all(len(str(mismatch)) < 400 for mismatch in found)


def test_a_body_nested_without_end_is_named(bundle: dict[str, Any]) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    bundle["rows"][3]["body"]["details"]["survivors"] = deep
    assert verify_bundle(bundle)[0].where == "row 3"
    while deep:  # taken apart by hand: the interpreter would recurse
        deep = deep.pop()


@given(value=JSON)
def test_the_verifier_never_raises_on_any_json(value: object) -> None:
    assert verify_bundle(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data())
def test_the_verifier_never_raises_on_a_bundle_with_one_part_replaced(
    bundle: dict[str, Any], data: st.DataObject
) -> None:
    broken = copy.deepcopy(bundle)
    place: Any = broken
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    before = place[key]
    place[key] = data.draw(JSON)
    found = verify_bundle(broken)
    unchanged = type(place[key]) is type(before) and place[key] == before
    assert bool(found) != unchanged


def test_the_package_reads_what_its_schema_describes(bundle: dict[str, Any]) -> None:
    import jsonschema

    schema = Path(__file__).parents[3] / "protocols" / "ledger" / "bundle.schema.json"
    jsonschema.validate(bundle, json.loads(schema.read_text(encoding="utf-8")))
