"""Whatever is asked of a ledger, in whatever order: it agrees with a plain list of what it granted."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian
from fedpriv.errors import BudgetExceeded, UsageError
from fedpriv.ledger import Ledger, verify_bundle

DATASET = "d5" * 32
KEY = SigningKey.from_seed(bytes(range(32)))
EVENTS = (PoissonGaussian(0.8, 0.1), PoissonGaussian(1.0, 0.1))
RUNS = ("a", "b", "c")

REQUESTS = st.lists(
    st.one_of(
        st.tuples(st.just("plan"), st.sampled_from(RUNS), st.integers(0, 1), st.sampled_from([2, 5, 9, 16])),
        st.tuples(st.just("reserve"), st.sampled_from(RUNS), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("burst"), st.sampled_from(RUNS), st.just(10), st.just(0)),
        st.tuples(st.just("release"), st.sampled_from(RUNS), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("void"), st.sampled_from(RUNS), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("finish"), st.sampled_from(RUNS), st.just(0), st.just(0)),
        st.tuples(st.just("budget"), st.just("a"), st.sampled_from([3, 5, 6, 8]), st.just(0)),
    ),
    min_size=5,
    max_size=25,
)


def clock() -> str:
    return "2026-01-31T12:00:00Z"


def ask(ledger: Ledger, request: tuple[str, str, int, int]) -> None:
    what, run, number, rounds = request
    if what == "plan":
        ledger.plan(run, DATASET, event=EVENTS[number], rounds=rounds, details={})
    elif what == "reserve":
        ledger.reserve(run, number)
    elif what == "burst":
        for further in range(number, number + 6):
            ledger.reserve(run, further)
    elif what == "release":
        ledger.release(run, number, {})
    elif what == "void":
        ledger.void(run, number, "no client was asked")
    elif what == "finish":
        ledger.finish(run, {})
    else:
        ledger.set_budget(DATASET, "reviews", float(number), 1e-5)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(requests=REQUESTS)
def test_any_requests_keep_the_budget_and_the_record(requests: list[tuple[str, str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = Ledger.open(path, KEY, clock)
        ledger.set_budget(DATASET, "reviews", 6.0, 1e-5)
        highest = 6.0
        for request in requests:
            before, rows = ledger.spent(DATASET), ledger.rows(DATASET)
            try:
                ask(ledger, request)
            except (BudgetExceeded, UsageError):
                if request[0] != "burst":
                    assert ledger.rows(DATASET) == rows
            if request[0] == "budget":
                highest = max(highest, float(request[2]))
            after = ledger.spent(DATASET)
            assert after.epsilon <= highest
            if request[0] != "void":
                assert after.epsilon_rdp >= before.epsilon_rdp
                assert after.epsilon_pld >= before.epsilon_pld
        records, spent, bundle = ledger.runs(DATASET), ledger.spent(DATASET), ledger.export(DATASET)
        ledger.close()
        with Ledger.open(path, KEY, clock) as again:
            assert again.runs(DATASET) == records
            assert again.spent(DATASET) == spent
            assert again.export(DATASET) == bundle
    assert verify_bundle(bundle, signer=KEY.public) == []
