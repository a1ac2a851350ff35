"""A client's secrets of one round, their shares, and how shares travel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from fedpriv.crypto.aead import NONCE_BYTES, open_sealed, seal
from fedpriv.crypto.agreement import AgreementKey, derive_key
from fedpriv.crypto.digest import frame
from fedpriv.crypto.field import ELEMENT_BYTES, decode_element, encode_element
from fedpriv.crypto.shamir import split
from fedpriv.errors import DecodeError, ProtocolViolation, UsageError
from fedpriv.secagg.keys import NAME, SEED_BYTES, Group, Secrets, bundle_leaf, number
from fedpriv.secagg.messages import Bundle

__all__ = ["Held", "deal", "draw_secrets", "open_shares", "seal_shares"]

Rand = Callable[[int], bytes]


class Held(msgspec.Struct, frozen=True):
    """What one client holds of another's secrets: a share of b, one of the seed of s, and one of each of the
    level secrets s_1, …, s_L; 33 bytes each."""

    seed: bytes
    key: bytes
    levels: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        """Nothing of them."""
        return "<Held>"


def draw_secrets(round_: int, rand: Rand, level: bytes = b"") -> Secrets:
    """Fresh secrets for a round: the seeds of c and s, and b; beside ``level``, which was drawn before.

    Raises:
        UsageError: the source of randomness repeats itself.
    """
    cipher, mask, seed = (rand(SEED_BYTES) for _ in range(3))
    if len({cipher, mask, seed, level}) < 4:
        raise UsageError("The source of randomness repeats itself.")
    return Secrets(round_, cipher, mask, seed, level)


def deal(
    secrets: Secrets, holders: Iterable[int], threshold: int, rand: Rand, levels: Sequence[bytes] = ()
) -> dict[int, Held]:
    """Share b, then the seed of s, then the level secrets s_1, …, s_L, among the holders."""
    points = tuple(holders)
    sharings = [
        split(int.from_bytes(secret, "big"), threshold=threshold, points=points, rand=rand)
        for secret in (secrets.seed, secrets.mask, *levels)
    ]
    held = {}
    for point in points:
        seed, key, *others = (encode_element(sharing[point]) for sharing in sharings)
        held[point] = Held(seed, key, tuple(others))
    return held


def seal_shares(  # noqa: PLR0917 - whose, from whom, to whom: none has a default
    group: Group,
    secrets: Secrets,
    bundle: Bundle,
    shares: Mapping[int, Held],
    receivers: Mapping[int, bytes],
    rand: Rand,
) -> tuple[tuple[int, bytes], ...]:
    """Encrypt each receiver's shares to its key C (SA-7).

    Args:
        group: the run.
        secrets: the dealer's, whose c encrypts.
        bundle: the dealer's, of the same round.
        shares: of the dealer's secrets, by holder.
        receivers: holder -> its public key C, ascending, without the dealer.
        rand: for the nonces.
    """
    own = AgreementKey.from_seed(secrets.cipher)
    leaf = bundle_leaf(group, secrets.round, bundle)
    sealed = []
    for peer, public in receivers.items():
        key = _key(group, own.agree(public), secrets.round, bundle.client, peer)
        plaintext = shares[peer].seed + shares[peer].key + b"".join(shares[peer].levels)
        context = _context(group, secrets.round, bundle.client, peer, leaf, public)
        sealed.append((peer, seal(key, rand(NONCE_BYTES), plaintext, context)))
    return tuple(sealed)


def open_shares(  # noqa: PLR0917 - the context of what was sealed
    group: Group, round_: int, client: int, own: AgreementKey, source: Bundle, sealed: bytes, levels: int = 0
) -> Held:
    """Decrypt and check what ``source`` sealed for ``client``, whose key C is ``own``; ``levels`` is L.

    Raises:
        ProtocolViolation: SA-7, it is not authentic.
    """
    key = _key(group, own.agree(source.cipher_key), round_, source.client, client)
    context = _context(group, round_, source.client, client, bundle_leaf(group, round_, source), own.public)
    try:
        plaintext = open_sealed(key, sealed, context)
        seed, mask_key, *others = (
            plaintext[start : start + ELEMENT_BYTES]
            for start in range(0, (2 + levels) * ELEMENT_BYTES, ELEMENT_BYTES)
        )
        if len(plaintext) > (2 + levels) * ELEMENT_BYTES:
            raise DecodeError("More than the shares of this session.")
        for share in (seed, mask_key, *others):
            decode_element(share)
    except DecodeError as fault:
        raise ProtocolViolation(
            f"The shares of client {source.client} are not authentic.", clause="SA-7", party=source.client
        ) from fault
    return Held(seed, mask_key, tuple(others))


def _key(group: Group, secret: bytes, round_: int, source: int, destination: int) -> bytes:
    info = (NAME.encode(), b"share", round_.to_bytes(8, "big"), number(source), number(destination))
    return derive_key(secret, salt=group.id, info=info)


def _context(  # noqa: PLR0917 - all of it is bound
    group: Group, round_: int, source: int, destination: int, leaf: bytes, public: bytes
) -> bytes:
    """A sealed share's associated data: type, run, round, source, destination, and the keys of both."""
    numbers = (number(source), number(destination))
    return frame(b"share", group.id, round_.to_bytes(8, "big"), *numbers, leaf, public)
