"""The server's half of a round: open the sum for a model, and read what it gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.aggregation import AggregationServer
from fedpriv.crypto import canonical_json, digest
from fedpriv.entropy import Entropy
from fedpriv.federation.banded import BandedRelease
from fedpriv.federation.cohort import Cohort
from fedpriv.federation.outcome import RoundOutcome
from fedpriv.federation.planning.plan import Noisy, Plan
from fedpriv.federation.removal import surplus
from fedpriv.federation.work.local_work import LocalWork
from fedpriv.federation.work.rotation import RoundRotation
from fedpriv.federation.workplace import Workplace
from fedpriv.secagg import UPDATE, Sum

__all__ = ["OpenRound", "RoundServer", "round_context"]


def round_context(
    *,
    head: bytes,
    config: str,
    manifest: str,
    parameters: NDArray[np.float32],
    state: Mapping[str, float],
) -> bytes:
    """What every mask of a round is derived under, 32 bytes: clients told different things have no sum.

    Args:
        head: of the ledger that the round is reserved in.
        config, manifest: digests, hexadecimal.
        parameters: the model, float32, shape ``(parameters,)``.
        state: what the clients' work keeps between rounds (`LocalWork.state_dict`).
    """
    return digest(
        "fedpriv/round-context/v3",
        head,
        bytes.fromhex(config),
        bytes.fromhex(manifest),
        parameters.astype("<f4").tobytes(),
        canonical_json({name: float(value).hex() for name, value in state.items()}),
    )


@dataclass(frozen=True, slots=True)
class OpenRound:
    """A round that may be summed: by whom, the server with the round opened, and what it is bound to."""

    round: int
    cohort: Cohort
    server: AggregationServer
    context: bytes


@dataclass(slots=True)
class RoundServer:
    """Opens the rounds of a run and reads their sums, wherever the clients are.

    The parties of the secure sum live as long as this does: each round's upload carries keys for the next, so
    after the first round, and after one in which a client comes back, a round takes two exchanges less.
    """

    work: Workplace
    plan: Plan
    entropy: Entropy
    run_id: bytes
    roster: Mapping[int, bytes]
    _servers: dict[tuple[int, ...], AggregationServer] = field(default_factory=dict, init=False)
    _banded: BandedRelease | None = field(default=None, init=False)
    _rotation: RoundRotation = field(init=False)

    def __post_init__(self) -> None:
        plan = self.plan
        self._rotation = RoundRotation.of(plan)
        if plan.bands is not None:
            self._banded = BandedRelease(plan.noise, bands=plan.bands, rounds=plan.rounds)

    def open(
        self,
        round_: int,
        parameters: NDArray[np.float32],
        local: LocalWork,
        head: bytes,
        *,
        invited: Iterable[int] | None = None,
    ) -> OpenRound:
        """Open round ``round_`` for a model and a head of the ledger.

        Args:
            round_: its number.
            parameters: float32, shape ``(parameters,)``.
            local: the clients' work; what it keeps between rounds is part of what clients agree on.
            head: hash of the ledger's last row.
            invited: clients that can be reached; all, if not given.
        """
        cohort = Cohort.of(self.plan, self.run_id, self.roster, round_)
        if cohort.members not in self._servers:
            self._servers[cohort.members] = cohort.server()
        server = self._servers[cohort.members]
        context = round_context(
            head=head,
            config=self.work.config.digest(),
            manifest=self.work.manifest.digest(),
            parameters=parameters,
            state=local.state_dict(),
        )
        server.open_round(
            round_,
            context,
            invite=None if invited is None else [cohort.place(client) for client in invited],
            prepare=self.plan.prepares and round_ < self.plan.rounds,
        )
        return OpenRound(round_, cohort, server, context)

    def lost(self) -> None:
        """A round ended without a sum."""
        if self._banded is not None:
            self._banded.reset()

    def outcome(
        self, opened: OpenRound, total: Sum, local: LocalWork, *, dropped: Mapping[int, str], sent: int
    ) -> RoundOutcome:
        """What the sum of a round stands for.

        Args:
            opened, total: the round and what its server gave.
            local: reads the sum, and moves on to the next round.
            dropped: the stage at which a client vanished, by client.
            sent: the most bytes that a survivor sent.
        """
        grid, round_ = self.plan.grid, opened.round
        values = grid.centre(total.vectors[UPDATE])
        if total.level:  # modulo 2^b, as the sum is
            values = grid.centre(grid.to_residues(values - surplus(self.plan.noise, round_, total)))
        noisy = self._with_servers_noise(round_, values)
        clip = local.clip
        return RoundOutcome(
            gradient=local.read(self._rotation.back(round_, noisy), len(total.survivors)),
            survivors=tuple(opened.cohort.client_at(place) for place in total.survivors),
            dropped=tuple(sorted(dropped.items())),
            bytes_per_client=sent,
            aggregate_digest=digest(
                "fedpriv/aggregate/v1", noisy.astype(noisy.dtype.newbyteorder("<")).tobytes()
            ).hex(),
            clip=clip,
        )

    def _with_servers_noise(self, round_: int, total: NDArray[np.int64]) -> Noisy:
        """The sum with what the server adds to it; under a matrix mechanism, what is solved from its row."""
        variance, words = self.plan.noise.server_variance, self.entropy.stream("server-noise", round_).words
        if self._banded is not None:
            return self._banded.next(total, words)
        return total + dp.skellam(variance, total.size, words) if variance else total
