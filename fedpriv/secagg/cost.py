"""What a round costs, counted from the messages themselves."""

from __future__ import annotations

from dataclasses import dataclass

from fedpriv.crypto.agreement import PUBLIC_BYTES
from fedpriv.crypto.digest import DIGEST_BYTES
from fedpriv.crypto.field import ELEMENT_BYTES
from fedpriv.crypto.signing import SIGNATURE_BYTES
from fedpriv.errors import UsageError
from fedpriv.secagg.messages import (
    SEALED_BYTES,
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
    UploadReply,
    UploadRequest,
    encode,
)
from fedpriv.secagg.params import SecAggParams

__all__ = ["RoundCost", "round_cost"]


@dataclass(frozen=True, slots=True)
class RoundCost:
    """The cost of one round.

    Attributes:
        exchanges: requests that a surviving client answers.
        bytes_sent: by a client that survives, all stages together.
        bytes_received: by that client.
        client_masks: masks of dimension d that a client expands.
        server_masks: masks of dimension d that the server expands.
    """

    exchanges: int
    bytes_sent: int
    bytes_received: int
    client_masks: int
    server_masks: int


def round_cost(params: SecAggParams, *, dropouts: int = 0) -> RoundCost:
    """The cost of a round in which all n clients share and ``dropouts`` of them vanish before the upload.

    The bytes are exact for the client with the largest identifier, and within a few for the others.

    Raises:
        UsageError: more dropouts than the threshold allows.

    >>> round_cost(SecAggParams.for_cohort(8, bits=32, dimension=1000)).client_masks
    8
    """
    if not 0 <= dropouts <= params.max_dropouts:
        raise UsageError(f"{dropouts} dropouts do not lie in 0..{params.max_dropouts}.")
    own = params.clients
    everyone = range(1, own + 1)
    dropped, survivors = tuple(everyone[:dropouts]), tuple(everyone[dropouts:])
    session = key = bytes(DIGEST_BYTES)
    signature, sealed, element = bytes(SIGNATURE_BYTES), bytes(SEALED_BYTES), bytes(ELEMENT_BYTES)
    bundles = tuple(Bundle(i, bytes(PUBLIC_BYTES), bytes(PUBLIC_BYTES), key, signature) for i in everyone)
    mail = tuple((peer, sealed) for peer in everyone if peer != own)
    kinds: dict[int, Kind] = {owner: "key" if owner in dropped else "seed" for owner in everyone}
    shares = tuple((owner, kind, element) for owner, kind in kinds.items())
    sent: list[Message] = [
        AdvertiseReply(session=session, sender=own, bundle=bundles[-1]),
        ShareReply(session=session, sender=own, shares=mail),
        UploadReply(session=session, sender=own, vector=bytes(params.upload_bytes)),
        UnmaskReply(session=session, sender=own, shares=shares),
    ]
    signed = tuple((survivor, signature) for survivor in survivors) if params.consistency_check else ()
    received: list[Message] = [
        AdvertiseRequest(session=session),
        ShareRequest(session=session, bundles=bundles),
        UploadRequest(session=session, shares=mail),
        UnmaskRequest(session=session, survivors=survivors, dropped=dropped, signatures=signed),
    ]
    if params.consistency_check:
        sent.append(ConsistencyReply(session=session, sender=own, signature=signature))
        received.append(ConsistencyRequest(session=session, survivors=survivors))
    return RoundCost(
        exchanges=len(sent),
        bytes_sent=sum(len(encode(message)) for message in sent),
        bytes_received=sum(len(encode(message)) for message in received),
        client_masks=params.clients,
        server_masks=len(survivors) * (1 + len(dropped)),
    )
