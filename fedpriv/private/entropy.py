"""Randomness for a run: from the operating system, unless a caller asks for a repeatable one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fedpriv.crypto import Keystream, digest

__all__ = ["Streams"]


@dataclass(frozen=True, slots=True)
class Streams:
    """A fresh AES-256-CTR keystream for each purpose of each step.

    With ``insecure_seed`` each follows from the seed, and whoever knows it can take the noise off again.
    """

    insecure_seed: int | None = None

    def stream(self, purpose: str, step: int) -> Keystream:
        """The keystream of one ``purpose`` in one step."""
        if self.insecure_seed is None:
            return Keystream(os.urandom(32))
        labels = (str(part).encode() for part in (self.insecure_seed, purpose, step))
        return Keystream(digest("fedpriv/private/insecure-entropy/v1", *labels))
