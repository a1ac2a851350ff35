"""One round: local work, secure sum, decoding.  The caller keeps the ledger and the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.aggregation import AggregationServer
from fedpriv.crypto import SigningKey, digest
from fedpriv.errors import TooFewParties
from fedpriv.federation.entropy import Entropy
from fedpriv.federation.plan import Plan
from fedpriv.federation.traffic import Metered
from fedpriv.federation.workplace import Workplace
from fedpriv.secagg import UPDATE, run_in_process
from fedpriv.training import RecordGradients

__all__ = ["RECORD_SHARE", "RoundLost", "RoundOutcome", "RoundRunner"]

RECORD_SHARE = 1.0 - 2.0**-10
"""The part of the clip that a record's own gradient may use (protocols/dp/spec.md, 2.5).

The rest is for what floating-point arithmetic does to the others: a record that joins a micro-batch changes
how it is padded, and so moves their gradients in the last places."""


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What the server holds after a round.

    ``gradient`` is the noisy sum in float64, divided by the expected batch, shape ``(dimension,)``.
    """

    gradient: NDArray[np.float64]
    survivors: tuple[int, ...]
    dropped: tuple[tuple[int, str], ...]
    bytes_per_client: int
    aggregate_digest: str


@dataclass(frozen=True, slots=True)
class RoundLost:
    """A round that ended without a sum.

    ``uploaded`` says whether the round had come to the stage in which clients send their vectors; where it
    had not, nothing that depends on a record left a client.
    """

    stage: str
    reason: str
    uploaded: bool


@dataclass(slots=True)
class RoundRunner:
    """Runs rounds of a plan over the clients of a workplace, all in this process.

    The parties of the secure sum live as long as this does: each round's upload carries keys for the next, so
    after the first round, and after one in which a client comes back, a round takes two exchanges less.
    """

    work: Workplace
    plan: Plan
    entropy: Entropy
    gradients: RecordGradients
    run_id: bytes
    keys: Mapping[int, SigningKey]
    _server: AggregationServer | None = field(default=None, init=False)
    _clients: dict[int, Metered] = field(default_factory=dict, init=False)

    @property
    def roster(self) -> dict[int, bytes]:
        """The clients' public keys, which every party has from outside the protocol."""
        return {client: key.public for client, key in self.keys.items()}

    def run(
        self, round_: int, parameters: NDArray[np.float32], vanishing: Mapping[int, str]
    ) -> RoundOutcome | RoundLost:
        """Run round ``round_`` from the model ``parameters``.

        Args:
            round_: number of the round, from 1.
            parameters: float32, shape ``(dimension,)``.
            vanishing: the stage from which on a client no longer answers, by client.

        Returns:
            the outcome, or why there is none: fewer clients answered than the plan needs.
        """
        stages = self.plan.aggregator.stages
        self.work.manifest.restore(self.work.model, parameters)
        server, clients = self._parties(round_)
        context = self._context(parameters)
        server.open_round(round_, context, prepare=round_ < self.plan.rounds)
        for client in clients:
            clients[client].open_round(round_, context)
            if stages.index(vanishing.get(client, stages[-1])) >= stages.index("upload"):
                clients[client].set_vectors(self._local_update(round_, client))
        delivery = _Delivery(stages, vanishing)
        try:
            total = run_in_process(server, clients, delivery)
        except TooFewParties as error:
            uploaded = stages.index(delivery.stage) >= stages.index("upload")
            return RoundLost(stage=delivery.stage, reason=str(error), uploaded=uploaded)
        noisy = self.plan.grid.centre(total.vectors[UPDATE])
        if self.plan.noise.server_variance:
            words = self.entropy.stream("server-noise", round_).words
            noisy = noisy + dp.skellam(self.plan.noise.server_variance, noisy.size, words)
        sent = [clients[client].sent for client in total.survivors]
        return RoundOutcome(
            gradient=self.plan.grid.decode(noisy) / self.plan.expected_batch,
            survivors=total.survivors,
            dropped=tuple(sorted(vanishing.items())),
            bytes_per_client=max(sent),
            aggregate_digest=digest("fedpriv/aggregate/v1", noisy.astype("<i8").tobytes()).hex(),
        )

    def _parties(self, round_: int) -> tuple[AggregationServer, dict[int, Metered]]:
        """The server and the clients of the run, made when this process opens its first round."""
        if self._server is None:
            self._server = self.plan.aggregator.server(self.run_id, self.roster)
            for client, key in self.keys.items():
                rand = self.entropy.stream("secagg", round_, client).read
                made = self.plan.aggregator.client(client, self.run_id, key, self.roster, rand)
                self._clients[client] = Metered(made)
        return self._server, self._clients

    def _local_update(self, round_: int, client: int) -> NDArray[np.uint64]:
        """One client's work: sample, clip record by record, quantise, sum, add its share of the noise."""
        grid, noise = self.plan.grid, self.plan.noise
        shard = self.work.dataset.shards[client - 1]
        sampling = self.entropy.stream("sampling", round_, client).words
        sampled = shard[dp.poisson_sample(shard.size, noise.sampling_rate, sampling)]
        total = np.zeros(noise.dimension, dtype=np.int64)
        for rows in self.gradients.clipped(self.work.train, sampled):
            total += grid.quantise(rows)
        total = grid.clamp(total)
        if noise.share_variance:
            words = self.entropy.stream("noise", round_, client).words
            total += dp.skellam(noise.share_variance, noise.dimension, words)
        return grid.to_residues(total)

    def _context(self, parameters: NDArray[np.float32]) -> bytes:
        """Digest of the model and of the configuration, which every mask is derived under."""
        return digest(
            "fedpriv/round-context/v1",
            bytes.fromhex(self.work.config.digest()),
            bytes.fromhex(self.work.manifest.digest()),
            parameters.astype("<f4").tobytes(),
        )


@dataclass(slots=True)
class _Delivery:
    """Whether a client still answers at a stage, and which stage was the last to be asked for."""

    stages: tuple[str, ...]
    vanishing: Mapping[int, str]
    stage: str = ""

    def __call__(self, stage: str, client: int) -> bool:
        self.stage = stage
        last = self.vanishing.get(client)
        return last is None or self.stages.index(stage) < self.stages.index(last)
