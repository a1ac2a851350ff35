"""Builds that an audit should notice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.federation.round import RoundRunner


class WithoutNoise(RoundRunner):
    """The clients send their sums, or their updates, as they are."""

    def _local_update(
        self, round_: int, client: int, parameters: NDArray[np.float32], party: Any
    ) -> NDArray[np.uint64]:
        return self.plan.grid.to_residues(self.local.contribution(round_, client, parameters))
