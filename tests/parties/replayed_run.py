"""A finished deployed run, done again in this process with the same survivors, and its ledgers compared."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from parties.recorded_run import own_rows

from fedpriv import dp
from fedpriv.entropy import Entropy
from fedpriv.federation.checkpoint import CHECKPOINT, Checkpoint
from fedpriv.federation.config import Config
from fedpriv.federation.outcome import REFUSED, UPLOAD, RoundOutcome
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.round import RoundRunner
from fedpriv.federation.work.local_work import learner
from fedpriv.federation.workplace import prepare
from fedpriv.keystore import load_identity
from fedpriv.ledger.home import open_ledger
from fedpriv.report import verify

__all__ = ["check_books", "check_sums", "finished_rounds"]


def finished_rounds(folder: Path) -> list[dict[str, Any]]:
    """The rounds that gave a sum up to now, as the run in ``folder`` wrote them down."""
    path = folder / "server" / "run" / "rounds.jsonl"
    whole = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in whole]


def check_sums(config: Config, folder: Path) -> None:
    """Insist that each sum is, to the bit, that of the same survivors in one process, and so is the model.

    The noise follows from the configuration's insecure seed; whoever vanished at a stage does so again.
    """
    work = prepare(config)
    plan = make_plan(config, work)
    entropy = Entropy(config.privacy.insecure_seed)
    identities = {
        client: load_identity(folder / "nodes" / str(client) / "identity.pem") for client in plan.everyone
    }
    run_id = json.loads((folder / "server" / "run" / "run.json").read_text())["run_id"]
    runner = RoundRunner(work, plan, entropy, learner(work, plan), bytes.fromhex(run_id), identities)
    parameters, optimizer = work.manifest.flatten(work.model), work.optimizer()
    for line in finished_rounds(folder):
        first = plan.aggregator.stages[0]
        vanishing = {client: first if stage == REFUSED else stage for client, stage in line["dropped"]}
        outcome = runner.run(line["round"], parameters, vanishing)
        assert isinstance(outcome, RoundOutcome)
        assert list(outcome.survivors) == line["survivors"]
        assert outcome.aggregate_digest == line["aggregate_digest"]
        parameters = optimizer.step(parameters, outcome.gradient)
    kept = Checkpoint.load(folder / "server" / "run" / CHECKPOINT)
    np.testing.assert_array_equal(kept.parameters, parameters)


def check_books(config: Config, folder: Path, *, lost: set[int]) -> None:
    """Insist that every ledger says what was spent, and that the run can be verified.

    The server's counts all rounds that were begun; a client's, those into whose sum its vector went, and
    beside them at most those in which it was asked for one.

    Args:
        config: of the run.
        folder: of its deployment.
        lost: rounds that were begun, and gave no sum.
    """
    lines = {line["round"]: line for line in finished_rounds(folder)}
    with closing(open_ledger(folder / "server" / "ledger.sqlite")) as ledger:
        (budget,) = ledger.datasets()
        (run,) = ledger.runs(budget.dataset)
        spent = ledger.spent(budget.dataset)
    assert set(run.released) == set(lines)
    assert set(run.pending) == lost
    plan = make_plan(config, prepare(config))
    begun = len(lines) + len(lost)
    assert spent.epsilon_pld == dp.epsilon_pld([(plan.event, begun)], plan.delta)
    for client in plan.everyone:
        rows = own_rows(folder / "nodes" / str(client))
        reserved = {row.round for row in rows if row.kind == "RESERVE"}
        voided = {row.round for row in rows if row.kind == "VOID"}
        into = {round_ for round_, line in lines.items() if client in line["survivors"]}
        cut_off = {round_ for round_, line in lines.items() if [client, UPLOAD] in line["dropped"]}
        assert into <= reserved - voided <= into | cut_off | lost
    assert verify(folder / "server" / "run").failures == ()
