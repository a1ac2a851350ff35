"""One round with all clients in this process: local work, secure sum, decoding.

The caller keeps the ledger and the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.aggregation import KeyHolder
from fedpriv.ckks.mode import AUTHORITY
from fedpriv.crypto import SigningKey
from fedpriv.entropy import Entropy
from fedpriv.errors import BudgetExceeded, TooFewParties
from fedpriv.federation.cohort import Cohort
from fedpriv.federation.outcome import REFUSED, UPLOAD, RoundLost, RoundOutcome, lost_at
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round_server import RoundServer
from fedpriv.federation.traffic import Metered
from fedpriv.federation.work.kept import Kept
from fedpriv.federation.work.local_work import LocalWork, local_work
from fedpriv.federation.work.measured_work import MeasuredWork
from fedpriv.federation.work.vector import client_vector
from fedpriv.federation.workplace import Workplace
from fedpriv.secagg import run_in_process
from fedpriv.secagg.in_process import RoundClient

if TYPE_CHECKING:
    from fedpriv.training import ClippedRecords, LocalTraining

__all__ = ["RoundRunner", "fresh_identities"]


def fresh_identities(plan: Plan, clients: int, read: Callable[[int], bytes]) -> dict[int, SigningKey]:
    """A signing key for each of ``clients`` and for the key authority, where the plan has one.

    ``read`` gives so many fresh bytes.
    """
    authority = (AUTHORITY,) if plan.aggregator.has_authority else ()
    return {party: SigningKey.from_seed(read(32)) for party in (*range(1, clients + 1), *authority)}


@dataclass(frozen=True, slots=True)
class _Parties:
    """The clients of one cohort's sums, by their place; ``authority``: who else holds a key."""

    clients: dict[int, Metered]
    authority: dict[int, KeyHolder]


@dataclass(slots=True)
class RoundRunner:
    """Runs rounds of a plan over the clients of a workplace, all in this process.

    ``before_upload`` is called with round and client before a client works for an upload; where its own
    budget refuses (`BudgetExceeded`), the client vanishes then.  ``kept`` is what clients keep to themselves,
    where it is written down.
    """

    work: Workplace
    plan: Plan
    entropy: Entropy
    gradients: ClippedRecords | LocalTraining
    run_id: bytes
    keys: Mapping[int, SigningKey]
    before_upload: Callable[[int, int], None] = lambda round_, client: None
    kept: Kept | None = None
    local: LocalWork = field(init=False)
    _server: RoundServer = field(init=False)
    _made: dict[tuple[int, ...], _Parties] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.local = local_work(self.work, self.plan, self.entropy, self.gradients, self.kept)
        self._server = RoundServer(self.work, self.plan, self.entropy, self.run_id, self.roster)

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
    ) -> RoundOutcome | RoundLost:
        """Run round ``round_`` from the model ``parameters``.

        Args:
            round_: number of the round, from 1.
            parameters: float32, shape ``(dimension,)``.
            vanishing: the stage from which on a client no longer answers, by client.
            head: of the ledger that the round is reserved in: clients that were shown different ones have no
                sum together.

        Returns:
            the outcome, or why there is none: fewer clients answered than the plan needs.
        """
        self.work.manifest.restore(self.work.model, parameters)
        opened = self._server.open(round_, parameters, self.local, head)
        cohort, stages = opened.cohort, opened.cohort.aggregator.stages
        vanishing = {client: stage for client, stage in vanishing.items() if client in cohort.members}
        parties = self._parties(round_, cohort)
        for holder in parties.authority.values():
            holder.open_round(round_, opened.context)

        def begin(place: int) -> None:
            parties.clients[place].open_round(round_, opened.context)

        def upload(place: int) -> None:
            client, party = cohort.client_at(place), parties.clients[place]
            self.before_upload(round_, client)
            party.set_vectors(self._local_update(round_, client, parameters, party))

        delivery = _Delivery(cohort, vanishing, begin, upload)
        try:
            answering: dict[int, RoundClient] = {**parties.clients, **parties.authority}
            total = run_in_process(opened.server, answering, delivery)
        except TooFewParties as error:
            self._server.lost()
            return lost_at(delivery.stage, stages, str(error))
        outcome = self._server.outcome(
            opened,
            total,
            self.local,
            dropped={**vanishing, **delivery.refused},
            sent=max(parties.clients[place].sent for place in total.survivors),
        )
        if isinstance(self.local, MeasuredWork):
            return replace(outcome, gap=self.local.gap(outcome.survivors))
        return outcome

    def _parties(self, round_: int, cohort: Cohort) -> _Parties:
        """The clients of a cohort, and the key authority, made when this process first needs them."""
        if cohort.members not in self._made:
            clients = {
                place: Metered(
                    cohort.client(client, self.keys[client], self.entropy, self._rand(round_, client))
                )
                for place, client in enumerate(cohort.members, start=1)
            }
            authority = {}
            if cohort.aggregator.has_authority:
                authority[AUTHORITY] = cohort.authority(self.keys[AUTHORITY], self._rand(round_, AUTHORITY))
            self._made[cohort.members] = _Parties(clients, authority)
        return self._made[cohort.members]

    def _rand(self, round_: int, party: int) -> Callable[[int], bytes]:
        return self.entropy.stream("secagg", round_, party).read

    def _local_update(
        self, round_: int, client: int, parameters: NDArray[np.float32], party: Metered
    ) -> NDArray[np.uint64]:
        """One client's contribution, with its share of the noise, as residues."""
        return client_vector(
            self.local,
            self.plan,
            self.entropy,
            round_=round_,
            client=client,
            parameters=parameters,
            level_secrets=party.level_secrets,
        )


@dataclass(slots=True)
class _Delivery:
    """Whether a client still answers at a stage, and which stage was the last to be asked for.

    ``begin`` has the client at a place begin the round, and ``upload`` has it work, at the moments at which a
    node on a network would: one that no request reaches knows of no round, and one that is not asked for its
    upload has not moved what it keeps.  ``refused`` collects the clients whose own budget did not let their
    upload go.
    """

    cohort: Cohort
    vanishing: Mapping[int, str]
    begin: Callable[[int], None]
    upload: Callable[[int], None]
    stage: str = ""
    refused: dict[int, str] = field(default_factory=dict)
    _begun: set[int] = field(default_factory=set)

    def __call__(self, stage: str, place: int) -> bool:
        self.stage = stage
        stages, client = self.cohort.aggregator.stages, self.cohort.client_at(place)
        if client == AUTHORITY:
            return True
        last = self.vanishing.get(client)
        if client in self.refused or (last is not None and stages.index(stage) >= stages.index(last)):
            return False
        if place not in self._begun:
            self.begin(place)
            self._begun.add(place)
        if stage == UPLOAD:
            try:
                self.upload(place)
            except BudgetExceeded:
                self.refused[client] = REFUSED
                return False
        return True
