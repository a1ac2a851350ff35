"""A whole run with all parties in this process: ``fedpriv run``."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fedpriv.entropy import Entropy
from fedpriv.errors import UnsafeParameters
from fedpriv.federation.client_ledgers import ClientLedgers, open_client_ledgers
from fedpriv.federation.config import Config
from fedpriv.federation.home import ledger_path
from fedpriv.federation.observer import RunObserver, RunResult, Silent
from fedpriv.federation.personal import check_personal, own_folder
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round import RoundRunner, fresh_identities
from fedpriv.federation.session import Session, check_folder
from fedpriv.federation.work.kept import Kept
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.ledger.home import open_ledger

if TYPE_CHECKING:
    from fedpriv.training import ClippedRecords, LocalTraining

__all__ = ["check_plan", "run"]


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
    check_folder(run_dir, resume=resume)
    work = prepare(config, begins=True)
    check_personal(work)
    plan = make_plan(config, work)
    check_plan(plan)
    with (
        closing(open_ledger(ledger_path(config))) as ledger,
        closing(open_client_ledgers(config, work.dataset, plan, server=ledger.public)) as clients,
    ):
        clients.follow(ledger, plan.dataset)  # an older ledger is found out before anything is spent
        simulation = _Simulation(work, plan, clients, run_dir)
        session = Session(
            config=config,
            run_dir=run_dir,
            work=work,
            plan=plan,
            ledger=ledger,
            clients=clients,
            engine=simulation,
            observer=observer or Silent(),
        )
        try:
            return session.go(resume)
        finally:
            work.save_prefixes()


def check_plan(plan: Plan) -> None:
    """Refuse a plan that must not be run.

    Raises:
        UnsafeParameters: it costs more than it may.
    """
    if plan.problems:
        raise UnsafeParameters(
            plan.problems[0],
            hint="raise privacy.noise_multiplier or leave it out, or take fewer rounds or a smaller batch",
        )


@dataclass(frozen=True, slots=True)
class _Simulation:
    """All clients in this process; what they keep to themselves goes into the run's folder."""

    work: Workplace
    plan: Plan
    clients: ClientLedgers
    run_dir: Path

    name: ClassVar[str] = "simulation"

    def begin(self, run_id: bytes, entropy: Entropy, learns: ClippedRecords | LocalTraining) -> RoundRunner:
        """A signing key for each simulated client, and for the key authority where there is one.

        Clients with ledgers of their own sign with those ledgers' keys; all others are made for this process.
        """
        fresh = fresh_identities(self.plan, self.work.dataset.clients, entropy.stream("identities").read)
        return RoundRunner(
            work=self.work,
            plan=self.plan,
            entropy=entropy,
            gradients=learns,
            run_id=run_id,
            keys=fresh | self.clients.keys,
            before_upload=partial(self.clients.reserve, run_id.hex()),
            kept=Kept.of_work(self.work, lambda client: own_folder(self.run_dir, client) / "kept"),
        )
