"""Torch's random numbers within a private step: fresh and secret, as those of its sample and its noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedpriv.crypto import Keystream

__all__ = ["own_draws"]


@contextmanager
def own_draws(device: torch.device, keystream: Keystream) -> Iterator[None]:
    """Seed torch by ``keystream`` within this, and leave its public stream where it was (dp spec, 12.4).

    Dropout and a collator's masks take their numbers from one stream after the other, so one record more
    shifts those of the others; and where the stream stands afterwards tells how many were drawn.  Both are
    harmless only while nobody knows the seed, and a caller's ``torch.manual_seed`` is in a script.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(keystream.words(1)[0]))
        yield
