"""Rounds of Flower's own federated averaging, and then the same rounds by exchanges of our transport."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from fedpriv.deployment.transport import Parts
from fedpriv.flower.transport import FlowerTransport
from plain_rounds.times import keep
from plain_rounds.training import averaged, workplace

PATIENCE = 600.0

app = ServerApp()
_log = logging.getLogger("plain_rounds")


class TimedFedAvg(FedAvg):
    """Flower's, which says when its rounds begin and end."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Flower's."""
        _log.info("round %d of fedavg begins", server_round)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Flower's."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        _log.info("round %d of fedavg ends", server_round)
        return arrays, metrics


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Both, from the same parameters."""
    keep("plain_rounds")
    work = workplace(None)
    parameters, rounds = work.manifest.flatten(work.model), work.config.run.rounds
    nodes = FlowerTransport(grid).nodes()
    strategy: Any = TimedFedAvg(
        fraction_evaluate=0.0, min_train_nodes=len(nodes), min_available_nodes=len(nodes)
    )
    start = ArrayRecord({"parameters": Array(parameters)})
    result = strategy.start(grid, start, num_rounds=rounds, timeout=PATIENCE)
    theirs = result.arrays["parameters"].numpy()
    ours = _exchanges(FlowerTransport(grid), parameters, rounds)
    distance = float(np.abs(theirs - ours).max())
    _log.info("the two differ by %g", distance)
    if not distance < 1e-3:
        raise SystemExit("the two ways of averaging do not give the same parameters")


def _exchanges(
    transport: FlowerTransport, parameters: NDArray[np.float32], rounds: int
) -> NDArray[np.float32]:
    """Federated averaging, one exchange a round."""
    nodes = transport.nodes()
    for round_ in range(1, rounds + 1):
        _log.info("round %d of exchange begins", round_)
        asked = Parts({"round": round_}, (parameters.astype("<f4").tobytes(),))
        results = []
        for node, answer in transport.exchange(dict.fromkeys(nodes, asked), PATIENCE):
            _log.info("node %d answered", node)
            if not isinstance(answer, Parts):
                raise SystemExit(answer.reason)
            results.append((np.frombuffer(answer.blobs[0], "<f4"), int(answer.values["records"])))
        parameters = averaged(results)
        _log.info("round %d of exchange ends", round_)
    return parameters
