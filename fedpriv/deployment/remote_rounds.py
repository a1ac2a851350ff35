"""Rounds of a run over its nodes: each stage of the sum is one exchange."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.ckks.mode import AUTHORITY
from fedpriv.deployment.messages import Answer, Refusal, Step, Upload
from fedpriv.deployment.nodes import party_name
from fedpriv.deployment.remote_accounts import RemoteAccounts
from fedpriv.deployment.transport import Lost
from fedpriv.entropy import Entropy
from fedpriv.errors import BudgetExceeded, FedprivError, PeerFault, TooFewParties, UsageError
from fedpriv.federation.outcome import REFUSED, UPLOAD, RoundLost, RoundOutcome, lost_at
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round_server import OpenRound, RoundServer
from fedpriv.federation.work.local_work import LocalWork, local_work
from fedpriv.federation.workplace import Workplace

if TYPE_CHECKING:
    from fedpriv.training import ClippedRecords, LocalTraining

__all__ = ["Network", "RemoteRounds"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Network:
    """Clients on nodes of their own.

    Attributes:
        name: of what moves the messages.
        work, plan: the server's model and data, and the plan.
        accounts: the clients' ledgers, and the nodes.
    """

    name: str
    work: Workplace
    plan: Plan
    accounts: RemoteAccounts

    def begin(self, run_id: bytes, entropy: Entropy, learns: ClippedRecords | LocalTraining) -> RemoteRounds:
        """The rounds of a run."""
        bundle = self.accounts.nodes.bundle
        server = RoundServer(self.work, self.plan, entropy, run_id, bundle.roster)
        return RemoteRounds(server, self.accounts, local_work(self.work, self.plan, entropy, learns))


@dataclass(slots=True)
class RemoteRounds:
    """Drives the rounds of one run.

    Attributes:
        local: how sums are read, and what is kept between two rounds.
    """

    _server: RoundServer
    _accounts: RemoteAccounts
    local: LocalWork

    @property
    def kept(self) -> None:
        """What clients keep to themselves is on their nodes."""

    @property
    def roster(self) -> Mapping[int, bytes]:
        """Every party's public key."""
        return self._server.roster

    def run(
        self,
        round_: int,
        parameters: NDArray[np.float32],
        vanishing: Mapping[int, str],
        *,
        head: bytes = b"",
    ) -> RoundOutcome | RoundLost:
        """Run a round from the model ``parameters``; whoever fails at a stage is left out of what follows.

        Args:
            round_: its number, from 1.
            parameters: float32, shape ``(parameters,)``.
            vanishing: the stage from which on a client is not asked any more, by client.
            head: of the ledger that the round is reserved in.
        """
        stages = self._server.plan.aggregator.stages
        members = self._server.plan.members(round_)
        gone = {client: stage for client, stage in vanishing.items() if client in members}
        gone |= {client: stages[0] for client in members if client not in self._accounts.nodes.parties}
        invited = [client for client in members if gone.get(client) != stages[0]]
        try:
            opened = self._server.open(round_, parameters, self.local, head, invited=invited)
        except UsageError as error:
            self._server.lost()
            return lost_at(stages[0], stages, str(error))
        upload = Upload(self._accounts.rows, parameters, self.local.state_dict())
        drive = _Drive(self._accounts, opened, self._server.run_id, upload, gone)
        try:
            while not opened.server.finished:
                drive.exchange()
                opened.server.advance()
        except (TooFewParties, PeerFault) as error:
            self._server.lost()
            said = "".join(f" {party_name(party)}: {why}." for party, why in sorted(drive.reasons.items()))
            return lost_at(drive.stage, stages, f"{error}{said}")
        total = opened.server.result()
        sent = max(drive.sent[opened.cohort.client_at(place)] for place in total.survivors)
        return self._server.outcome(opened, total, self.local, dropped=drive.gone, sent=sent)


@dataclass(slots=True)
class _Drive:
    """One round on its way.

    Attributes:
        gone: the stage from which on a client takes no part, by client.
        stage: the last one that was asked for.
        sent: bytes of the protocol's messages that each party sent.
        reasons: what is known of parties that failed.
    """

    accounts: RemoteAccounts
    opened: OpenRound
    run_id: bytes
    upload: Upload
    gone: dict[int, str]
    stage: str = ""
    sent: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    _opened: set[int] = field(default_factory=set)

    def exchange(self) -> None:
        """Ask those that the open stage asks, and take in what comes until the time is over."""
        nodes, settings = self.accounts.nodes, self.accounts.nodes.settings
        self.stage = self.opened.server.stage
        trains = self.stage == UPLOAD
        requests = dict(self._requests())
        unheard = set(requests)
        for party, answer in nodes.ask(requests, settings.training_timeout if trains else settings.timeout):
            unheard.discard(party)
            if isinstance(answer, Answer):
                self._take(party, answer)
            else:
                self._fail(party, answer)
        for party in unheard:  # it was given up at an earlier stage, and not asked
            self.gone.setdefault(party, self.stage)

    def _requests(self) -> Iterator[tuple[int, Step]]:
        cohort, stages = self.opened.cohort, self.opened.cohort.aggregator.stages
        for place in self.opened.server.asked:
            party = cohort.client_at(place)
            left = self.gone.get(party)
            if left == REFUSED or (left is not None and stages.index(left) <= stages.index(self.stage)):
                continue
            yield (
                party,
                Step(
                    agreement=self.accounts.nodes.bundle.agreement.digest(),
                    run=self.run_id,
                    round=self.opened.round,
                    opens=party not in self._opened,
                    context=self.opened.context,
                    message=self.opened.server.request(place),
                    upload=self.upload if self.stage == UPLOAD and party != AUTHORITY else None,
                ),
            )
            self._opened.add(party)

    def _take(self, party: int, answer: Answer) -> None:
        place = self.opened.cohort.place(party)
        try:
            for message in answer.messages:
                self.opened.server.receive(place, message)
                self.sent[party] = self.sent.get(party, 0) + len(message)
        except (PeerFault, UsageError) as fault:
            self._fail(party, fault)
            return
        if answer.signature and party != AUTHORITY:
            self.accounts.note(party, self.upload.rows[-1], answer.signature)

    def _fail(self, party: int, why: Refusal | Lost | FedprivError) -> None:
        """Leave a party out of the rest of the round; for good, where its own budget says so."""
        text = why.reason if isinstance(why, Lost) else str(why)
        self.reasons[party] = text
        _log.warning("%s left round %d at %s: %s", party_name(party), self.opened.round, self.stage, text)
        self.gone[party] = self.stage
        if isinstance(why, Refusal) and why.error == BudgetExceeded.__name__:
            self.gone[party] = REFUSED
            self.accounts.refused[party] = text
