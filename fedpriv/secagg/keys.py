"""The key schedule: the session identifier, signed bundles, the cohort, and every key derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fedpriv.crypto.agreement import AgreementKey, derive_key, is_safe_public
from fedpriv.crypto.digest import digest, frame
from fedpriv.crypto.signing import PUBLIC_BYTES, SigningKey, verify
from fedpriv.errors import ProtocolViolation, UsageError
from fedpriv.secagg.messages import VERSION, Bundle
from fedpriv.secagg.params import SecAggParams, Session

__all__ = ["Cohort", "RoundKeys", "check_bundle", "check_roster", "consistency_statement", "session_id"]

_NAME = "fedpriv secagg v1"
BUNDLE_DOMAIN = f"{_NAME} bundle"
CONSISTENCY_DOMAIN = f"{_NAME} consistency"
# The name of the one vector of this version; part of its mask keys, so that others can stand beside it.
_VECTOR = b"update"

SEED_BYTES = 32


def check_roster(params: SecAggParams, roster: Mapping[int, bytes]) -> dict[int, bytes]:
    """A copy of the roster once it fits: clients 1..n, each with an Ed25519 key of its own.

    Raises:
        UsageError: it does not.
    """
    if set(roster) != set(range(1, params.clients + 1)):
        raise UsageError(f"The roster names other clients than 1..{params.clients}.")
    if not all(isinstance(key, bytes) and len(key) == PUBLIC_BYTES for key in roster.values()):
        raise UsageError(f"Each identity in the roster is a public key of {PUBLIC_BYTES} bytes.")
    if len(set(roster.values())) != len(roster):
        raise UsageError("Two clients of the roster have the same identity.")
    return {client: roster[client] for client in sorted(roster)}


def session_id(params: SecAggParams, session: Session, roster: Mapping[int, bytes]) -> bytes:
    """32 bytes that bind all that must be agreed on beforehand; never taken from the wire (SA-4, SA-5)."""
    identities = digest(f"{_NAME} roster", *(_number(client) + roster[client] for client in sorted(roster)))
    return digest(
        f"{_NAME} session",
        _number(VERSION),
        session.run_id,
        session.round.to_bytes(8, "big"),
        session.context,
        params.encode(),
        identities,
    )


@dataclass(frozen=True, slots=True)
class RoundKeys:
    """A client's secrets of one round: c and s key pairs, and the self-mask seed b."""

    cipher: AgreementKey = field(repr=False)
    mask: AgreementKey = field(repr=False)
    seed: bytes = field(repr=False)

    def bundle(self, session: bytes, client: int, signer: SigningKey) -> Bundle:
        """The public half, signed for this session."""
        commitment = seed_commitment(session, client, self.seed)
        statement = _bundle_statement(session, client, self.cipher.public, self.mask.public, commitment)
        signature = signer.sign(BUNDLE_DOMAIN, statement)
        return Bundle(client, self.cipher.public, self.mask.public, commitment, signature)


def seed_commitment(session: bytes, client: int, seed: bytes) -> bytes:
    """A hash commitment to b; hiding because b is 32 uniform bytes."""
    return digest(f"{_NAME} seed commitment", session, _number(client), seed)


def _bundle_statement(session: bytes, client: int, cipher: bytes, mask: bytes, commitment: bytes) -> bytes:
    return frame(session, _number(client), cipher, mask, commitment)


def check_bundle(bundle: Bundle, session: bytes, roster: Mapping[int, bytes], seen: set[bytes]) -> None:
    """Refuse a bundle that breaks SA-1; add its keys to those ``seen`` if it does not.

    Raises:
        ProtocolViolation: SA-1, a client outside the roster, a key of low order or already seen, or a
            signature that is not that client's over this session.
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
    statement = _bundle_statement(session, client, *keys, bundle.seed_commitment)
    if not verify(roster[client], BUNDLE_DOMAIN, statement, bundle.signature):
        raise ProtocolViolation(
            f"The keys of client {client} are not signed by its identity for this session.",
            clause="SA-1",
            party=client,
            hint="Someone replaced the keys, or that client has another roster, model or configuration.",
        )
    seen.update(keys)


@dataclass(frozen=True, slots=True)
class Cohort:
    """The clients that advertised (U1) with their public keys, and the key schedule among them."""

    session: bytes
    bundles: Mapping[int, Bundle]
    hash: bytes

    @classmethod
    def of(cls, session: bytes, bundles: Iterable[Bundle]) -> Cohort:
        """The cohort of checked bundles."""
        ordered = {bundle.client: bundle for bundle in sorted(bundles, key=lambda bundle: bundle.client)}
        statements = (
            _bundle_statement(session, client, b.cipher_key, b.mask_key, b.seed_commitment)
            for client, b in ordered.items()
        )
        return cls(session, ordered, digest(f"{_NAME} cohort", session, *statements))

    def share_key(self, own: AgreementKey, source: int, destination: int, peer: int) -> bytes:
        """The AEAD key for shares from ``source`` to ``destination``; ``peer`` is the one not oneself."""
        secret = own.agree(self.bundles[peer].cipher_key)
        return self._derive(secret, b"share", _number(source), _number(destination))

    def share_context(self, source: int, destination: int) -> bytes:
        """A sealed share's associated data: type, session (with its round), cohort, source, destination."""
        return frame(b"share", self.session, self.hash, _number(source), _number(destination))

    def pair_mask_key(self, own: AgreementKey, client: int, peer: int) -> bytes:
        """The mask key of a pair; the same for both of them, whoever computes it."""
        low, high = sorted((client, peer))
        secret = own.agree(self.bundles[peer].mask_key)
        return self._derive(secret, b"pair mask", _number(low), _number(high), _VECTOR)

    def self_mask_key(self, seed: bytes, client: int) -> bytes:
        """The key of a client's own mask, from its seed b."""
        return self._derive(seed, b"self mask", _number(client), _VECTOR)

    def _derive(self, secret: bytes, purpose: bytes, *parts: bytes) -> bytes:
        return derive_key(secret, salt=self.hash, info=(_NAME.encode(), purpose, self.session, *parts))


def consistency_statement(cohort: Cohort, sharers: Iterable[int], survivors: Iterable[int]) -> bytes:
    """What a client signs before it reveals shares: the session, U1 with its keys, U2 and U3."""
    return frame(cohort.session, cohort.hash, _numbers(sharers), _numbers(survivors))


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def _numbers(values: Iterable[int]) -> bytes:
    return b"".join(_number(value) for value in sorted(values))
