"""How a run begins: a plan committed to the ledger, or an earlier state taken up again."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.federation.books import ClientAccounts
from fedpriv.federation.checkpoint import (
    CHECKPOINT,
    CHECKPOINTS,
    Checkpoint,
    json_line,
    read_json,
    read_lines,
    write_file,
    write_json,
)
from fedpriv.federation.config import Config
from fedpriv.federation.language import base_figures
from fedpriv.federation.planning.allowance import check_allowance, first_budget
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.workplace import DataSet, Workplace
from fedpriv.ledger import Ledger, check_unit
from fedpriv.ledger.home import now
from fedpriv.ledger.records import check_resumed, remember

__all__ = ["again", "begin"]

_NO_HEAD = ""
"""What the first checkpoint says of the ledger's head: the plan is committed after it is written."""

_COMMITTED = {"config": "config.toml", "plan": "plan.json"}
"""Files whose digests the ledger keeps."""


def begin(
    config: Config,
    run_dir: Path,
    *,
    work: Workplace,
    plan: Plan,
    ledger: Ledger,
    clients: ClientAccounts,
) -> tuple[Checkpoint, str]:
    """Write the run's folder, then commit the plan to the ledger.

    In this order a process that dies in between leaves a run that :func:`again` takes up, and never a plan in
    the ledger that no folder belongs to.
    """
    check_allowance(config, plan, ledger)
    in_force = ledger.budget(plan.dataset)
    cap = config.budget.client_epsilon or (in_force.epsilon if in_force else first_budget(config))
    clients.check(plan, epsilon=cap, name=work.dataset.name)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The run's folder {run_dir} cannot be made: {error.strerror}.",
            hint="Choose another with --run-dir.",
        ) from None
    run_id = secrets.token_hex(16)
    base = work.task.evaluate(work.test)
    checkpoint = Checkpoint(0, work.manifest.flatten(work.model), {}, _NO_HEAD)
    checkpoint.save(run_dir / CHECKPOINT)
    write_file(run_dir / "config.toml", config.to_toml().encode())
    write_json(run_dir / "plan.json", plan.to_dict())
    write_json(
        run_dir / "run.json",
        {
            "run_id": run_id,
            "config_digest": config.digest(),
            "started": now(),
            "base_accuracy": base.accuracy,
            **base_figures(work, base),
        },
    )
    _commit(config, run_dir, work=work, plan=plan, ledger=ledger, clients=clients, run_id=run_id)
    return checkpoint, run_id


def again(
    config: Config,
    run_dir: Path,
    *,
    work: Workplace,
    plan: Plan,
    ledger: Ledger,
    clients: ClientAccounts,
) -> tuple[Checkpoint, str]:
    """Read what an earlier call left, and refuse where the configuration or the ledger is another."""
    facts = read_json(run_dir / "run.json")
    if facts.get("finished"):
        raise UsageError(f"The run in {run_dir} has finished.", hint="See its report: `fedpriv report`.")
    if facts["config_digest"] != config.digest():
        raise UsageError(
            f"The configuration is not the one that the run in {run_dir} was started with.",
            hint=f"See what it was in {run_dir / 'config.toml'}, or start a new run.",
        )
    check_unit(ledger, plan.dataset, plan.unit_key)
    run_id = str(facts["run_id"])
    checkpoint = Checkpoint.load(run_dir / CHECKPOINT)
    fingerprint = work.dataset.fingerprint
    if checkpoint.head == _NO_HEAD and not ledger.has_run(fingerprint, run_id):
        _commit(config, run_dir, work=work, plan=plan, ledger=ledger, clients=clients, run_id=run_id)
    elif checkpoint.head not in {_NO_HEAD, *(row.hash.hex() for row in ledger.rows(fingerprint))}:
        raise IntegrityError(
            "The ledger does not hold the row that this run's checkpoint names: an older copy was put "
            "back, or it is another ledger.",
            hint="Restore the newest copy of the ledger; a run is never resumed on an older one.",
        )
    if work.dataset.gathered is not None:
        check_resumed(ledger, fingerprint, run_id, work.dataset.recognised.marks)
    kept = [line for line in read_lines(run_dir / "rounds.jsonl") if line["round"] <= checkpoint.round]
    write_file(run_dir / "rounds.jsonl", b"".join(json_line(line) for line in kept))
    signed = read_lines(run_dir / CHECKPOINTS)  # without a line that was half written
    write_file(run_dir / CHECKPOINTS, b"".join(json_line(line) for line in signed))
    return checkpoint, run_id


def _commit(
    config: Config,
    run_dir: Path,
    *,
    work: Workplace,
    plan: Plan,
    ledger: Ledger,
    clients: ClientAccounts,
    run_id: str,
) -> None:
    """Commit the plan, with the digests of the files that say what it is; nothing is spent yet."""
    dataset = work.dataset
    files = {f"{name}_file": (run_dir / place).read_bytes() for name, place in _COMMITTED.items()}
    with _remembered(ledger, dataset) as records:
        if ledger.budget(dataset.fingerprint) is None:
            ledger.set_budget(dataset.fingerprint, dataset.name, first_budget(config), config.privacy.delta)
        ledger.plan(
            run_id,
            dataset.fingerprint,
            event=plan.event,
            rounds=plan.rounds,
            details={
                "config": config.digest(),
                "manifest": work.manifest.digest(),
                **({"records": records} if records else {}),
                **({"clients": clients.roster_digest()} if clients.accounted else {}),
                **{name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            },
        )


def _remembered(ledger: Ledger, dataset: DataSet) -> AbstractContextManager[dict[str, object]]:
    """Keep the marks of the records; where these are with the clients, the clients' own ledgers do."""
    if dataset.gathered is None:
        return nullcontext({})
    return remember(ledger, dataset.gathered.recognised)
