"""How the vectors of a plan are summed, and what a client sends for it."""

from __future__ import annotations

from fedpriv import dp
from fedpriv.aggregation import Ckks, Masked, Plain
from fedpriv.encoding import FixedPoint
from fedpriv.encoding.packing import packed_size
from fedpriv.federation.config import Config
from fedpriv.federation.planning.encrypted import ckks_aggregator
from fedpriv.federation.planning.grid import is_sparse
from fedpriv.federation.planning.plan import Aggregator
from fedpriv.secagg import UPDATE, SecAggParams, Vector, round_cost

__all__ = ["aggregator_for", "traffic"]


def aggregator_for(
    config: Config, grid: FixedPoint, noise: dp.NoisePlan, clients: int, largest: int
) -> Aggregator:
    """The aggregator that the configuration names, with its parameters, for a sum over so many clients, none
    of whose values is larger than ``largest``."""
    least = noise.min_survivors
    if config.aggregator == "ckks":
        return ckks_aggregator(config, grid, noise, clients, largest)
    if config.aggregator == "plain":
        return Plain(clients, grid.bits, noise.dimension, threshold=least, levels=noise.levels)
    vectors = [Vector(UPDATE, grid.bits, noise.dimension)]
    if is_sparse(config):
        corrupt, dropout = noise.max_colluders + 0.5, clients - least + 0.5  # halves: both are rounded down
        return Masked(
            SecAggParams.for_devices(
                clients, vectors=vectors, corrupt=corrupt / clients, dropout=dropout / clients
            )
        )
    return Masked(
        SecAggParams.for_cohort(
            clients,
            vectors=vectors,
            max_colluders=noise.max_colluders,
            min_survivors=least,
            levels=noise.levels,
        )
    )


def traffic(aggregator: Aggregator) -> tuple[int, int]:
    """The most bytes that a client sends in a round, prepared ahead where it can be, and masks to expand."""
    if isinstance(aggregator, Ckks):
        params = aggregator.params
        opens = 0 if aggregator.has_authority else params.answer_bytes  # clients that hold the key send both
        return params.upload_bytes + opens, 0
    if isinstance(aggregator, Plain):
        secret = 32 if aggregator.levels else 0
        return packed_size(aggregator.bits, aggregator.dimension) + secret, 0
    ahead = aggregator.params.complete
    cost = round_cost(aggregator.params, prepared=ahead, prepares=ahead)
    return cost.bytes_sent, cost.client_masks
