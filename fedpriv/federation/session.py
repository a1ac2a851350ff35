"""A run from the first round to the adapter: reserve, train, sum, release, apply, checkpoint.

The order is what keeps the promise.  A round is reserved, durably, before any client works; its release is
recorded before its result is used; the checkpoint comes last.  Wherever the process dies, what was spent is
in the ledger, and at most the round in progress is lost.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.entropy import Entropy
from fedpriv.errors import BudgetExceeded, UsageError
from fedpriv.federation.books import Books, ClientAccounts
from fedpriv.federation.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    append_line,
    read_json,
    write_json,
)
from fedpriv.federation.config import Config
from fedpriv.federation.ending import finish
from fedpriv.federation.facts import run_facts
from fedpriv.federation.language import kept_figures
from fedpriv.federation.observer import RoundRecord, RunObserver, RunResult
from fedpriv.federation.opening import again, begin
from fedpriv.federation.outcome import RoundLost, RoundOutcome
from fedpriv.federation.planning.absences import Absences
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.server_step import ServerStep
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.kept import Kept
from fedpriv.federation.work.local_work import LocalWork, learner
from fedpriv.federation.workplace import Workplace
from fedpriv.ledger import Ledger

if TYPE_CHECKING:
    from fedpriv.training import ClippedRecords, LocalTraining

__all__ = ["Engine", "Rounds", "Session", "check_folder"]


class Rounds(Protocol):
    """The rounds of one run, driven over its clients."""

    local: LocalWork
    """How sums are read, and what is kept between two rounds."""

    @property
    def kept(self) -> Kept | None:
        """What clients keep to themselves, where that is at hand here, as in a simulation."""

    @property
    def roster(self) -> Mapping[int, bytes]:
        """Each party's public key; the key authority's, where there is one, by number 0."""

    def run(
        self,
        round_: int,
        parameters: NDArray[np.float32],
        vanishing: Mapping[int, str],
        *,
        head: bytes = b"",
    ) -> RoundOutcome | RoundLost:
        """Run a round from the model ``parameters``.

        Args:
            round_: its number, from 1.
            parameters: float32, shape ``(parameters,)``.
            vanishing: the stage from which on a client is not asked any more, by client.
            head: of the ledger that the round is reserved in.
        """


class Engine(Protocol):
    """Where the clients of a run are, and what moves their messages."""

    @property
    def name(self) -> str:
        """One word for the report."""

    def begin(self, run_id: bytes, entropy: Entropy, learns: ClippedRecords | LocalTraining) -> Rounds:
        """The rounds of the run that ``run_id`` (16 bytes) names.

        Args:
            run_id: of the run.
            entropy: where whatever is drawn here comes from.
            learns: what computes on records here.
        """


def check_folder(run_dir: Path, *, resume: bool) -> None:
    """Refuse to start over a run, and to resume where there is none, before anything is loaded.

    Raises:
        UsageError: one of the two.
    """
    started = (run_dir / "run.json").exists()
    if resume and not started:
        raise UsageError(f"{run_dir} holds no run to resume.", hint="Leave --resume out to start one.")
    if not resume and started:
        raise UsageError(
            f"{run_dir} holds a run already.", hint="Use --resume to go on with it, or another --run-dir."
        )


@dataclass(slots=True)
class Session:
    """One run, begun or taken up again: everything that it holds on to, wherever its clients are."""

    config: Config
    run_dir: Path
    work: Workplace
    plan: Plan
    ledger: Ledger
    clients: ClientAccounts
    engine: Engine
    observer: RunObserver

    def go(self, resume: bool) -> RunResult:
        """Start or resume, run the rounds that are left, finish."""
        checkpoint, run_id = (again if resume else begin)(
            self.config,
            self.run_dir,
            work=self.work,
            plan=self.plan,
            ledger=self.ledger,
            clients=self.clients,
        )
        books = Books(self.ledger, self.clients, self.plan, run_id, self.run_dir)
        books.open()
        self.observer.started(self.plan, checkpoint.round)
        server = ServerStep(self.work, RoundCoordinates.of(self.work, self.plan), self.work.optimizer())
        if checkpoint.optimizer:
            server.optimizer.load_state_dict(checkpoint.optimizer)
        entropy, learns = Entropy(self.config.privacy.insecure_seed), learner(self.work, self.plan)
        runner = self.engine.begin(bytes.fromhex(run_id), entropy, learns)
        if checkpoint.local:
            runner.local.load_state_dict(checkpoint.local)
        parameters = checkpoint.parameters
        write_json(self._facts_path, self._facts(run_id, runner))
        try:
            parameters = self._rounds(books, parameters, server, runner)
            books.end()
        finally:  # also where the run is interrupted: what was spent so far can be reported and verified
            write_json(self.run_dir / "ledger.json", self.ledger.export(self.work.dataset.fingerprint))
        result = finish(
            config=self.config,
            run_dir=self.run_dir,
            work=self.work,
            plan=self.plan,
            ledger=self.ledger,
            run_id=run_id,
            parameters=parameters,
            learns=learns,
            kept=runner.kept,
            facts=lambda finished: self._facts(run_id, runner, finished),
        )
        books.close()
        self.observer.finished(result)
        return result

    def _rounds(
        self,
        books: Books,
        parameters: NDArray[np.float32],
        server: ServerStep,
        runner: Rounds,
    ) -> NDArray[np.float32]:
        """Run the rounds that are left; returns the parameters after the last one."""
        done = self.ledger.run(books.run_id).last_round or 0
        absences = Absences(self.config, self.plan)
        for round_ in range(done + 1, self.plan.rounds + 1):
            started = time.perf_counter()
            try:
                reserved = books.reserve(round_)
            except BudgetExceeded as error:
                if not done:
                    raise
                self.observer.round_lost(round_, str(error))
                break  # the rounds that the budget paid for are a result
            absent = dict.fromkeys(reserved.refused, self.plan.aggregator.stages[0])
            outcome = runner.run(
                round_,
                parameters,
                absences.in_round(round_) | absent,
                head=reserved.head,
            )
            if isinstance(outcome, RoundLost):
                books.void(round_, outcome)
                self.observer.round_lost(round_, outcome.reason)
                continue
            outcome = outcome.naming(reserved.refused)
            released = books.release(round_, outcome)
            parameters = server.step(round_, parameters, outcome.gradient)
            done = round_
            record = self._record(books.run_id, round_, outcome, parameters, started)
            append_line(self.run_dir / "rounds.jsonl", record.to_dict())
            kept = server.optimizer.state_dict()
            Checkpoint(round_, parameters, kept, released, runner.local.state_dict()).save(
                self._checkpoint_path
            )
            self.observer.round_finished(record)
        return parameters

    def _facts(self, run_id: str, runner: Rounds, finished: str | None = None) -> dict[str, Any]:
        """What ``run.json`` says; the time and the base model's figures of the first call are kept."""
        earlier = read_json(self._facts_path)
        return {
            "run_id": run_id,
            "started": earlier["started"],
            "finished": finished,
            "base_accuracy": earlier["base_accuracy"],
            **kept_figures(earlier),
            "server_key": self.ledger.public.hex(),
            "roster": {str(client): public.hex() for client, public in runner.roster.items()},
            **run_facts(self.work, self.plan, engine=self.engine.name),
        }

    @property
    def _facts_path(self) -> Path:
        return self.run_dir / "run.json"

    @property
    def _checkpoint_path(self) -> Path:
        return self.run_dir / CHECKPOINT

    def _record(
        self,
        run_id: str,
        round_: int,
        outcome: RoundOutcome,
        parameters: NDArray[np.float32],
        started: float,
    ) -> RoundRecord:
        """What there is to say of a finished round."""
        spent = [(self.plan.event, self.ledger.run(run_id).counted)]
        last = round_ == self.plan.rounds
        metrics = None
        if last or round_ % self.config.training.evaluate_every == 0:
            self.work.manifest.restore(self.work.model, parameters)
            metrics = self.work.task.evaluate(self.work.test)
        return RoundRecord(
            round=round_,
            rounds=self.plan.rounds,
            clients=self.work.dataset.clients,
            survivors=outcome.survivors,
            dropped=outcome.dropped,
            realised_multiplier=self.plan.noise.realised_multiplier(len(outcome.survivors)),
            epsilon_pld=dp.epsilon_pld(spent, self.plan.delta, interval=1e-3),
            epsilon_rdp=dp.epsilon_rdp(spent, self.plan.delta),
            epsilon_budget=self.plan.epsilon,
            accuracy=metrics.accuracy if metrics else None,
            seconds=time.perf_counter() - started,
            bytes_per_client=outcome.bytes_per_client,
            aggregate_digest=outcome.aggregate_digest,
            clip=outcome.clip,
            gap=outcome.gap,
            perplexity=metrics.perplexity if metrics else None,
        )
