"""Low-rank updates whose rank differs from client to client."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedpriv.peft.methods.lora import Lora

if TYPE_CHECKING:
    from fedpriv.peft.manifest import Manifest
    from fedpriv.peft.methods.spec import PeftSpec


class HetLora(Lora):
    """Client i has rank ``ranks[(i - 1) % len(ranks)]``: it trains the first rows of ``A`` and columns of
    ``B``, so many, and its vector is zero elsewhere (Cho et al., 2401.06432, section 3).

    The server divides each coordinate by the share of the clients that have it, which is public; where some
    of them vanish from a round this is right on average.  The factor alpha / rank is that of the largest rank
    at all clients.  Left out are the paper's pruning of a client's own rank and its weights by the norm of a
    client's product: both would tell norms of private updates.
    """

    name = "hetlora"
    options: ClassVar = {**Lora.options, "ranks": None}

    def least_clients(self, spec: PeftSpec) -> int:
        return _ranks(spec).index(spec.rank) + 1

    def held(self, manifest: Manifest, spec: PeftSpec, client: int) -> NDArray[np.bool_]:
        ranks = _ranks(spec)
        rank = ranks[(client - 1) % len(ranks)]
        parts = []
        for entry in manifest.entries:
            part = np.ones(entry.shape, dtype=np.bool_)
            if ".lora_A." in entry.name:
                part[rank:] = False
            elif ".lora_B." in entry.name:
                part[:, rank:] = False
            parts.append(part.reshape(-1))
        return np.concatenate(parts)


def _ranks(spec: PeftSpec) -> tuple[int, ...]:
    """Those that the clients take in turn: given, or a quarter of the rank, half of it, all of it."""
    return spec.ranks or tuple(max(1, spec.rank // part) for part in (4, 2, 1))
