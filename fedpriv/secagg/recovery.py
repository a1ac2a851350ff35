"""What is left on the sum once all uploads are in it: secrets from shares, and from secrets the masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedpriv.crypto.agreement import AgreementKey
from fedpriv.crypto.field import PRIME
from fedpriv.crypto.shamir import lagrange_at_zero
from fedpriv.errors import ProtocolViolation, TooFewParties
from fedpriv.secagg.cohort import Register, pair_mask_keys, self_mask_keys
from fedpriv.secagg.keys import SEED_BYTES, Group, seed_commitment
from fedpriv.secagg.levels import opens_level
from fedpriv.secagg.members import Members
from fedpriv.secagg.params import SecAggParams

__all__ = ["level_secrets", "remaining_masks"]

Masks = dict[str, list[tuple[bytes, bool]]]


def remaining_masks(  # noqa: PLR0917 - a round as the server knows it
    params: SecAggParams,
    group: Group,
    round_: int,
    register: Register,
    sharers: Sequence[int],
    survivors: Members,
    shares: Mapping[int, Mapping[int, bytes]],
) -> Masks:
    """The masks that are still on the sum, with the signs that take them off.

    Args:
        params, group, round_, register: of the round.
        sharers: U2, ascending.
        survivors: U3.
        shares: owner -> holder -> share, 33 bytes; of b for a survivor, of the seed of s for the others.

    Returns:
        By vector, the key of each mask and whether to subtract it.

    Raises:
        TooFewParties: fewer than t shares of a secret that is needed.
        ProtocolViolation: SA-12, a recovered secret is not the one that its owner committed to.
    """
    names = [vector.name for vector in params.vectors]
    masks: Masks = {name: [] for name in names}
    weights = _Weights(params.threshold)
    for owner in sharers:
        alive = owner in survivors
        partners = () if alive else tuple(peer for peer in register.neighbours(owner) if peer in survivors)
        if not alive and not partners:
            continue
        secret = weights.combine(owner, shares.get(owner, {}))
        if alive:
            _check(secret is not None and _opens(group, round_, register, owner, secret), owner)
            for name, key in zip(
                names, self_mask_keys(register.hash, secret or b"", owner, names), strict=True
            ):
                masks[name].append((key, True))
            continue
        mask_key = AgreementKey.from_seed(secret or bytes(SEED_BYTES))
        _check(secret is not None and mask_key.public == register.bundles[owner].mask_key, owner)
        for peer in partners:
            keys = pair_mask_keys(register.hash, mask_key, owner, register.bundles[peer], names)
            for name, key in zip(names, keys, strict=True):
                # The survivor added this mask if it comes first and subtracted it otherwise: do the opposite.
                masks[name].append((key, peer < owner))
    return masks


def level_secrets(
    params: SecAggParams,
    round_: int,
    register: Register,
    survivors: Members,
    shares: Mapping[int, Mapping[int, bytes]],
) -> dict[int, bytes]:
    """The survivors' secrets of the level that they reach (SA-18).

    Args:
        params, round_, register: of the round.
        survivors: U3.
        shares: owner -> holder -> share of its secret of that level, 33 bytes; t or more of each survivor.

    Returns:
        By owner the secret, 32 bytes.  One that its owner did not commit to is left out: the owner shared
        something else, or a holder lied, and the sum does not depend on it.
    """
    level, weights = params.level_of(len(survivors)), _Weights(params.threshold)
    found: dict[int, bytes] = {}
    if not level:
        return found
    for owner in survivors:
        secret = weights.combine(owner, shares.get(owner, {}))
        commitment = register.bundles[owner].level_commitment or b""
        if secret is not None and opens_level(round_, owner, level, secret, commitment):
            found[owner] = secret
    return found


class _Weights:
    """Interpolation at zero; clients with the same holders share its weights."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._known: dict[tuple[int, ...], tuple[int, ...]] = {}

    def combine(self, owner: int, shares: Mapping[int, bytes]) -> bytes | None:
        """The owner's secret, or None where the shares give an element that is no 32 bytes."""
        if len(shares) < self._threshold:
            raise TooFewParties(
                f"{len(shares)} clients revealed a share of client {owner}'s secret and {self._threshold} "
                "are needed: the round ends without a sum.",
                hint="Run the next round; too many clients vanished in this one.",
            )
        holders = tuple(sorted(shares)[: self._threshold])
        weights = self._known.get(holders)
        if weights is None:
            weights = self._known[holders] = lagrange_at_zero(holders)
        # The shares were checked to be elements when they came.
        value = (
            sum(w * int.from_bytes(shares[h], "big") for w, h in zip(weights, holders, strict=True)) % PRIME
        )
        return None if value >> (8 * SEED_BYTES) else value.to_bytes(SEED_BYTES, "big")


def _opens(group: Group, round_: int, register: Register, owner: int, secret: bytes) -> bool:
    return seed_commitment(group, round_, owner, secret) == register.bundles[owner].seed_commitment


def _check(fits: bool, owner: int) -> None:
    if not fits:
        raise ProtocolViolation(
            f"The shares of client {owner} do not give the secret that it signed: it shared something else, "
            "or a client that holds a share lied.",
            clause="SA-12",
        )
