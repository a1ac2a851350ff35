"""What a round costs, counted from the messages themselves."""

from __future__ import annotations

from dataclasses import dataclass

from fedpriv.crypto.agreement import PUBLIC_BYTES
from fedpriv.crypto.digest import DIGEST_BYTES
from fedpriv.crypto.field import ELEMENT_BYTES
from fedpriv.crypto.merkle import path_length
from fedpriv.crypto.signing import SIGNATURE_BYTES
from fedpriv.encoding.packing import packed_size
from fedpriv.errors import UsageError
from fedpriv.secagg.members import Members
from fedpriv.secagg.messages import (
    AdvertiseReply,
    AdvertiseRequest,
    Bundle,
    ConsistencyReply,
    ConsistencyRequest,
    Kind,
    Message,
    ShareReply,
    ShareRequest,
    UnmaskReply,
    UnmaskRequest,
    UploadHeader,
    UploadPart,
    UploadRequest,
    View,
    encode,
    sealed_bytes,
)
from fedpriv.secagg.params import SecAggParams

__all__ = ["RoundCost", "round_cost"]

_KEY = bytes(PUBLIC_BYTES)
_DIGEST = bytes(DIGEST_BYTES)
_SIGNATURE = bytes(SIGNATURE_BYTES)


@dataclass(frozen=True, slots=True)
class RoundCost:
    """The cost of one round.

    Attributes:
        exchanges: requests that a surviving client answers.
        bytes_sent: by a client that survives, all stages together.
        bytes_received: by that client.
        least_bytes: of any protocol, the values themselves: d·b bits for each vector.
        client_masks: masks that a client expands for each vector.
        server_masks: masks that the server expands for each vector; on a sparse graph their expected number.
    """

    exchanges: int
    bytes_sent: int
    bytes_received: int
    least_bytes: int
    client_masks: int
    server_masks: int


def round_cost(
    params: SecAggParams, *, dropouts: int = 0, prepared: bool = False, prepares: bool = False
) -> RoundCost:
    """The cost of a round in which all n clients share and ``dropouts`` of them vanish before the upload.

    The bytes are exact for the client with the largest identifier on the complete graph, if the others came
    into the round as it did, and within a few in a hundred elsewhere: identifiers take 1 to 5 bytes, and on a
    sparse graph the number of neighbours that vanish is its expectation.

    Args:
        params: of the run.
        dropouts: how many vanish before the upload.
        prepared: whether keys and shares were made in the round before.
        prepares: whether keys and shares are made for the next round.

    Raises:
        UsageError: more dropouts than the parameters allow, or keys made ahead on a sparse graph.

    >>> from fedpriv.secagg import Vector
    >>> params = SecAggParams.for_cohort(8, vectors=[Vector("update", 32, 1000)])
    >>> [round_cost(params, prepared=p, prepares=p).exchanges for p in (False, True)]
    [5, 3]
    """
    if not 0 <= dropouts <= params.max_dropouts:
        raise UsageError(f"{dropouts} dropouts do not lie in 0..{params.max_dropouts}.")
    if (prepared or prepares) and not params.complete:
        raise UsageError("On a sparse graph no round is prepared ahead.")
    own = params.clients
    peers = tuple(range(own - params.degree, own))
    holders = (*peers, own) if params.complete else peers
    vanished = round(params.degree * dropouts / (own - 1))
    dropped, alive = holders[:vanished], holders[vanished:]
    everyone = Members(b"\xff" * params.set_bytes, own).data
    signed = tuple((holder, _SIGNATURE) for holder in alive) if params.malicious else ()
    sparse_check = params.malicious and not params.complete
    mail = tuple((peer, bytes(sealed_bytes(params))) for peer in peers)
    kinds: dict[int, Kind] = {owner: "key" if owner in dropped else "seed" for owner in holders}
    revealed: dict[Kind, bytes] = {
        "key": bytes(ELEMENT_BYTES),
        "seed": bytes(ELEMENT_BYTES * (2 if params.level_of(own - dropouts) else 1)),
    }
    view = _view(params, everyone, (*peers, own))

    sent: list[Message] = [
        UploadHeader(
            session=_DIGEST,
            sender=own,
            bundle=_bundle(params, own) if prepares else None,
            shares=mail if prepares else (),
            signature=_SIGNATURE if sparse_check else None,
        ),
        *_parts(params, own),
        UnmaskReply(
            session=_DIGEST,
            sender=own,
            shares=tuple((owner, kind, revealed[kind]) for owner, kind in kinds.items()),
        ),
    ]
    received: list[Message] = [
        UploadRequest(
            session=_DIGEST,
            view=view if prepared else None,
            sharers=everyone,
            shares=() if prepared else mail,
            early=mail if prepared else (),
            prepare=prepares,
        ),
        UnmaskRequest(session=_DIGEST, survivors=everyone, dropped=everyone, signatures=signed),
    ]
    if not prepared:
        sent.append(AdvertiseReply(session=_DIGEST, sender=own, bundle=_bundle(params, own)))
        sent.append(ShareReply(session=_DIGEST, sender=own, shares=mail))
        received += [AdvertiseRequest(session=_DIGEST), ShareRequest(session=_DIGEST, view=view)]
    if params.malicious:
        uploads = signed if sparse_check else ()
        sent.append(ConsistencyReply(session=_DIGEST, sender=own, signature=_SIGNATURE))
        received.append(ConsistencyRequest(session=_DIGEST, survivors=everyone, uploads=uploads))
    survivors = own - dropouts
    return RoundCost(
        exchanges=len(received),
        bytes_sent=sum(len(encode(message)) for message in sent),
        bytes_received=sum(len(encode(message)) for message in received),
        least_bytes=params.upload_bytes,
        client_masks=params.degree + 1,
        server_masks=survivors + round(dropouts * params.degree * survivors / (own - 1)),
    )


def _parts(params: SecAggParams, own: int) -> list[Message]:
    sizes = [packed_size(bits, count) for bits, count in params.parts]
    return [
        UploadPart(session=_DIGEST, sender=own, part=part, data=bytes(size))
        for part, size in enumerate(sizes)
    ]


def _view(params: SecAggParams, everyone: bytes, shown: tuple[int, ...]) -> View:
    path = () if params.complete else (bytes(DIGEST_BYTES * path_length(params.clients)),) * len(shown)
    return View(everyone, tuple(_bundle(params, client) for client in shown), path)


def _bundle(params: SecAggParams, client: int) -> Bundle:
    level_commitment = _DIGEST if params.levels else None
    return Bundle(client, _KEY, _KEY, _DIGEST, _DIGEST, _SIGNATURE, level_commitment)
