"""One round: local work, secure sum, decoding.  The caller keeps the ledger and the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.aggregation import AggregationServer, Ckks, KeyHolder
from fedpriv.ckks.mode import AUTHORITY
from fedpriv.crypto import SigningKey, digest
from fedpriv.entropy import Entropy
from fedpriv.errors import BudgetExceeded, TooFewParties
from fedpriv.federation.banded import BandedRelease
from fedpriv.federation.planning.plan import Noisy, Plan
from fedpriv.federation.removal import noise_share, surplus
from fedpriv.federation.traffic import Metered
from fedpriv.federation.work.local_work import LocalWork, local_work
from fedpriv.federation.workplace import Workplace
from fedpriv.secagg import UPDATE, run_in_process
from fedpriv.secagg.in_process import RoundClient

if TYPE_CHECKING:
    from fedpriv.training import LocalTraining, RecordGradients

__all__ = ["REFUSED", "RoundLost", "RoundOutcome", "RoundRunner", "fresh_identities"]

UPLOAD: Final = "upload"
REFUSED: Final = "refused"
"""In the place of a stage: the client took no part, because a budget of its own did not allow it."""


def fresh_identities(plan: Plan, clients: int, read: Callable[[int], bytes]) -> dict[int, SigningKey]:
    """A signing key for each of ``clients`` and for the key authority, where the plan has one.

    ``read`` gives so many fresh bytes.
    """
    authority = (AUTHORITY,) if plan.aggregator.has_authority else ()
    return {party: SigningKey.from_seed(read(32)) for party in (*range(1, clients + 1), *authority)}


@dataclass(frozen=True, slots=True)
class _Parties:
    """The parties of one cohort's sums, clients by their place; ``authority``: who else holds a key."""

    server: AggregationServer
    clients: dict[int, Metered]
    authority: dict[int, KeyHolder]


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """What the server holds after a round.

    ``gradient`` is the direction that the noisy sum gives the server's optimiser, float64, shape
    ``(parameters,)``: the sum over the expected batch, or minus the mean of the clients' updates.  ``clip``
    is the clipping norm that the round used.
    """

    gradient: NDArray[np.float64]
    survivors: tuple[int, ...]
    dropped: tuple[tuple[int, str], ...]
    bytes_per_client: int
    aggregate_digest: str
    clip: float

    def naming(self, refused: Iterable[int]) -> RoundOutcome:
        """The same, with the clients that refused the round told from those that vanished."""
        dropped = {**dict(self.dropped), **dict.fromkeys(refused, REFUSED)}
        return replace(self, dropped=tuple(sorted(dropped.items())))


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
    gradients: RecordGradients | LocalTraining
    run_id: bytes
    keys: Mapping[int, SigningKey]
    local: LocalWork = field(init=False)
    _made: dict[tuple[int, ...], _Parties] = field(default_factory=dict, init=False)
    _banded: BandedRelease | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        plan = self.plan
        self.local = local_work(self.work, plan, self.entropy, self.gradients)
        if plan.bands is not None:
            self._banded = BandedRelease(plan.noise, bands=plan.bands, rounds=plan.rounds)

    @property
    def roster(self) -> dict[int, bytes]:
        """The public keys of clients and key authority, which every party has from outside the protocol."""
        return {client: key.public for client, key in self.keys.items()}

    def run(
        self,
        round_: int,
        parameters: NDArray[np.float32],
        vanishing: Mapping[int, str],
        *,
        head: bytes = b"",
        before_upload: Callable[[int], None] = lambda client: None,
    ) -> RoundOutcome | RoundLost:
        """Run round ``round_`` from the model ``parameters``.

        Args:
            round_: number of the round, from 1.
            parameters: float32, shape ``(dimension,)``.
            vanishing: the stage from which on a client no longer answers, by client.
            head: of the ledger that the round is reserved in: clients that were shown different ones have no
                sum together.
            before_upload: is called with a client before its upload leaves it; where its own budget refuses
                (`BudgetExceeded`), the client vanishes then.

        Returns:
            the outcome, or why there is none: fewer clients answered than the plan needs.
        """
        stages, members = self.plan.aggregator.stages, self.plan.members(round_)
        vanishing = {client: stage for client, stage in vanishing.items() if client in members}
        self.work.manifest.restore(self.work.model, parameters)
        parties = self._parties(round_, members)
        server, clients = parties.server, parties.clients
        context = self._context(parameters, head)
        server.open_round(round_, context, prepare=self.plan.prepares and round_ < self.plan.rounds)
        for holder in parties.authority.values():
            holder.open_round(round_, context)
        for place, client in enumerate(members, start=1):
            clients[place].open_round(round_, context)
            if stages.index(vanishing.get(client, stages[-1])) >= stages.index(UPLOAD):
                vector = self._local_update(round_, client, parameters, clients[place])
                clients[place].set_vectors(vector)
        delivery = _Delivery(stages, members, vanishing, before_upload)
        try:
            answering: dict[int, RoundClient] = {**clients, **parties.authority}
            total = run_in_process(server, answering, delivery)
        except TooFewParties as error:
            if self._banded is not None:
                self._banded.reset()
            uploaded = stages.index(delivery.stage) >= stages.index(UPLOAD)
            return RoundLost(stage=delivery.stage, reason=str(error), uploaded=uploaded)
        grid = self.plan.grid
        opened = grid.centre(total.vectors[UPDATE])
        if total.level:  # modulo 2^b, as the sum is
            opened = grid.centre(grid.to_residues(opened - surplus(self.plan.noise, round_, total)))
        noisy = self._with_servers_noise(round_, opened)
        sent = [clients[place].sent for place in total.survivors]
        clip = self.local.clip
        return RoundOutcome(
            gradient=self.local.read(noisy, len(total.survivors)),
            survivors=tuple(members[place - 1] for place in total.survivors),
            dropped=tuple(sorted({**vanishing, **delivery.refused}.items())),
            bytes_per_client=max(sent),
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

    def _parties(self, round_: int, members: tuple[int, ...]) -> _Parties:
        """The server and the clients of a cohort, made when this process first needs them.

        Clients are numbered by their place in the cohort; where all take part, by their own number.
        """
        if members not in self._made:
            aggregator = self.plan.aggregator_of(len(members))
            roster = {place: self.keys[client].public for place, client in enumerate(members, start=1)}
            if aggregator.has_authority:
                roster[AUTHORITY] = self.keys[AUTHORITY].public
            run_id = self.run_id
            if self.plan.bands is not None:  # a run of the protocol of its own
                parts = (client.to_bytes(4, "big") for client in members)
                run_id = digest("fedpriv/cohort/v1", run_id, *parts)[:16]
            clients = {}
            for place, client in enumerate(members, start=1):
                rand = self.entropy.stream("secagg", round_, client).read
                draw = partial(self._draw_level, client)
                made = aggregator.client(place, run_id, self.keys[client], roster, rand, draw_level=draw)
                clients[place] = Metered(made)
            authority: dict[int, KeyHolder] = {}
            if isinstance(aggregator, Ckks) and aggregator.has_authority:
                rand = self.entropy.stream("secagg", round_, AUTHORITY).read
                authority[AUTHORITY] = aggregator.authority(run_id, self.keys[AUTHORITY], roster, rand)
            self._made[members] = _Parties(aggregator.server(run_id, roster), clients, authority)
        return self._made[members]

    def _draw_level(self, client: int, round_: int) -> bytes:
        """The secret of a client's highest level of noise removal in a round."""
        return self.entropy.stream("noise-levels", round_, client).read(32)

    def _local_update(
        self, round_: int, client: int, parameters: NDArray[np.float32], party: Metered
    ) -> NDArray[np.uint64]:
        """One client's contribution, with its share of the noise, as residues."""
        noise = self.plan.noise
        total = self.local.contribution(round_, client, parameters)
        if noise.share_variance and not self.local.noisy:
            words = self.entropy.stream("noise", round_, client).words
            total += noise_share(noise, party.level_secrets(), words)
        return self.plan.grid.to_residues(total)

    def _context(self, parameters: NDArray[np.float32], head: bytes) -> bytes:
        """Digest of configuration, model and ledger, which every mask is derived under."""
        return digest(
            "fedpriv/round-context/v2",
            head,
            bytes.fromhex(self.work.config.digest()),
            bytes.fromhex(self.work.manifest.digest()),
            parameters.astype("<f4").tobytes(),
        )


@dataclass(slots=True)
class _Delivery:
    """Whether a client still answers at a stage, and which stage was the last to be asked for.

    ``refused`` collects the clients whose own budget did not let their upload go.
    """

    stages: tuple[str, ...]
    members: tuple[int, ...]
    vanishing: Mapping[int, str]
    before_upload: Callable[[int], None]
    stage: str = ""
    refused: dict[int, str] = field(default_factory=dict)

    def __call__(self, stage: str, place: int) -> bool:
        self.stage = stage
        if place == AUTHORITY:
            return True
        client = self.members[place - 1]
        last = self.vanishing.get(client)
        if client in self.refused or (
            last is not None and self.stages.index(stage) >= self.stages.index(last)
        ):
            return False
        if stage == UPLOAD:
            try:
                self.before_upload(client)
            except BudgetExceeded:
                self.refused[client] = REFUSED
                return False
        return True
