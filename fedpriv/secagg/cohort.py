"""The clients that advertised keys for a round (U1), as one client or the server sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fedpriv.crypto.agreement import AgreementKey, derive_key
from fedpriv.crypto.digest import digest, frame
from fedpriv.crypto.merkle import MerkleTree, path_length, root_of_path
from fedpriv.errors import ProtocolViolation
from fedpriv.secagg.graph import ring_neighbours
from fedpriv.secagg.keys import NAME, NO_PREVIOUS, Group, Roster, bundle_leaf, check_bundle, number
from fedpriv.secagg.members import Members
from fedpriv.secagg.messages import Bundle, View
from fedpriv.secagg.params import SecAggParams

__all__ = [
    "CONSISTENCY_DOMAIN",
    "SHARERS_DOMAIN",
    "Cohort",
    "Register",
    "consistency_statement",
    "pair_mask_keys",
    "self_mask_keys",
    "sharers_statement",
]

CONSISTENCY_DOMAIN = f"{NAME} consistency"
SHARERS_DOMAIN = f"{NAME} sharers"

_NODE_DOMAIN = f"{NAME} node"


class Cohort(msgspec.Struct, frozen=True):
    """U1 as one client knows it: the hash that names it, and the bundles of itself and its neighbours.

    ``hash`` (32 bytes) binds the session, who is in U1 (``members``), and all their keys.
    """

    hash: bytes
    members: bytes
    bundles: dict[int, Bundle]

    @classmethod
    def of_view(  # noqa: PLR0917 - a view is checked against all that the client knows
        cls,
        view: View,
        group: Group,
        round_: int,
        session: bytes,
        client: int,
        params: SecAggParams,
        roster: Roster,
    ) -> Cohort:
        """The cohort that a view shows, once every bundle in it and, on a sparse graph, the choice of
        neighbours has been checked.

        Raises:
            DecodeError: a set that is none.
            ProtocolViolation: SA-1, a bundle that breaks it; SA-6, keys made ahead in different rounds;
                SA-17, other clients than the graph's neighbours, or a path that does not fit.
        """
        members = Members.parse(view.members, params.clients)
        seen: set[bytes] = set()
        for bundle in view.bundles:
            check_bundle(group, round_, bundle, roster, seen)
        bundles = {bundle.client: bundle for bundle in view.bundles}
        if len(cls(b"", b"", bundles).previous()) > (1 if params.complete else 0):
            raise ProtocolViolation("Keys made ahead name different rounds before this one.", clause="SA-6")
        leaves = {shown: bundle_leaf(group, round_, bundle) for shown, bundle in bundles.items()}
        if params.complete:
            if tuple(bundles) != tuple(members) or view.paths:
                raise ProtocolViolation(
                    "The keys shown are not those of the cohort's members.", clause="SA-17"
                )
            root = MerkleTree(_NODE_DOMAIN, tuple(leaves.values())).root if leaves else NO_PREVIOUS
            return cls(_hash(session, view.members, root), view.members, bundles)
        root = _common_root(leaves, members, view.paths)
        hash_ = _hash(session, view.members, root)
        if client not in bundles or set(bundles) != {client, *_ring(hash_, members, params.degree, client)}:
            raise ProtocolViolation("The clients shown are not this client's neighbours.", clause="SA-17")
        return cls(hash_, view.members, bundles)

    def previous(self) -> set[bytes]:
        """The cohort that keys made ahead name; empty where there are none."""
        return {bundle.previous for bundle in self.bundles.values()} - {NO_PREVIOUS}

    def neighbours(self, client: int) -> tuple[int, ...]:
        """The clients with which ``client``, whose view this is, shares masks, ascending."""
        return tuple(peer for peer in self.bundles if peer != client)

    def holders(self, client: int, *, complete: bool) -> tuple[int, ...]:
        """The clients that hold shares of ``client``, whose view this is, ascending."""
        return tuple(self.bundles) if complete else self.neighbours(client)


def pair_mask_keys(
    cohort: bytes, own: AgreementKey, client: int, peer: Bundle, names: Iterable[str]
) -> list[bytes]:
    """The mask keys of ``client``, whose key s is ``own``, with a peer; one a vector (SA-7)."""
    low, high = sorted((client, peer.client))
    secret = own.agree(peer.mask_key)
    return [_derive(secret, cohort, b"pair mask", number(low), number(high), name.encode()) for name in names]


def self_mask_keys(cohort: bytes, seed: bytes, client: int, names: Iterable[str]) -> list[bytes]:
    """The keys of a client's own masks, from its seed b; one a vector (SA-7)."""
    return [_derive(seed, cohort, b"self mask", number(client), name.encode()) for name in names]


def consistency_statement(session: bytes, cohort: bytes, sharers: bytes, survivors: bytes) -> bytes:
    """What a client signs before it reveals shares: the session, U1 with its keys, U2 and U3."""
    return frame(session, cohort, sharers, survivors)


def sharers_statement(session: bytes, cohort: bytes, sharers: bytes) -> bytes:
    """What a client signs on a sparse graph when it uploads: with whom it could exchange masks (U2)."""
    return frame(session, cohort, sharers)


class Register:
    """U1 as the server knows it: all bundles, the tree over them, and who is whose neighbour.

    Args:
        params, group: of the run.
        round_, session: of the round.
        bundles: checked ones, at least one.
    """

    def __init__(
        self, params: SecAggParams, group: Group, round_: int, session: bytes, bundles: Mapping[int, Bundle]
    ) -> None:
        self._params = params
        self.bundles = {client: bundles[client] for client in sorted(bundles)}
        self.members = Members.of(self.bundles, params.clients)
        leaves = [bundle_leaf(group, round_, bundle) for bundle in self.bundles.values()]
        self._tree = MerkleTree(_NODE_DOMAIN, leaves)
        self.hash = _hash(session, self.members.data, self._tree.root)

    def neighbours(self, client: int) -> tuple[int, ...]:
        """The clients with which ``client`` shares masks, ascending."""
        if self._params.complete:
            return tuple(member for member in self.bundles if member != client)
        return _ring(self.hash, self.members, self._params.degree, client)

    def holders(self, client: int) -> tuple[int, ...]:
        """The clients that hold shares of ``client``'s secrets, ascending."""
        return tuple(self.bundles) if self._params.complete else self.neighbours(client)

    def view(self, client: int) -> View:
        """What ``client`` is shown."""
        if self._params.complete:
            return View(self.members.data, tuple(self.bundles.values()), ())
        shown = sorted((client, *self.neighbours(client)))
        return View(
            self.members.data,
            tuple(self.bundles[member] for member in shown),
            tuple(self._tree.path(self.members.rank(member)) for member in shown),
        )


def _hash(session: bytes, members: bytes, root: bytes) -> bytes:
    return digest(f"{NAME} cohort", session, members, root)


def _common_root(leaves: Mapping[int, bytes], members: Members, paths: tuple[bytes, ...]) -> bytes:
    """The root to which all paths lead (SA-17)."""
    length = 32 * path_length(max(len(members), 1))
    if len(paths) != len(leaves) or any(len(path) != length for path in paths):
        raise ProtocolViolation("The keys shown do not come with a path each.", clause="SA-17")
    if not leaves or not all(client in members for client in leaves):
        raise ProtocolViolation("A client that is shown is not among the cohort's members.", clause="SA-17")
    roots = {
        root_of_path(_NODE_DOMAIN, leaf, members.rank(client), path)
        for (client, leaf), path in zip(leaves.items(), paths, strict=True)
    }
    if len(roots) != 1:
        raise ProtocolViolation("The keys shown are not all part of one cohort.", clause="SA-17")
    return roots.pop()


def _ring(cohort: bytes, members: Members, degree: int, client: int) -> tuple[int, ...]:
    """The neighbours of a client on the sparse graph of a cohort (protocols/secagg/graph.md)."""
    if len(members) <= degree:
        raise ProtocolViolation(
            f"{len(members)} clients are too few for a graph in which each has {degree} neighbours.",
            clause="SA-9",
        )
    seed = digest(f"{NAME} graph", cohort)
    ranks = ring_neighbours(seed, len(members), degree, members.rank(client))
    return tuple(members.ids()[list(ranks)].tolist())


def _derive(secret: bytes, cohort: bytes, *parts: bytes) -> bytes:
    return derive_key(secret, salt=cohort, info=(NAME.encode(), *parts))
