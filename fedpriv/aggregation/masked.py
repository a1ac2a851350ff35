"""Summation under pairwise masks: the secure aggregation of :mod:`fedpriv.secagg` behind the interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fedpriv import secagg
from fedpriv.aggregation.interface import AggregationClient, AggregationServer
from fedpriv.crypto import SigningKey

__all__ = ["Masked"]


@dataclass(frozen=True, slots=True)
class Masked:
    """Pairwise-key masking (Bonawitz et al., CCS 2017), as ``protocols/secagg/spec.md`` fixes it."""

    params: secagg.SecAggParams

    name = "masked"
    hides_updates = True
    has_authority = False

    @property
    def stages(self) -> tuple[str, ...]:
        return self.params.stages

    @property
    def threshold(self) -> int:
        return self.params.min_survivors

    def client(
        self,
        client_id: int,
        run_id: bytes,
        key: SigningKey,
        roster: Mapping[int, bytes],
        rand: Callable[[int], bytes],
        *,
        draw_level: Callable[[int], bytes] | None = None,
    ) -> AggregationClient:
        return secagg.Client(self.params, run_id, client_id, key, roster, rand, draw_level=draw_level)

    def server(self, run_id: bytes, roster: Mapping[int, bytes]) -> AggregationServer:
        return secagg.Server(self.params, run_id, roster)
