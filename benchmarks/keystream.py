"""How fast this machine expands AES-256 in counter mode: what masks are measured against."""

from __future__ import annotations

import time
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedpriv.crypto import Keystream

_BLOCKS = (64 * 1024, 128 * 1024, 256 * 1024, 512 * 1024)


def keystream_rate(repeats: int = 5) -> float:
    """Bytes a second of one core's CPU time into a buffer used again and again, by OpenSSL's CTR."""
    return max(_rate(ctr(block), block, repeats) for block in _BLOCKS)


def gcm_rate(repeats: int = 5) -> float:
    """The same by OpenSSL's GCM, tag included: where the processor has vector AES, the faster code."""
    return max(_rate(gcm(block), block, repeats) for block in _BLOCKS)


def ctr(block: int) -> Callable[[], None]:
    """What writes the next ``block`` bytes of a stream into one buffer."""
    stream, buffer = Keystream(bytes(32)), memoryview(bytearray(block))
    return lambda: stream.read_into(buffer)


def gcm(block: int) -> Callable[[], None]:
    """What seals ``block`` zeros into one buffer, under a nonce that only a benchmark may use again."""
    cipher, zeros, buffer = AESGCM(bytes(32)), bytes(block), memoryview(bytearray(block + 16))

    def seal() -> None:
        cipher.encrypt_into(bytes(12), zeros, None, buffer)

    return seal


def _rate(step: Callable[[], None], block: int, repeats: int) -> float:
    count, best = 2**27 // block, 0.0
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(count):
            step()
        best = max(best, count * block / (time.process_time() - start))
    return best
