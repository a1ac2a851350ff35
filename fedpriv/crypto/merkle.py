"""Merkle trees over a fixed list of digests: a root that commits to all of them, and a path for each."""

from __future__ import annotations

from collections.abc import Sequence

from fedpriv.crypto.digest import DIGEST_BYTES, digest
from fedpriv.errors import UsageError

__all__ = ["MerkleTree", "path_length", "root_of_path"]

_EMPTY = bytes(DIGEST_BYTES)


class MerkleTree:
    """A binary tree over ``leaves``, filled up with zero digests to a power of two.

    How many leaves there are is not in the root: whoever relies on a position commits to the number too.

    Args:
        domain: separates the inner nodes of one use from those of another.
        leaves: at least one digest of 32 bytes.

    Raises:
        UsageError: no leaves, or one of another length.

    >>> tree = MerkleTree("example", [bytes([i]) * 32 for i in range(5)])
    >>> root_of_path("example", bytes([4]) * 32, 4, tree.path(4)) == tree.root
    True
    """

    __slots__ = ("_levels",)

    def __init__(self, domain: str, leaves: Sequence[bytes]) -> None:
        if not leaves or any(len(leaf) != DIGEST_BYTES for leaf in leaves):
            raise UsageError(f"A Merkle tree has at least one leaf, and each is {DIGEST_BYTES} bytes.")
        level = [*leaves, *[_EMPTY] * ((1 << path_length(len(leaves))) - len(leaves))]
        self._levels = [level]
        while len(level) > 1:
            level = [digest(domain, *level[i : i + 2]) for i in range(0, len(level), 2)]
            self._levels.append(level)

    @property
    def root(self) -> bytes:
        """The digest that commits to every leaf and its position; 32 bytes."""
        return self._levels[-1][0]

    def path(self, position: int) -> bytes:
        """The siblings of leaf ``position`` on its way up, joined: 32 bytes a level."""
        return b"".join(level[(position >> i) ^ 1] for i, level in enumerate(self._levels[:-1]))


def path_length(leaves: int) -> int:
    """Levels below the root of a tree of so many leaves: ⌈log2 leaves⌉.

    >>> [path_length(leaves) for leaves in (1, 2, 3, 4, 5)]
    [0, 1, 2, 2, 3]
    """
    return (leaves - 1).bit_length()


def root_of_path(domain: str, leaf: bytes, position: int, path: bytes) -> bytes:
    """The root to which ``path`` leads from ``leaf`` at ``position``; the caller checks the path's length."""
    node = leaf
    for i in range(0, len(path), DIGEST_BYTES):
        sibling = path[i : i + DIGEST_BYTES]
        node = digest(domain, sibling, node) if position & 1 else digest(domain, node, sibling)
        position >>= 1
    return node
