"""Which coordinates travel: what a vector of them means, what a method chooses, and what it makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from fedpriv.errors import UsageError
from fedpriv.peft import Coordinates, Entry, Manifest, PeftSpec, ServerState, public_words, smallest

RANK, OUT, IN = 4, 7, 9
MANIFEST = Manifest(
    (
        Entry("classifier.weight", (3, 5)),
        Entry("q.lora_A.default.weight", (RANK, IN)),
        Entry("q.lora_B.default.weight", (OUT, RANK)),
    )
)
HEAD, A, B = slice(0, 15), slice(15, 15 + RANK * IN), slice(15 + RANK * IN, MANIFEST.size)


def drawn(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(MANIFEST.size).astype(np.float32)


def method(name: str, **options):
    spec = PeftSpec(name, rank=RANK, **options)
    return spec.kind, spec


def chosen(name: str, round_: int, moved: np.ndarray | None = None, **options) -> np.ndarray:
    kind, spec = method(name, **options)
    return kind.coordinates(MANIFEST, spec, round_, np.zeros(MANIFEST.size) if moved is None else moved)


def test_what_is_taken_comes_back_where_it_was_and_nothing_else_does():
    values = drawn()
    some = Coordinates(MANIFEST.size, 12, np.array([0, 3, 20, 78]))
    assert some.take(values).tolist() == [*values[[0, 3, 20, 78]], *[0.0] * 8]
    whole = some.spread(some.take(values).astype(float))
    assert np.flatnonzero(whole).tolist() == [0, 3, 20, 78]
    assert np.array_equal(whole[[0, 3, 20, 78]], values[[0, 3, 20, 78]])
    holds = np.ones(MANIFEST.size, dtype=bool)
    holds[3] = False
    own = some.of_client(holds)
    assert own.take(np.full(MANIFEST.size, np.inf)).tolist() == [np.inf, 0.0, np.inf, np.inf, *[0.0] * 8]
    assert np.flatnonzero(own.moves()).tolist() == [0, 20, 78]
    assert np.flatnonzero(own.spread(np.ones(12))).tolist() == [0, 20, 78]


def test_pieces_put_together_what_take_takes():
    values = drawn()
    for places in (None, np.array([2, 14, 15, 16, 50, 51, 78]), np.arange(15, 51)):
        width = MANIFEST.size if places is None else places.size
        some = Coordinates(MANIFEST.size, width, places)
        built = np.zeros(width, dtype=np.float32)
        for name, (begin, inside) in some.pieces(MANIFEST):
            entry = [e.name for e in MANIFEST.entries].index(name)
            start = MANIFEST.offsets[entry]
            own = values[start : start + MANIFEST.entries[entry].size]
            part = own if inside is None else own[inside]
            built[begin : begin + part.size] = part
        assert np.array_equal(built, some.take(values))


@pytest.mark.parametrize(
    ("size", "width", "places"),
    [
        (5, 4, None),
        (5, 3, [2, 1]),
        (5, 3, [1, 1]),
        (5, 3, [0, 5]),
        (5, 3, [-1, 2]),
        (5, 1, [0, 1]),
        (5, 3, []),
    ],
)
def test_coordinates_that_do_not_fit_are_refused(size, width, places):
    with pytest.raises(UsageError, match="do not fit"):
        Coordinates(size, width, None if places is None else np.array(places, dtype=np.int64))


def test_rolora_takes_turns_and_its_vector_is_as_long_as_the_longer_half():
    everything = np.arange(MANIFEST.size)
    assert chosen("rolora", 1).tolist() == [*everything[HEAD], *everything[B]]
    assert chosen("rolora", 2).tolist() == [*everything[HEAD], *everything[A]]
    assert np.array_equal(chosen("rolora", 3), chosen("rolora", 1))
    kind, spec = method("rolora")
    assert kind.width(MANIFEST, spec) == 15 + RANK * IN


def test_flasc_takes_what_moved_most_and_locks_nothing_out():
    moved = np.zeros(MANIFEST.size, dtype=np.float32)
    moved[[1, 30, 60]] = [-3.0, 2.0, 1.0]
    kind, spec = method("flasc", density=0.1)
    assert kind.width(MANIFEST, spec) == 8
    seen: set[int] = set()
    for round_ in range(1, 200):
        places = chosen("flasc", round_, moved, density=0.1)
        assert places.size == 8
        assert {1, 30, 60} <= set(places.tolist())
        seen |= set(places.tolist())
    assert seen == set(range(MANIFEST.size))
    assert chosen("flasc", 1, density=1.0).tolist() == list(range(MANIFEST.size))


def test_a_client_of_a_smaller_rank_has_the_first_rows_and_columns():
    kind, spec = method("hetlora", ranks=(1, 4))
    small, large, again = (kind.held(MANIFEST, spec, client) for client in (1, 2, 3))
    assert large.all()
    assert np.array_equal(small, again)
    assert small[HEAD].all()
    assert small[A].reshape(RANK, IN).any(axis=1).tolist() == [True, False, False, False]
    assert small[B].reshape(OUT, RANK).all(axis=0).tolist() == [True, False, False, False]
    assert kind.least_clients(spec) == 2


def product(parameters: np.ndarray) -> np.ndarray:
    halves = parameters.astype(np.float64)
    return halves[B].reshape(OUT, RANK) @ halves[A].reshape(RANK, IN)


def orthonormal_start(seed: int, deficient: int = 0) -> np.ndarray:
    parameters = drawn(seed)
    parameters[A] = np.linalg.qr(drawn(seed + 1)[A].reshape(RANK, IN).T)[0].T.reshape(-1)
    parameters[B].reshape(OUT, RANK)[:, :deficient] = 0.0
    return parameters


@pytest.mark.parametrize("deficient", [0, 2, RANK])
def test_fedsvd_turns_both_halves_and_leaves_their_product_and_the_head(deficient):
    kind, spec = method("fedsvd")
    before = orthonormal_start(4, deficient)
    first, second = drawn(8).astype(float), np.square(drawn(9)).astype(float)
    after = kind.settle(MANIFEST, spec, ServerState(before, first, second))
    assert np.abs(product(after.parameters) - product(before)).max() < 1e-6
    assert np.array_equal(after.parameters[HEAD], before[HEAD])
    rows = after.parameters[A].reshape(RANK, IN).astype(float)
    assert np.abs(rows @ rows.T - np.eye(RANK)).max() < 1e-6
    columns = after.parameters[B].reshape(OUT, RANK).astype(float)
    squares = columns.T @ columns
    assert np.abs(squares - np.diag(np.diag(squares))).max() < 1e-6
    assert (np.diff(np.diag(squares)) <= 1e-9).all()
    # The singular values, by the obvious way.
    expected = np.linalg.svd(product(before), compute_uv=False)[:RANK]
    assert np.allclose(np.sqrt(np.diag(squares)), expected, atol=1e-6)
    # A step along the first moment is the same step on the product, in the old coordinates and in the new.
    old_rows = before[A].reshape(RANK, IN).astype(float)
    assert np.allclose(
        after.first[B].reshape(OUT, RANK) @ rows, first[B].reshape(OUT, RANK) @ old_rows, atol=1e-5
    )
    assert np.allclose(
        after.second[B].reshape(OUT, RANK).sum(axis=1), second[B].reshape(OUT, RANK).sum(axis=1)
    )
    assert np.array_equal(after.first[HEAD], first[HEAD])
    assert (after.second >= 0).all()


def test_the_second_moments_of_independent_coordinates_turn_as_variances_do():
    """Many draws with these variances, turned, have the variances that settle gives."""
    kind, spec = method("fedsvd")
    before = orthonormal_start(4)
    variances = np.random.default_rng(2).uniform(0.1, 2.0, MANIFEST.size)
    draws = np.random.default_rng(3).standard_normal((4000, MANIFEST.size)) * np.sqrt(variances)
    turned = np.array(
        [kind.settle(MANIFEST, spec, ServerState(before, row, np.zeros(0))).first[B] for row in draws]
    )
    said = kind.settle(MANIFEST, spec, ServerState(before, draws[0], variances)).second[B]
    assert np.abs(turned.var(axis=0) / said - 1).max() < 0.15


def test_a_thousand_turns_leave_the_rows_orthonormal():
    kind, spec = method("fedsvd")
    state = ServerState(orthonormal_start(4), np.zeros(MANIFEST.size), np.zeros(0))
    rng = np.random.default_rng(5)
    for _ in range(1000):
        parameters = state.parameters.copy()
        parameters[B] += 0.1 * rng.standard_normal(OUT * RANK).astype(np.float32)
        state = kind.settle(MANIFEST, spec, ServerState(parameters, state.first, state.second))
    rows = state.parameters[A].reshape(RANK, IN).astype(float)
    assert np.abs(rows @ rows.T - np.eye(RANK)).max() < 1e-5


def test_public_choices_are_what_the_specification_says():
    assert public_words(0, "rand-k", 1, 2).tolist() == PINNED
    seen = np.zeros(40)
    for round_ in range(2000):
        seen[smallest(public_words(3, "rand-k", round_, 40), 10)] += 1
    assert np.abs(seen - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)
    with pytest.raises(UsageError):
        public_words(2**64, "rand-k", 1, 2)


PINNED = [10714610811032964638, 6352348270092646298]
