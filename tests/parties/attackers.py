"""What attackers do in the tests: forge keys, use a client that does not look, and take masks off an upload.

With these a test shows what is lost without a check: where the attack succeeds, a vector comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parties.secagg import Parties, sparse_params

from fedpriv.crypto import AgreementKey, SigningKey, add_masks, combine, digest, frame
from fedpriv.secagg.client_checks import ClientChecks
from fedpriv.secagg.cohort import Cohort, Register, pair_mask_keys, self_mask_keys
from fedpriv.secagg.keys import NO_PREVIOUS
from fedpriv.secagg.masking import Residues
from fedpriv.secagg.messages import Bundle, View

NAME = "fedpriv secagg v2"
SPARSE = sparse_params(12, degree=4, threshold=3, min_survivors=9)


def neighbourhood(parties: Parties, client: int) -> set[int]:
    """A client and its neighbours in this round's graph."""
    return {client, *parties.register.neighbours(client)}


def strangers(parties: Parties, client: int) -> list[int]:
    """The others, ascending."""
    return sorted(set(parties.roster) - neighbourhood(parties, client))


def signed_bundle(
    parties: Parties,
    owner: int,
    *,
    cipher: bytes,
    mask: bytes,
    seed: bytes = b"s" * 32,
    previous: bytes = NO_PREVIOUS,
    round_: int | None = None,
    signer: SigningKey | None = None,
) -> Bundle:
    """The keys that client ``owner`` would sign if it worked for the attacker (spec, section 3)."""
    number, round_bytes = owner.to_bytes(4, "big"), (round_ or parties.round).to_bytes(8, "big")
    commitment = digest(f"{NAME} seed commitment", parties.group.id, round_bytes, number, seed)
    statement = frame(parties.group.id, round_bytes, number, cipher, mask, commitment, previous)
    signature = (signer or parties.identities[owner]).sign(f"{NAME} bundle", statement)
    return Bundle(owner, cipher, mask, commitment, previous, signature)


def shown(parties: Parties, request: bytes, *changed: Bundle) -> bytes:
    """A request whose view has some bundles replaced."""
    view = parties.read_request(request).view
    bundles = {bundle.client: bundle for bundle in (*view.bundles, *changed)}
    ordered = tuple(bundles[client] for client in sorted(bundles))
    return parties.forge_request(request, view=View(view.members, ordered, view.paths))


def careless(parties: Parties, client: int, **methods: Any) -> None:
    """Take some of a client's checks away, to see what they are worth."""
    checks = type("Careless", (ClientChecks,), methods)
    parties.clients[client]._checks = checks(parties.params, parties.roster, parties.group, client)


def believe_any_view(checks: ClientChecks, view: View, memory: Any) -> Cohort:
    """A check of a view that checks nothing."""
    bundles = {bundle.client: bundle for bundle in view.bundles}
    register = Register(checks.params, checks.group, memory.round, memory.session, bundles)
    return Cohort(register.hash, view.members, bundles)


def recovered(shares: Mapping[int, bytes]) -> bytes | None:
    """The 32 bytes that shares (holder -> 33 bytes) give, if they give any."""
    value = combine({holder: int.from_bytes(share, "big") for holder, share in shares.items()})
    return None if value >> 256 else value.to_bytes(32, "big")


def uploaded(parties: Parties, messages: Iterable[bytes]) -> list[bytes]:
    """The packed parts of an upload's messages."""
    return [parties.read_reply(message).data for message in list(messages)[1:]]


def without_masks(
    parties: Parties,
    client: int,
    parts: list[bytes],
    *,
    seed: bytes | None,
    mask: bytes | None = None,
    others: Mapping[int, bytes] | None = None,
    cohort: Cohort | Register | None = None,
    partners: Iterable[int] | None = None,
) -> dict[str, NDArray[np.uint64]]:
    """An upload less those of its masks that somebody can compute.

    Args:
        parties: of the round.
        client: whose upload it is.
        parts: what it uploaded.
        seed: its b, if that is known.
        mask: the seed of its s, if that is known: then all its pair masks are.
        others: partner -> the seed of that partner's s, where one is known.
        cohort: as the client knows it; the server's, if not given.
        partners: those with whom it exchanged masks; all neighbours, if not given.
    """
    cohort = cohort or parties.register
    peers = cohort.neighbours(client) if partners is None else tuple(partners)
    names = [vector.name for vector in parties.params.vectors]
    streams = [] if seed is None else [(self_mask_keys(cohort.hash, seed, client, names), True)]
    for peer in peers:
        if mask is not None:
            own, bundle, at = AgreementKey.from_seed(mask), cohort.bundles[peer], client
        elif peer in (others or {}):
            own, bundle, at = AgreementKey.from_seed((others or {})[peer]), cohort.bundles[client], peer
        else:
            continue
        keys = pair_mask_keys(cohort.hash, own, at, bundle, names)
        streams.append((keys, client < peer))  # what it added is taken away
    left = Residues(parties.params)
    left.add(parts)
    left.add_masks(
        {name: [(keys[i], minus) for keys, minus in streams] for i, name in enumerate(names)}, add_masks
    )
    return left.values()


def opens(
    parties: Parties, client: int, parts: list[bytes], vectors: Mapping[str, Any] | None = None, **known: Any
) -> bool:
    """Whether taking off the masks that are known gives the client's vectors."""
    found = without_masks(parties, client, parts, **known)
    wanted = parties.vectors[client] if vectors is None else vectors
    return all(np.array_equal(found[name], wanted[name]) for name in found)
