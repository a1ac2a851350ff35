"""Secrets, their shares, and how these travel."""

from __future__ import annotations

from itertools import combinations

import pytest

from fedpriv.crypto import AgreementKey, Keystream, SigningKey, combine
from fedpriv.crypto.field import decode_element
from fedpriv.errors import ProtocolViolation, UsageError
from fedpriv.secagg import Roster, SecAggParams, Vector
from fedpriv.secagg.dealing import Held, deal, draw_secrets, open_shares, seal_shares
from fedpriv.secagg.keys import NO_PREVIOUS, Group, make_bundle, seed_commitment
from fedpriv.secagg.messages import SEALED_BYTES, Bundle

IDENTITIES = {client: SigningKey.from_seed(bytes([client]) * 32) for client in (1, 2, 3)}
ROSTER = Roster({client: identity.public for client, identity in IDENTITIES.items()})
PARAMS = SecAggParams.for_cohort(3, vectors=[Vector("update", 8, 1)])
GROUP = Group.of(PARAMS, bytes(16), ROSTER)
RECEIVER = AgreementKey.from_seed(b"receiver's c, of the same round.")


def _dealt(seed: bytes = bytes(32), round_: int = 5) -> tuple[Bundle, bytes]:
    """What client 1 seals for client 2, and under which bundle."""
    stream = Keystream(seed)
    secrets = draw_secrets(round_, stream.read)
    bundle = make_bundle(GROUP, 1, secrets, NO_PREVIOUS, IDENTITIES[1])
    held = {2: Held(bytes(32) + b"\x07", bytes(32) + b"\x09")}
    ((peer, sealed),) = seal_shares(GROUP, secrets, bundle, held, {2: RECEIVER.public}, stream.read)
    assert peer == 2
    return bundle, sealed


def test_secrets_are_drawn_in_the_order_of_the_spec() -> None:
    stream = Keystream(bytes(32))
    secrets = draw_secrets(5, stream.read)
    again = Keystream(bytes(32))
    assert (secrets.cipher, secrets.mask, secrets.seed) == tuple(again.read(32) for _ in range(3))
    assert secrets.round == 5
    assert repr(secrets) == "<Secrets of round 5>"


@pytest.mark.parametrize("period", [1, 32, 64])
def test_a_source_that_repeats_itself_is_refused(period: int) -> None:
    pieces = [bytes(32), bytes(32), b"x" * 32]
    if period == 64:
        pieces = [bytes(32), b"x" * 32, bytes(32)]
    elif period == 1:
        pieces = [bytes(32)] * 3
    draws = iter(pieces)
    with pytest.raises(UsageError, match="repeats itself"):
        draw_secrets(5, lambda count: next(draws))


def test_any_t_holders_recover_both_secrets() -> None:
    secrets = draw_secrets(5, Keystream(bytes(32)).read)
    shares = deal(secrets, (2, 3, 5, 7), 3, Keystream(b"r" * 32).read)
    for chosen in combinations(shares, 3):
        for kind, secret in (("seed", secrets.seed), ("key", secrets.mask)):
            points = {holder: decode_element(getattr(shares[holder], kind)) for holder in chosen}
            assert combine(points) == int.from_bytes(secret, "big")
    two = {holder: decode_element(shares[holder].seed) for holder in (2, 3)}
    assert combine(two) != int.from_bytes(secrets.seed, "big")
    assert repr(shares[2]) == "<Held>"


def test_b_is_shared_first_with_fresh_coefficients_for_each() -> None:
    secrets = draw_secrets(5, Keystream(bytes(32)).read)
    counts: list[int] = []

    def rand(count: int) -> bytes:
        counts.append(count)
        return bytes([len(counts)]) * count

    shares = deal(secrets, (1, 2, 3), 3, rand)
    assert counts == [48] * 4
    # The first secret's coefficients are the first that were drawn.
    first = int.from_bytes(secrets.seed, "big")
    steps = [int.from_bytes(bytes([i]) * 48, "big") for i in (1, 2)]
    prime = 2**256 + 297
    assert decode_element(shares[1].seed) == (first + sum(steps)) % prime
    assert decode_element(shares[2].seed) == (first + 2 * steps[0] + 4 * steps[1]) % prime


def test_what_is_sealed_opens_for_its_receiver() -> None:
    bundle, sealed = _dealt()
    assert len(sealed) == SEALED_BYTES
    held = open_shares(GROUP, 5, 2, RECEIVER, bundle, sealed)
    assert (held.seed, held.key) == (bytes(32) + b"\x07", bytes(32) + b"\x09")


@pytest.mark.parametrize("what", ["group", "round", "receiver", "key", "bundle", "text", "nonce"])
def test_what_is_sealed_opens_for_nobody_and_nothing_else(what: str) -> None:
    bundle, sealed = _dealt()
    group, round_, client, own, source = GROUP, 5, 2, RECEIVER, bundle
    if what == "group":
        group = Group.of(PARAMS, b"another run.....", ROSTER)
    elif what == "round":
        round_ = 6
    elif what == "receiver":
        client = 3
    elif what == "key":
        own = AgreementKey.from_seed(b"k" * 32)
    elif what == "bundle":
        # The same key, and other keys beside it, as one that signs twice would show them.
        secrets = draw_secrets(5, Keystream(bytes(32)).read)
        other = type(secrets)(5, secrets.cipher, b"another s, the same c ..........", secrets.seed)
        source = make_bundle(GROUP, 1, other, NO_PREVIOUS, IDENTITIES[1])
    else:
        position = 0 if what == "nonce" else 20
        sealed = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
    with pytest.raises(ProtocolViolation) as violation:
        open_shares(group, round_, client, own, source, sealed)
    assert (violation.value.clause, violation.value.party) == ("SA-7", 1)


def test_nonces_are_fresh() -> None:
    (_, first), (_, second) = _dealt(bytes(32)), _dealt(b"x" * 32)
    assert first[:12] != second[:12]
    stream = Keystream(bytes(32))
    secrets = draw_secrets(5, stream.read)
    bundle = make_bundle(GROUP, 1, secrets, NO_PREVIOUS, IDENTITIES[1])
    held = Held(bytes(33), bytes(33))
    receivers = {2: RECEIVER.public, 3: AgreementKey.from_seed(b"3" * 32).public}
    sealed = seal_shares(GROUP, secrets, bundle, {2: held, 3: held}, receivers, stream.read)
    assert len({text[:12] for _, text in sealed}) == len({text[12:] for _, text in sealed}) == 2


def test_the_commitment_binds_the_seed_the_client_the_round_and_the_run() -> None:
    other = Group.of(PARAMS, b"another run.....", ROSTER)
    made = {
        seed_commitment(group, round_, client, seed)
        for group in (GROUP, other)
        for round_ in (5, 6)
        for client in (1, 2)
        for seed in (bytes(32), b"x" * 32)
    }
    assert len(made) == 16
