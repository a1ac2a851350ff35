"""Merkle trees over a fixed list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.crypto import digest
from fedpriv.crypto.merkle import MerkleTree, path_length, root_of_path
from fedpriv.errors import UsageError


def _leaves(count: int) -> list[bytes]:
    return [digest("leaf", bytes([i])) for i in range(count)]


def _naive_root(domain: str, leaves: list[bytes]) -> bytes:
    """By recursion over halves of a list that is a power of two long."""
    if len(leaves) == 1:
        return leaves[0]
    half = len(leaves) // 2
    return digest(domain, _naive_root(domain, leaves[:half]), _naive_root(domain, leaves[half:]))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 33])
def test_every_path_leads_to_the_root(count: int) -> None:
    leaves = _leaves(count)
    tree = MerkleTree("test", leaves)
    whole = 1
    while whole < count:
        whole *= 2
    assert tree.root == _naive_root("test", leaves + [bytes(32)] * (whole - count))
    for position, leaf in enumerate(leaves):
        path = tree.path(position)
        assert len(path) == 32 * path_length(count)
        assert root_of_path("test", leaf, position, path) == tree.root


@given(st.integers(2, 20), st.data())
def test_no_other_leaf_place_or_path_leads_there(count: int, data: st.DataObject) -> None:
    leaves = _leaves(count)
    tree = MerkleTree("test", leaves)
    position = data.draw(st.integers(0, count - 1))
    other = data.draw(st.integers(0, count - 1).filter(lambda i: i != position))
    leaf, path = leaves[position], tree.path(position)
    assert root_of_path("test", leaves[other], position, path) != tree.root
    assert root_of_path("test", leaf, other, path) != tree.root
    assert root_of_path("other", leaf, position, path) != tree.root
    bit = data.draw(st.integers(0, 8 * len(path) - 1))
    changed = bytearray(path)
    changed[bit // 8] ^= 1 << bit % 8
    assert root_of_path("test", leaf, position, bytes(changed)) != tree.root
    assert root_of_path("test", leaf, position, path[:-32]) != tree.root


def test_a_single_leaf_is_its_own_root() -> None:
    (leaf,) = _leaves(1)
    tree = MerkleTree("test", [leaf])
    assert (tree.root, tree.path(0), path_length(1)) == (leaf, b"", 0)


def test_lists_that_are_filled_up_alike_have_one_root() -> None:
    # Said in the class: who relies on positions commits to the number of leaves beside the root.
    leaves = _leaves(3)
    assert MerkleTree("test", leaves).root == MerkleTree("test", [*leaves, bytes(32)]).root


@pytest.mark.parametrize("leaves", [[], [bytes(31)], [bytes(32), bytes(33)], [b""]])
def test_what_is_no_list_of_digests_is_refused(leaves: list[bytes]) -> None:
    with pytest.raises(UsageError):
        MerkleTree("test", leaves)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 1023, 1024, 1025, 1_000_000])
def test_the_length_of_a_path_is_the_logarithm_rounded_up(count: int) -> None:
    levels = path_length(count)
    assert 2**levels >= count
    assert levels == 0 or 2 ** (levels - 1) < count
