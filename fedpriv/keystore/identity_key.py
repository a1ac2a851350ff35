"""Which 32 bytes may stand for somebody's Ed25519 identity."""

from __future__ import annotations

__all__ = ["KEY_BYTES", "is_safe_identity_key"]

KEY_BYTES = 32

_PRIME = 2**255 - 19
_D = -121665 * pow(121666, -1, _PRIME) % _PRIME

# The y-coordinates of the eight points of small order: 1 (order one), -1 (two), 0 (four), and those of order
# eight, where d y^4 + 2 y^2 = 1.  Under such a key one signature holds for every eighth message or for all.
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)


def is_safe_identity_key(key: bytes) -> bool:
    """Whether 32 bytes are the one encoding of a point on Ed25519's curve that is not of small order.

    Libraries find out that there is no such point only when they verify, and take keys of small order, under
    which a signature shows nothing.  A second encoding of a key (y with the prime added) is refused too: it
    would let one key pass for two (RFC 8032, section 5.1.3; protocols/secagg/spec.md, 1).

    >>> from fedpriv.crypto import SigningKey
    >>> is_safe_identity_key(SigningKey.from_seed(bytes(32)).public), is_safe_identity_key(bytes(32))
    (True, False)
    """
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        return False
    y = int.from_bytes(key, "little") & ((1 << 255) - 1)  # the bit above is the sign of x
    if y >= _PRIME or y in _SMALL_ORDER:
        return False
    # -x^2 + y^2 = 1 + d x^2 y^2 has a solution x when (y^2 - 1) / (d y^2 + 1) is a square, and then so is
    # their product.  The divisor is never zero, because -1/d is no square.
    square = y * y % _PRIME
    return pow((square - 1) * (_D * square + 1), (_PRIME - 1) // 2, _PRIME) == 1
