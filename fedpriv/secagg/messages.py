"""The messages on the wire; their one form is that of `fedpriv.encoding.messages`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec

from fedpriv.crypto.aead import OVERHEAD_BYTES
from fedpriv.crypto.agreement import PUBLIC_BYTES
from fedpriv.crypto.digest import DIGEST_BYTES
from fedpriv.crypto.field import ELEMENT_BYTES
from fedpriv.crypto.merkle import path_length
from fedpriv.crypto.signing import SIGNATURE_BYTES
from fedpriv.encoding.messages import VERSION, Message, check_ascending, decode, encode
from fedpriv.errors import DecodeError
from fedpriv.secagg.levels import MAX_LEVELS
from fedpriv.secagg.params import MAX_CLIENTS, SecAggParams
from fedpriv.secagg.vectors import MAX_VECTORS, PART_VALUES

__all__ = [
    "VERSION",
    "AdvertiseReply",
    "AdvertiseRequest",
    "Bundle",
    "ConsistencyReply",
    "ConsistencyRequest",
    "Kind",
    "Message",
    "Reply",
    "Request",
    "ShareReply",
    "ShareRequest",
    "UnmaskReply",
    "UnmaskRequest",
    "UploadHeader",
    "UploadPart",
    "UploadRequest",
    "View",
    "decode_reply",
    "decode_request",
    "encode",
    "sealed_bytes",
]

SEALED_BYTES = 2 * ELEMENT_BYTES + OVERHEAD_BYTES
"""Sealed shares without levels; see `sealed_bytes`."""

ClientId = Annotated[int, msgspec.Meta(ge=1, le=MAX_CLIENTS)]
Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
PublicKey = Annotated[bytes, msgspec.Meta(min_length=PUBLIC_BYTES, max_length=PUBLIC_BYTES)]
Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
Sealed = Annotated[
    bytes, msgspec.Meta(min_length=SEALED_BYTES, max_length=SEALED_BYTES + MAX_LEVELS * ELEMENT_BYTES)
]
Revealed = Annotated[bytes, msgspec.Meta(min_length=ELEMENT_BYTES, max_length=2 * ELEMENT_BYTES)]
Kind = Literal["key", "seed"]
Set = bytes
"""A set of clients as bits, `fedpriv.secagg.members`; the reader of the message checks its length."""

_T = TypeVar("_T")
_REVEALED: dict[Kind, tuple[int, ...]] = {
    "key": (ELEMENT_BYTES,),
    "seed": (ELEMENT_BYTES, 2 * ELEMENT_BYTES),
}
_PART_BYTES = 8 * PART_VALUES
_MOST_PARTS = MAX_VECTORS * 2**13


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One client's keys for one round, signed by its identity.

    ``cipher_key`` is c, for the encryption of shares; ``mask_key`` is s, for the pairwise masks; both X25519.
    ``seed_commitment`` binds the client to its self-mask seed b.  ``previous`` is zero for keys made within
    the round, and the cohort hash of the round before for keys made ahead.  ``level_commitment`` is s_0 of
    the client's level secrets, and there in sessions with levels only.
    """

    client: ClientId
    cipher_key: PublicKey
    mask_key: PublicKey
    seed_commitment: Digest
    previous: Digest
    signature: Signature
    level_commitment: Digest | None = None


class View(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client is shown of those that advertised (U1): all bundles, or its neighbours' with paths."""

    members: Set
    bundles: tuple[Bundle, ...]
    paths: tuple[bytes, ...]

    def __post_init__(self) -> None:
        check_ascending(bundle.client for bundle in self.bundles)


class AdvertiseRequest(Message, frozen=True, kw_only=True, tag="advertise-request"):
    """Server to client: make keys for this round."""


class AdvertiseReply(Message, frozen=True, kw_only=True, tag="advertise-reply"):
    """Client to server: here they are."""

    sender: ClientId
    bundle: Bundle


class ShareRequest(Message, frozen=True, kw_only=True, tag="share-request"):
    """Server to client: these clients advertised (U1); share your secrets among them."""

    view: View


class ShareReply(Message, frozen=True, kw_only=True, tag="share-reply"):
    """Client to server: one sealed pair of shares for each other holder, (destination, sealed)."""

    sender: ClientId
    shares: tuple[tuple[ClientId, Sealed], ...]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(destination for destination, _ in self.shares)


class UploadRequest(Message, frozen=True, kw_only=True, tag="upload-request"):
    """Server to client: these clients shared (U2), and this is what they sealed for you, (source, sealed).

    ``shares`` were dealt within the round, ``early`` ahead of it.  ``view`` is for a client without one.
    ``prepare`` asks for keys and shares for the next round.
    """

    view: View | None
    sharers: Set
    shares: tuple[tuple[ClientId, Sealed], ...]
    early: tuple[tuple[ClientId, Sealed], ...]
    prepare: bool

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(source for source, _ in self.shares)
        check_ascending(source for source, _ in self.early)


class UploadHeader(Message, frozen=True, kw_only=True, tag="upload-header"):
    """Client to server: keys and shares for the next round, if it was asked for them; the parts follow.

    ``signature`` is over those that shared (U2), on a sparse graph in malicious mode.
    """

    sender: ClientId
    bundle: Bundle | None
    shares: tuple[tuple[ClientId, Sealed], ...]
    signature: Signature | None

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(destination for destination, _ in self.shares)


class UploadPart(Message, frozen=True, kw_only=True, tag="upload-part"):
    """Client to server: a piece of a masked vector, bit-packed; counted over all vectors."""

    sender: ClientId
    part: Annotated[int, msgspec.Meta(ge=0, lt=_MOST_PARTS)]
    data: Annotated[bytes, msgspec.Meta(max_length=_PART_BYTES)]


class ConsistencyRequest(Message, frozen=True, kw_only=True, tag="consistency-request"):
    """Server to client: these clients uploaded (U3); sign that you saw this list.

    ``uploads`` shows, on a sparse graph, that the receiver's neighbours among them uploaded under its own U2.
    """

    survivors: Set
    uploads: tuple[tuple[ClientId, Signature], ...]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(client for client, _ in self.uploads)


class ConsistencyReply(Message, frozen=True, kw_only=True, tag="consistency-reply"):
    """Client to server: the signature."""

    sender: ClientId
    signature: Signature


class UnmaskRequest(Message, frozen=True, kw_only=True, tag="unmask-request"):
    """Server to client: reveal a share of each survivor's seed and of each dropped client's mask key.

    ``signatures`` are those of the receiver's holders that signed the list of survivors; empty in semi-honest
    mode.
    """

    survivors: Set
    dropped: Set
    signatures: tuple[tuple[ClientId, Signature], ...]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(signer for signer, _ in self.signatures)


class UnmaskReply(Message, frozen=True, kw_only=True, tag="unmask-reply"):
    """Client to server: (owner, kind, share) for each client of whom this one holds shares.

    One entry an owner, so the message cannot carry both kinds of share of one client.  Where the survivors
    reach a level, a share of a seed is followed by one of the owner's secret of that level.
    """

    sender: ClientId
    shares: tuple[tuple[ClientId, Kind, Revealed], ...]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(owner for owner, _, _ in self.shares)
        if not all(len(share) in _REVEALED[kind] for _, kind, share in self.shares):
            raise ValueError("a share of another length")


Request = AdvertiseRequest | ShareRequest | UploadRequest | ConsistencyRequest | UnmaskRequest
Reply = AdvertiseReply | ShareReply | UploadHeader | UploadPart | ConsistencyReply | UnmaskReply

_REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def decode_request(data: bytes, params: SecAggParams) -> Request:
    """The server's message that ``data`` is.

    Raises:
        DecodeError: it is none, it is not in its one form, or it is longer than any can be.
    """
    return _decode(_REQUESTS, data, control_bytes(params), params)


def decode_reply(data: bytes, params: SecAggParams) -> Reply:
    """The client's message that ``data`` is.

    Raises:
        DecodeError: it is none, it is not in its one form, or it is longer than any can be.
    """
    return _decode(_REPLIES, data, max(control_bytes(params), _PART_BYTES + 256), params)


def control_bytes(params: SecAggParams) -> int:
    """More than any message other than a part of an upload takes: two sets, and for each neighbour a bundle
    with its path, or what is sealed within the round and ahead."""
    each = 512 + DIGEST_BYTES * path_length(params.clients) + ELEMENT_BYTES * len(params.levels)
    return 2048 + 2 * params.set_bytes + each * (params.degree + 1)


def sealed_bytes(params: SecAggParams) -> int:
    """Bytes of what one client seals for another: shares of b, of the seed of s, and of each level secret."""
    return SEALED_BYTES + ELEMENT_BYTES * len(params.levels)


def _decode(decoder: msgspec.msgpack.Decoder[_T], data: bytes, limit: int, params: SecAggParams) -> _T:
    message = decode(decoder, data, limit)
    if not _fits(message, params):
        raise DecodeError("A message has the fields of a session with other levels.")
    return message


def _fits(message: object, params: SecAggParams) -> bool:
    """Whether the fields whose form depends on the session's levels have that form."""
    bundles: tuple[Bundle | None, ...] = ()
    sealed: tuple[tuple[int, bytes], ...] = ()
    if isinstance(message, ShareRequest | UploadRequest) and message.view is not None:
        bundles = message.view.bundles
    if isinstance(message, AdvertiseReply | UploadHeader):
        bundles = (message.bundle,)
    if isinstance(message, ShareReply | UploadHeader):
        sealed = message.shares
    elif isinstance(message, UploadRequest):
        sealed = message.shares + message.early
    elif isinstance(message, UnmaskReply) and not params.levels:
        return all(len(share) == ELEMENT_BYTES for _, _, share in message.shares)
    size = sealed_bytes(params)
    return all(len(box) == size for _, box in sealed) and all(
        bundle is None or (bundle.level_commitment is None) == (not params.levels) for bundle in bundles
    )
