"""Hundreds of clients on a sparse graph: what the plan makes of them."""

from __future__ import annotations

from typing import Any

from fedpriv import dp
from fedpriv.aggregation import Masked
from fedpriv.encoding import FixedPoint
from fedpriv.federation.config import Config
from fedpriv.federation.planning.grid import levels
from fedpriv.federation.planning.summing import aggregator_for

GRID = FixedPoint(bits=32, clients=419, clip=0.5, scale_log2=21, sensitivity=2**20, client_bound=2**20)


def config(**secagg: Any) -> Config:
    return Config.from_dict(
        {
            "unit": "client",
            "run": {"rounds": 3},
            "model": {"id": "some/model"},
            "data": {"source": "reviews.csv"},
            "partition": {"clients": 419},
            "privacy": {"epsilon": 3.0, "delta": 1e-3},
            "secagg": {"min_survivors": 400, "max_colluders": 5, **secagg},
        }
    )


def aggregator(made: Config) -> Masked:
    noise = dp.NoisePlan("distributed", 419, 400, 5, 3.0, 2**20, 770, 1.0)
    found = aggregator_for(made, GRID, noise, 419, GRID.client_bound)
    assert isinstance(found, Masked)
    return found


def test_a_sparse_graph_has_the_survivors_and_colluders_of_the_noise_and_few_masks() -> None:
    params = aggregator(config(graph="sparse")).params
    assert (params.clients, params.min_survivors, params.max_colluders) == (419, 400, 5)
    assert not params.complete
    assert params.degree < 60
    assert params.malicious


def test_no_noise_is_removed_on_a_sparse_graph() -> None:
    # A server that deviates could ask there for the secrets of two levels.
    assert levels(config(graph="sparse"), 419) == ()
    assert aggregator(config(graph="complete")).params.complete
