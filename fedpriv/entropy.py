"""Randomness for a run: from the operating system, unless a configuration asks for a repeatable one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fedpriv.crypto import Keystream, digest

__all__ = ["Entropy"]


@dataclass(frozen=True, slots=True)
class Entropy:
    """Hands out independent keystreams.

    With ``insecure_seed`` every stream follows from the seed and its labels, so whoever knows the seed can
    take the noise off again: for tests and teaching, and every output says so.
    """

    insecure_seed: int | None = None
    domain: str = "fedpriv/insecure-entropy/v1"
    """Keeps what follows from one seed in two kinds of run apart."""

    def stream(self, *labels: str | int) -> Keystream:
        """A fresh AES-256-CTR keystream for the purpose that ``labels`` name."""
        if self.insecure_seed is None:
            return Keystream(os.urandom(32))
        parts = (str(part).encode() for part in (self.insecure_seed, *labels))
        return Keystream(digest(self.domain, *parts))
