"""Sets of clients as bits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import DecodeError
from fedpriv.secagg.members import Members, size


@st.composite
def _sets(draw: st.DrawFn, count: int = 1) -> tuple[int, list[set[int]]]:
    clients = draw(st.integers(1, 40))
    subset = st.sets(st.integers(1, clients))
    return clients, [draw(subset) for _ in range(count)]


@given(_sets())
def test_a_set_is_what_it_is_made_of(given_set: tuple[int, list[set[int]]]) -> None:
    clients, (chosen,) = given_set
    members = Members.of(chosen, clients)
    assert list(members) == members.ids().tolist() == sorted(chosen)
    assert len(members) == len(chosen)
    assert [client in members for client in range(-1, clients + 10)] == [
        client in chosen for client in range(-1, clients + 10)
    ]
    assert "1" not in members
    assert [members.rank(client) for client in sorted(chosen)] == list(range(len(chosen)))
    # Bit by bit as the spec says.
    expected = bytearray(-(-clients // 8))
    for client in chosen:
        expected[(client - 1) // 8] |= 1 << (client - 1) % 8
    assert members.data == bytes(expected)
    parsed = Members.parse(members.data, clients)
    assert parsed == members
    assert hash(parsed) == hash(members)
    assert repr(members) == f"<Members, {len(chosen)} of {clients}>"


@given(_sets(count=2))
def test_operations_are_those_of_sets(given_sets: tuple[int, list[set[int]]]) -> None:
    clients, (left, right) = given_sets
    a, b = Members.of(left, clients), Members.of(right, clients)
    assert set(a & b) == left & right
    assert set(a | b) == left | right
    assert set(a - b) == left - right
    assert (a <= b) == (left <= right)
    assert (a == b) == (left == right)
    assert bool(a & b) == bool(left & right)
    assert a != left


def test_a_set_of_another_cohort_is_another_set() -> None:
    assert Members.of({1, 2}, 9) != Members.of({1, 2}, 10)


@pytest.mark.parametrize(
    ("data", "clients"),
    [(b"", 1), (b"\0\0", 8), (b"\0", 9), (b"\x80", 7), (b"\xff\x04", 10), (b"\0\xff", 15)],
)
def test_bytes_that_are_no_set_are_refused(data: bytes, clients: int) -> None:
    with pytest.raises(DecodeError):
        Members.parse(data, clients)


def test_sizes() -> None:
    assert [size(clients) for clients in (1, 8, 9, 16, 1_000_000)] == [1, 1, 2, 2, 125_000]
    everyone = Members.of(range(1, 1_000_001), 1_000_000)
    assert (len(everyone), everyone.rank(1_000_000)) == (1_000_000, 999_999)
