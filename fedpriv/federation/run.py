"""A run from the first round to the adapter: reserve, train, sum, release, apply, checkpoint.

The order is what keeps the promise.  A round is reserved, durably, before any client works; its release is
recorded before its result is used; the checkpoint comes last.  Wherever the process dies, what was spent is
in the ledger, and at most the round in progress is lost.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.crypto import SigningKey
from fedpriv.entropy import Entropy
from fedpriv.errors import BudgetExceeded, UnsafeParameters, UsageError
from fedpriv.federation.books import Books
from fedpriv.federation.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    append_line,
    read_json,
    write_json,
)
from fedpriv.federation.client_ledgers import ClientLedgers, open_client_ledgers
from fedpriv.federation.config import Config
from fedpriv.federation.ending import finish
from fedpriv.federation.facts import run_facts
from fedpriv.federation.home import ledger_path
from fedpriv.federation.observer import RoundRecord, RunObserver, RunResult, Silent
from fedpriv.federation.opening import again, begin
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round import RoundLost, RoundOutcome, RoundRunner, fresh_identities
from fedpriv.federation.work.local_work import learner
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.ledger import Ledger
from fedpriv.ledger.home import open_ledger

if TYPE_CHECKING:
    from fedpriv.training import ServerOptimizer

__all__ = ["run"]


def run(
    config: Config, run_dir: Path, *, resume: bool = False, observer: RunObserver | None = None
) -> RunResult:
    """Run what ``config`` says, or go on where an earlier call stopped.

    Args:
        config: the configuration; on a resume it must be the one that the run was started with.
        run_dir: folder of the run; must not hold a run already, unless ``resume``.
        resume: go on after the last finished round.
        observer: is told of every round.

    Raises:
        UsageError: the configuration, the data, the model or the folder cannot be used; nothing was spent.
        BudgetExceeded: the data set's budget does not allow the plan; nothing was spent.
        IntegrityError: the folder or the ledger is not what this run left behind.
    """
    _check_folder(run_dir, resume)
    work = prepare(config, begins=True)
    plan = make_plan(config, work)
    if plan.problems:
        raise UnsafeParameters(
            plan.problems[0],
            hint="raise privacy.noise_multiplier or leave it out, or take fewer rounds or a smaller batch",
        )
    with (
        closing(open_ledger(ledger_path(config))) as ledger,
        closing(open_client_ledgers(config, work.dataset, plan, server=ledger.public)) as clients,
    ):
        clients.follow(ledger, plan.dataset)  # an older ledger is found out before anything is spent
        session = _Session(config, run_dir, work, plan, ledger, clients, observer or Silent())
        return session.go(resume)


def _check_folder(run_dir: Path, resume: bool) -> None:
    """Refuse to start over a run, and to resume where there is none, before anything is loaded."""
    started = (run_dir / "run.json").exists()
    if resume and not started:
        raise UsageError(f"{run_dir} holds no run to resume.", hint="Leave --resume out to start one.")
    if not resume and started:
        raise UsageError(
            f"{run_dir} holds a run already.", hint="Use --resume to go on with it, or another --run-dir."
        )


@dataclass(slots=True)
class _Session:
    """One call of :func:`run`: everything it holds on to."""

    config: Config
    run_dir: Path
    work: Workplace
    plan: Plan
    ledger: Ledger
    clients: ClientLedgers
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
        optimizer = self.work.optimizer()
        if checkpoint.optimizer:
            optimizer.load_state_dict(checkpoint.optimizer)
        runner = RoundRunner(
            work=self.work,
            plan=self.plan,
            entropy=Entropy(self.config.privacy.insecure_seed),
            gradients=learner(self.work, self.plan),
            run_id=bytes.fromhex(run_id),
            keys=self._identities(),
        )
        if checkpoint.local:
            runner.local.load_state_dict(checkpoint.local)
        parameters = checkpoint.parameters
        write_json(self._facts_path, self._facts(run_id, runner))
        try:
            parameters = self._rounds(books, parameters, optimizer, runner)
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
            learns=runner.gradients,
            facts=lambda finished: self._facts(run_id, runner, finished),
        )
        books.close()
        self.observer.finished(result)
        return result

    def _rounds(
        self,
        books: Books,
        parameters: NDArray[np.float32],
        optimizer: ServerOptimizer,
        runner: RoundRunner,
    ) -> NDArray[np.float32]:
        """Run the rounds that are left; returns the parameters after the last one."""
        done = self.ledger.run(books.run_id).last_round or 0
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
                self._vanishing(round_) | absent,
                head=reserved.head,
                before_upload=partial(self.clients.reserve, books.run_id, round_),
            )
            if isinstance(outcome, RoundLost):
                books.void(round_, outcome)
                self.observer.round_lost(round_, outcome.reason)
                continue
            outcome = outcome.naming(reserved.refused)
            released = books.release(round_, outcome)
            parameters = optimizer.step(parameters, outcome.gradient)
            done = round_
            record = self._record(books.run_id, round_, outcome, parameters, started)
            append_line(self.run_dir / "rounds.jsonl", record.to_dict())
            Checkpoint(round_, parameters, optimizer.state_dict(), released, runner.local.state_dict()).save(
                self._checkpoint_path
            )
            self.observer.round_finished(record)
        return parameters

    def _facts(self, run_id: str, runner: RoundRunner, finished: str | None = None) -> dict[str, Any]:
        """What ``run.json`` says; the two figures of the first call are kept."""
        earlier = read_json(self._facts_path)
        return {
            "run_id": run_id,
            "started": earlier["started"],
            "finished": finished,
            "base_accuracy": earlier["base_accuracy"],
            "server_key": self.ledger.public.hex(),
            "roster": {str(client): public.hex() for client, public in runner.roster.items()},
            **run_facts(self.work, self.plan),
        }

    @property
    def _facts_path(self) -> Path:
        return self.run_dir / "run.json"

    @property
    def _checkpoint_path(self) -> Path:
        return self.run_dir / CHECKPOINT

    def _identities(self) -> dict[int, SigningKey]:
        """A signing key for each simulated client, and for the key authority where there is one.

        Clients with ledgers of their own sign with those ledgers' keys; all others are made for this process.
        """
        stream = Entropy(self.config.privacy.insecure_seed).stream("identities")
        return fresh_identities(self.plan, self.work.dataset.clients, stream.read) | self.clients.keys

    def _vanishing(self, round_: int) -> dict[int, str]:
        """Which simulated client vanishes in ``round_``, and from which stage on; from the public seed."""
        rng = np.random.default_rng((self.config.run.seed, round_))
        if rng.random() >= self.config.simulation.dropout:
            return {}
        members = self.plan.members(round_)
        client = members[int(rng.integers(0, len(members)))]
        return {client: str(rng.choice(self.plan.aggregator.stages))}

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
        accuracy = None
        if last or round_ % self.config.training.evaluate_every == 0:
            self.work.manifest.restore(self.work.model, parameters)
            accuracy = self.work.task.evaluate(self.work.test).accuracy
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
            accuracy=accuracy,
            seconds=time.perf_counter() - started,
            bytes_per_client=outcome.bytes_per_client,
            aggregate_digest=outcome.aggregate_digest,
            clip=outcome.clip,
        )
