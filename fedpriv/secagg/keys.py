"""Identifiers and keys: what a run, a round and a client's keys are called, signed and derived from."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fedpriv.crypto.agreement import AgreementKey, is_safe_public
from fedpriv.crypto.digest import DIGEST_BYTES, digest, frame
from fedpriv.crypto.signing import PUBLIC_BYTES, SigningKey, verify
from fedpriv.errors import ProtocolViolation, UsageError
from fedpriv.secagg.levels import level_chain
from fedpriv.secagg.messages import VERSION, Bundle
from fedpriv.secagg.params import SecAggParams

__all__ = [
    "NAME",
    "Group",
    "Roster",
    "Secrets",
    "bundle_leaf",
    "check_bundle",
    "make_bundle",
    "number",
    "seed_commitment",
]

NAME = "fedpriv secagg v2"
SEED_BYTES = 32
RUN_ID_BYTES = 16
CONTEXT_BYTES = 32
MAX_ROUND = 2**63 - 2
NO_PREVIOUS = bytes(DIGEST_BYTES)

_BUNDLE_DOMAIN = f"{NAME} bundle"


class Roster(Mapping[int, bytes]):
    """The clients' identities: client 1..n -> Ed25519 public key (32 bytes), checked once, never changed.

    Obtained from somewhere other than the server.  `Client` and `Server` also take a plain mapping; parties
    in one process save time by sharing one roster.

    Raises:
        UsageError: other clients than 1..n, a key of another length, or one identity for two.
    """

    __slots__ = ("_keys", "digest")

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        if set(keys) != set(range(1, len(keys) + 1)):
            raise UsageError(f"A roster of {len(keys)} names the clients 1..{len(keys)}, and no others.")
        if not all(isinstance(key, bytes) and len(key) == PUBLIC_BYTES for key in keys.values()):
            raise UsageError(f"Each identity in the roster is a public key of {PUBLIC_BYTES} bytes.")
        if len(set(keys.values())) != len(keys):
            raise UsageError("Two clients of the roster have the same identity.")
        self._keys = {client: keys[client] for client in sorted(keys)}
        self.digest = digest(f"{NAME} roster", *(number(client) + key for client, key in self._keys.items()))

    @classmethod
    def of(cls, keys: Mapping[int, bytes], clients: int) -> Roster:
        """The roster of n clients.

        Raises:
            UsageError: it is none, or of another number.
        """
        roster = keys if isinstance(keys, Roster) else cls(keys)
        if len(roster) != clients:
            raise UsageError(f"The roster names {len(roster)} clients and the parameters {clients}.")
        return roster

    def __getitem__(self, client: int) -> bytes:
        return self._keys[client]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class Group(msgspec.Struct, frozen=True):
    """A run as its parties name it; ``id`` (32 bytes) binds version, run, parameters and roster (SA-4)."""

    id: bytes

    @classmethod
    def of(cls, params: SecAggParams, run_id: bytes, roster: Roster) -> Group:
        """The group of a run.

        Raises:
            UsageError: a run identifier that is not 16 bytes.
        """
        if not isinstance(run_id, bytes) or len(run_id) != RUN_ID_BYTES:
            raise UsageError(f"A run identifier is {RUN_ID_BYTES} bytes.")
        return cls(digest(f"{NAME} group", number(VERSION), run_id, params.encode(), roster.digest))

    def session(self, round_: int, context: bytes) -> bytes:
        """32 bytes that name a round of the run and what it is about; never taken from the wire (SA-4, SA-5).

        Raises:
            UsageError: a round out of range, or a context that is not 32 bytes.
        """
        if isinstance(round_, bool) or not isinstance(round_, int) or not 0 <= round_ <= MAX_ROUND:
            raise UsageError(f"A round is a whole number from 0 to 2**63 - 2, not {round_!r}.")
        if not isinstance(context, bytes) or len(context) != CONTEXT_BYTES:
            raise UsageError(f"A round's context is a digest of {CONTEXT_BYTES} bytes.")
        return digest(f"{NAME} session", self.id, _round(round_), context)


class Secrets(msgspec.Struct, frozen=True):
    """A client's secrets of one round: the seeds of its keys c and s, its self-mask seed b, and in a session
    with levels the secret of the highest; 32 bytes each."""

    round: int
    cipher: bytes
    mask: bytes
    seed: bytes
    level: bytes = b""

    def __repr__(self) -> str:
        """The round only."""
        return f"<Secrets of round {self.round}>"


def make_bundle(  # noqa: PLR0917 - whose, of what, signed by whom
    group: Group, client: int, secrets: Secrets, previous: bytes, signer: SigningKey, levels: int = 0
) -> Bundle:
    """The public half of a client's secrets, signed for their round; ``levels`` is L."""
    chain = level_chain(secrets.round, client, secrets.level, levels) if levels else (None,)
    unsigned = Bundle(
        client=client,
        cipher_key=AgreementKey.from_seed(secrets.cipher).public,
        mask_key=AgreementKey.from_seed(secrets.mask).public,
        seed_commitment=seed_commitment(group, secrets.round, client, secrets.seed),
        previous=previous,
        signature=b"",
        level_commitment=chain[0],
    )
    signature = signer.sign(_BUNDLE_DOMAIN, _statement(group, secrets.round, unsigned))
    return msgspec.structs.replace(unsigned, signature=signature)


def seed_commitment(group: Group, round_: int, client: int, seed: bytes) -> bytes:
    """A hash commitment to b; hiding because b is 32 uniform bytes."""
    return digest(f"{NAME} seed commitment", group.id, _round(round_), number(client), seed)


def bundle_leaf(group: Group, round_: int, bundle: Bundle) -> bytes:
    """The digest by which a bundle enters the cohort's tree and what is sealed by its owner."""
    return digest(f"{NAME} leaf", _statement(group, round_, bundle))


def check_bundle(group: Group, round_: int, bundle: Bundle, roster: Roster, seen: set[bytes]) -> None:
    """Refuse a bundle that breaks SA-1; add its keys to those ``seen`` if it does not.

    Raises:
        ProtocolViolation: SA-1, a client outside the roster, a key of low order or already seen, or a
            signature that is not that client's for this run and round.
    """
    client = bundle.client
    if client not in roster:
        raise ProtocolViolation(f"Client {client} is not in the roster.", clause="SA-1", party=client)
    keys = (bundle.cipher_key, bundle.mask_key)
    if not all(is_safe_public(key) for key in keys):
        raise ProtocolViolation(
            f"Client {client} advertised a malformed or low-order key.", clause="SA-1", party=client
        )
    if keys[0] == keys[1] or not seen.isdisjoint(keys):
        raise ProtocolViolation(
            f"Client {client} advertised a key that is already in use.", clause="SA-1", party=client
        )
    if not verify(roster[client], _BUNDLE_DOMAIN, _statement(group, round_, bundle), bundle.signature):
        raise ProtocolViolation(
            f"The keys of client {client} are not signed by its identity for this round.",
            clause="SA-1",
            party=client,
            hint="Someone replaced the keys, or that client has another roster or other parameters.",
        )
    seen.update(keys)


def number(value: int) -> bytes:
    """A client, or the version, as 4 bytes, big-endian."""
    return value.to_bytes(4, "big")


def _round(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _statement(group: Group, round_: int, bundle: Bundle) -> bytes:
    """What a bundle's signature covers."""
    levels = () if bundle.level_commitment is None else (bundle.level_commitment,)
    return frame(
        group.id,
        _round(round_),
        number(bundle.client),
        bundle.cipher_key,
        bundle.mask_key,
        bundle.seed_commitment,
        bundle.previous,
        *levels,
    )
