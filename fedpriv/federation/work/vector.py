"""A client's vector of a round: its work, with its share of the noise, as residues."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.entropy import Entropy
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.removal import noise_share
from fedpriv.federation.work.local_work import LocalWork

__all__ = ["client_vector"]

_log = logging.getLogger(__name__)


def client_vector(
    local: LocalWork,
    plan: Plan,
    entropy: Entropy,
    *,
    round_: int,
    client: int,
    parameters: NDArray[np.float32],
    level_secrets: Callable[[], Sequence[bytes]],
) -> NDArray[np.uint64]:
    """What ``client`` puts into the sum of ``round_``, modulo ``2**bits``, shape ``(noise.dimension,)``.

    Args:
        local: the client's work.
        plan: of the run.
        entropy: where its noise comes from.
        parameters: the model of the round, float32, shape ``(parameters,)``; the caller has put it in place.
        level_secrets: gives the party's secrets of the round (`AggregationClient.level_secrets`).
    """
    noise = plan.noise
    total = local.contribution(round_, client, parameters)
    _log.debug("work is done")
    if noise.share_variance and not local.noisy:
        words = entropy.stream("noise", round_, client).words
        total += noise_share(noise, level_secrets(), words)
        _log.debug("noise is added")
    return plan.grid.to_residues(total)
