"""What is hashed and signed: identifiers, statements, and what they bind (protocols/ckks/spec.md).

Identifiers are computed by each party from what it agreed to beforehand; none is taken from a message.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedpriv.ckks.messages import MAX_NUMBER, VERSION, Request, Seal, decode_request
from fedpriv.ckks.params import CkksParams
from fedpriv.crypto.digest import digest, frame
from fedpriv.crypto.signing import PUBLIC_BYTES, SigningKey, verify
from fedpriv.errors import ProtocolViolation, UsageError

__all__ = [
    "ADVERTISE_DOMAIN",
    "COMMIT_DOMAIN",
    "KEY_DOMAIN",
    "NAME",
    "UPLOAD_DOMAIN",
    "Run",
    "advertise_statement",
    "check_identity",
    "check_round",
    "chunk_digests",
    "commit_statement",
    "commitment",
    "deal_context",
    "first_digest",
    "second_digest",
    "upload_statement",
]

NAME = "fedpriv ckks v1"
ADVERTISE_DOMAIN = f"{NAME} advertise"
COMMIT_DOMAIN = f"{NAME} commit"
KEY_DOMAIN = f"{NAME} key"
UPLOAD_DOMAIN = f"{NAME} upload"

RUN_ID_BYTES = 16
CONTEXT_BYTES = 32

_U32, _U64 = struct.Struct(">I"), struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its parties name it.

    Attributes:
        params: what all agreed on.
        session: 32 bytes that bind version, run, parameters and roster.
        roster: party -> Ed25519 public key (32 bytes); the authority is party 0.
    """

    params: CkksParams
    session: bytes
    roster: Mapping[int, bytes]

    @classmethod
    def of(cls, params: CkksParams, run_id: bytes, roster: Mapping[int, bytes]) -> Run:
        """The run of some parameters.

        Raises:
            UsageError: a run identifier that is not 16 bytes, or a roster that is not that of the clients
                1..n and, in mode 'authority', party 0; with one identity twice, or a key of another length.
        """
        if not isinstance(run_id, bytes) or len(run_id) != RUN_ID_BYTES:
            raise UsageError(f"A run identifier is {RUN_ID_BYTES} bytes.")
        expected = set(range(1, params.clients + 1)) | set(params.holders)
        if set(roster) != expected:
            authority = ", and the authority as party 0" if params.mode == "authority" else ""
            raise UsageError(f"The roster names the clients 1..{params.clients}{authority}, and no others.")
        keys = {party: roster[party] for party in sorted(roster)}
        if not all(isinstance(key, bytes) and len(key) == PUBLIC_BYTES for key in keys.values()):
            raise UsageError(f"Each identity in the roster is a public key of {PUBLIC_BYTES} bytes.")
        if len(set(keys.values())) != len(keys):
            raise UsageError("Two parties of the roster have the same identity.")
        roster_hash = digest(f"{NAME} roster", *(_U32.pack(party) + key for party, key in keys.items()))
        session = digest(f"{NAME} session", _U32.pack(VERSION), run_id, params.canonical(), roster_hash)
        return cls(params, session, keys)

    def signed_by(self, party: int, domain: str, statement: bytes, signature: bytes) -> bool:
        """Whether a party of the roster signed this; false for one that is not in it."""
        return party in self.roster and verify(self.roster[party], domain, statement, signature)

    def request(self, data: bytes) -> Request:
        """The server's message that ``data`` is.

        Raises:
            DecodeError: it is none.
            ProtocolViolation: CK-17, it belongs to another session.
        """
        message = decode_request(data, self.params)
        if message.session != self.session:
            raise ProtocolViolation(
                "The server's message belongs to another session.",
                clause="CK-17",
                hint="The server runs with other parameters, another roster or another run than this party.",
            )
        return message

    def is_client(self, party: int) -> bool:
        """Whether a number is one of 1..n."""
        return 1 <= party <= self.params.clients


def check_identity(run: Run, party: int, key: SigningKey) -> None:
    """That the roster lists this identity under this number.

    Raises:
        UsageError: it does not.
    """
    if run.roster.get(party) != key.public:
        raise UsageError(f"The roster does not list this identity as party {party}.")


def check_round(round_: int, context: bytes, last: int) -> None:
    """That a round may be opened after round ``last``.

    Raises:
        UsageError: a number that is not higher or out of range, or a context that is not 32 bytes.
    """
    if isinstance(round_, bool) or not isinstance(round_, int) or not 0 <= round_ <= MAX_NUMBER:
        raise UsageError(f"A round is a whole number from 0 to 2**63 - 2, not {round_!r}.")
    if not isinstance(context, bytes) or len(context) != CONTEXT_BYTES:
        raise UsageError(f"A round's context is a digest of {CONTEXT_BYTES} bytes.")
    if round_ <= last:
        raise UsageError(
            f"Round {round_} does not come after round {last}.",
            hint="Give each round a higher number than all before; a lost one is not repeated. [CK-13]",
        )


def advertise_statement(session: bytes, number: int, key: bytes) -> bytes:
    """What a holder signs of its X25519 key."""
    return frame(session, _U64.pack(number), key)


def deal_context(number: int, source: int, destination: int) -> tuple[bytes, ...]:
    """What the key of a sealed deal is for: from whom to whom, in which attempt."""
    return (b"deal", _U64.pack(number), _U32.pack(source), _U32.pack(destination))


def commitment(session: bytes, number: int, members: Sequence[int], holder: int, part: bytes) -> bytes:
    """C_i: binds holder i to its packed part of b before it sees another's (CK-6)."""
    return digest(
        f"{NAME} commitment", session, _U64.pack(number), _numbers(members), _U32.pack(holder), part
    )


def commit_statement(  # noqa: PLR0917 - the attempt, and the one in which secrets were dealt
    session: bytes,
    number: int,
    members: Sequence[int],
    dealt: int,
    dealers: Sequence[int],
    commitment_: bytes,
) -> bytes:
    """What a holder signs of its commitment: U, and with which deals of which attempt it came about.

    Where the stage is repeated, U is smaller than the ``dealers`` whose deals went into the secrets of
    subsets; a server that had shown holders different dealers would else not be found out.
    """
    return frame(
        session, _U64.pack(number), _numbers(members), _U64.pack(dealt), _numbers(dealers), commitment_
    )


def first_digest(packed: bytes) -> bytes:
    """H(D first, c_0) of one chunk."""
    return digest(f"{NAME} first", packed)


def second_digest(packed: bytes) -> bytes:
    """H(D second, c_1) of one chunk."""
    return digest(f"{NAME} second", packed)


def upload_statement(session: bytes, round_: int, context: bytes, key: bytes, digests: bytes) -> bytes:
    """What a client signs of its upload; ``digests`` as in `Seal`, ``key`` the key's name."""
    return frame(session, _U64.pack(round_), context, key, digests)


def chunk_digests(seal: Seal, chunk: int) -> tuple[bytes, bytes]:
    """The digests of one chunk's c_0 and c_1 in a seal."""
    return seal.digests[64 * chunk : 64 * chunk + 32], seal.digests[64 * chunk + 32 : 64 * chunk + 64]


def _numbers(parties: Sequence[int]) -> bytes:
    return b"".join(map(_U32.pack, parties))
