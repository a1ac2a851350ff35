"""How fast this machine expands AES-256 in counter mode: what masks are measured against."""

from __future__ import annotations

import time

from fedpriv.crypto import Keystream


def keystream_rate(repeats: int = 5) -> float:
    """Bytes a second of one core's CPU time into a buffer used again and again, the best block size."""
    best = 0.0
    for block in (64 * 1024, 128 * 1024, 256 * 1024, 512 * 1024):
        stream, buffer = Keystream(bytes(32)), memoryview(bytearray(block))
        count = 2**27 // block
        for _ in range(repeats):
            start = time.process_time()
            for _ in range(count):
                stream.read_into(buffer)
            best = max(best, count * block / (time.process_time() - start))
    return best
