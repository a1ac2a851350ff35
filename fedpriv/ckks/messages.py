"""The messages on the wire; their one form is that of `fedpriv.encoding.messages`.

Polynomials travel as the packed residues of `fedpriv.ckks.wire`; who reads a message checks their length
before it unpacks them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from fedpriv.ckks.params import CkksParams
from fedpriv.ckks.wire import packed_rows_size
from fedpriv.crypto.aead import OVERHEAD_BYTES
from fedpriv.crypto.agreement import PUBLIC_BYTES
from fedpriv.crypto.digest import DIGEST_BYTES
from fedpriv.crypto.signing import SIGNATURE_BYTES
from fedpriv.encoding.messages import VERSION, Message, check_ascending, decode, encode

__all__ = [
    "EXCHANGE_BYTES",
    "VERSION",
    "AdvertiseReply",
    "AdvertiseRequest",
    "CommitReply",
    "CommitRequest",
    "ConfirmReply",
    "ConfirmRequest",
    "DealReply",
    "DealRequest",
    "Message",
    "OpenChunk",
    "OpenReply",
    "OpenRequest",
    "Reply",
    "Request",
    "RevealReply",
    "RevealRequest",
    "Seal",
    "SignedKey",
    "UploadChunk",
    "UploadRequest",
    "UploadSeal",
    "chunks_per_exchange",
    "decode_reply",
    "decode_request",
    "encode",
    "first_bytes",
    "reply_bytes",
    "request_bytes",
    "second_bytes",
]

EXCHANGE_BYTES = 2**24
"""What one exchange of the opening aims to hold: as many chunks as fit, and at least one."""

MAX_PARTY = 2**20
MAX_NUMBER = 2**63 - 2
MAX_CHUNK = 2**31 - 1

PartyId = Annotated[int, msgspec.Meta(ge=0, le=MAX_PARTY)]
Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
Round = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
ChunkIndex = Annotated[int, msgspec.Meta(ge=0, le=MAX_CHUNK)]
Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
PublicKey = Annotated[bytes, msgspec.Meta(min_length=PUBLIC_BYTES, max_length=PUBLIC_BYTES)]
Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
Sealed = Annotated[bytes, msgspec.Meta(min_length=OVERHEAD_BYTES)]
Polynomial = bytes
"""Packed residues, row after row; the reader checks the length."""


class SignedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A public key with the signatures of those that saw it made.

    ``number`` is κ, ``members`` the holders U that made it, ``public`` the packed b; a follows from κ.
    """

    number: Number
    members: tuple[PartyId, ...]
    public: Polynomial
    signatures: tuple[tuple[PartyId, Signature], ...]

    def __post_init__(self) -> None:
        check_ascending(self.members)
        check_ascending(signer for signer, _ in self.signatures)


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client signs of its upload: for each chunk H(D first, c_0) ‖ H(D second, c_1), all joined.

    Round, context and key's name are signed with them and not sent: each side has its own.
    """

    client: PartyId
    digests: bytes
    signature: Signature


class OpenChunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """What a holder needs of one chunk: the sum of c_0 (where t = 1, else empty), and the c_1.

    With a server that may deviate ``seconds`` are the clients' own, in the order of the seals; with a
    semi-honest one there is one, their sum.
    """

    first: Polynomial
    seconds: tuple[Polynomial, ...]


class AdvertiseRequest(Message, frozen=True, kw_only=True, tag="advertise-request"):
    """Server to holder: begin to make key ``number``."""

    number: Number


class AdvertiseReply(Message, frozen=True, kw_only=True, tag="advertise-reply"):
    """Holder to server: a fresh X25519 key, signed."""

    sender: PartyId
    key: PublicKey
    signature: Signature


class DealRequest(Message, frozen=True, kw_only=True, tag="deal-request"):
    """Server to holder: these advertised, (holder, key, signature); deal secrets among them."""

    number: Number
    keys: tuple[tuple[PartyId, PublicKey, Signature], ...]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(holder for holder, _, _ in self.keys)


class DealReply(Message, frozen=True, kw_only=True, tag="deal-reply"):
    """Holder to server: (destination, sealed secrets of the subsets that both are in)."""

    sender: PartyId
    shares: tuple[tuple[PartyId, Sealed], ...]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(destination for destination, _ in self.shares)


class CommitRequest(Message, frozen=True, kw_only=True, tag="commit-request"):
    """Server to holder: these are U, and this is what they dealt you, (source, sealed).

    When the stage is repeated ``number`` is a higher one and ``shares`` is empty.
    """

    number: Number
    members: tuple[PartyId, ...]
    shares: tuple[tuple[PartyId, Sealed], ...]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(self.members)
        check_ascending(source for source, _ in self.shares)


class CommitReply(Message, frozen=True, kw_only=True, tag="commit-reply"):
    """Holder to server: the commitment to its part of b, signed."""

    sender: PartyId
    commitment: Digest
    signature: Signature


class RevealRequest(Message, frozen=True, kw_only=True, tag="reveal-request"):
    """Server to holder: the commitments of U, (holder, commitment, signature); reveal yours."""

    number: Number
    commitments: tuple[tuple[PartyId, Digest, Signature], ...]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(holder for holder, _, _ in self.commitments)


class RevealReply(Message, frozen=True, kw_only=True, tag="reveal-reply"):
    """Holder to server: its part of b, packed; empty from one that leads no subset."""

    sender: PartyId
    part: Polynomial


class ConfirmRequest(Message, frozen=True, kw_only=True, tag="confirm-request"):
    """Server to holder: the parts of b, (holder, part); sign the key.  No parts for a sole holder."""

    number: Number
    parts: tuple[tuple[PartyId, Polynomial], ...]

    def __post_init__(self) -> None:
        Message.__post_init__(self)
        check_ascending(holder for holder, _ in self.parts)


class ConfirmReply(Message, frozen=True, kw_only=True, tag="confirm-reply"):
    """Holder to server: the signature of the key's name; from a sole holder b too."""

    sender: PartyId
    public: Polynomial
    signature: Signature


class UploadRequest(Message, frozen=True, kw_only=True, tag="upload-request"):
    """Server to client: encrypt, under this key; none for a client that has it."""

    round: Round
    key: SignedKey | None


class UploadChunk(Message, frozen=True, kw_only=True, tag="upload-chunk"):
    """Client to server: a chunk, c_0 (the coefficients that hold values) and c_1, packed."""

    sender: PartyId
    round: Round
    chunk: ChunkIndex
    first: Polynomial
    second: Polynomial


class UploadSeal(Message, frozen=True, kw_only=True, tag="upload-seal"):
    """Client to server: the signature over all chunks; the upload is complete."""

    sender: PartyId
    round: Round
    seal: Seal


class OpenRequest(Message, frozen=True, kw_only=True, tag="open-request"):
    """Server to holder: answer for these chunks of the sum of those that sealed.

    ``key`` is the key's name, ``chunk`` the index of the first of ``chunks``.  The first request of a round
    to a holder has all seals, the later ones none.
    """

    round: Round
    key: Digest
    seals: tuple[Seal, ...]
    chunk: ChunkIndex
    chunks: tuple[OpenChunk, ...]


class OpenReply(Message, frozen=True, kw_only=True, tag="open-reply"):
    """Holder to server: for each chunk the sums of values (t = 1), or the flooded part, packed."""

    sender: PartyId
    round: Round
    chunk: ChunkIndex
    answers: tuple[bytes, ...]


Request = (
    AdvertiseRequest
    | DealRequest
    | CommitRequest
    | RevealRequest
    | ConfirmRequest
    | UploadRequest
    | OpenRequest
)
Reply = (
    AdvertiseReply
    | DealReply
    | CommitReply
    | RevealReply
    | ConfirmReply
    | UploadChunk
    | UploadSeal
    | OpenReply
)

_REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def decode_request(data: bytes, params: CkksParams) -> Request:
    """The server's message that ``data`` is.

    Raises:
        DecodeError: it is none, it is not in its one form, or it is longer than any can be.
    """
    return decode(_REQUESTS, data, request_bytes(params))


def decode_reply(data: bytes, params: CkksParams) -> Reply:
    """The client's or holder's message that ``data`` is.

    Raises:
        DecodeError: it is none, it is not in its one form, or it is longer than any can be.
    """
    return decode(_REPLIES, data, reply_bytes(params))


def first_bytes(params: CkksParams, chunk: int) -> int:
    """Bytes of a chunk's c_0: the coefficients that hold values."""
    return packed_rows_size(params.ring.primes, params.layout.used(chunk))


def second_bytes(params: CkksParams) -> int:
    """Bytes of a chunk's c_1, and of a flooded part."""
    return packed_rows_size(params.ring.primes, params.ring.degree)


def chunks_per_exchange(params: CkksParams, survivors: int) -> int:
    """How many chunks of a sum over ``survivors`` one exchange of the opening holds; at least one."""
    seconds = survivors if params.malicious else 1
    first = first_bytes(params, 0) if params.threshold == 1 else 0
    return max(1, EXCHANGE_BYTES // (first + seconds * second_bytes(params)))


def request_bytes(params: CkksParams) -> int:
    """More than any of the server's messages takes."""
    holders, subsets = len(params.holders), params.secrets
    making = holders * (params.key_bytes + 32 * subsets + 256)
    seals = params.clients * (64 * params.layout.chunks + 128)
    opening = max(EXCHANGE_BYTES, (params.clients + 1) * (second_bytes(params) + 16))
    return 4096 + making + seals + opening + 64 * params.clients * params.layout.chunks


def reply_bytes(params: CkksParams) -> int:
    """More than any message of a client or holder takes."""
    sealed = len(params.holders) * (32 * params.secrets + 128)
    upload = max(2 * second_bytes(params), 64 * params.layout.chunks)
    opening = max(EXCHANGE_BYTES, second_bytes(params)) + 16 * params.layout.chunks
    return 4096 + max(params.key_bytes, sealed, upload, opening)
