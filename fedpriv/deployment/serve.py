"""The server's side of a deployed run, from its own folder and the app's bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fedpriv import data
from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.node_records import check_model
from fedpriv.deployment.nodes import Nodes
from fedpriv.deployment.progress import PROGRESS, ProgressFile
from fedpriv.deployment.remote_accounts import RemoteAccounts
from fedpriv.deployment.remote_rounds import Network
from fedpriv.deployment.server_settings import ServerSettings, load_server_settings
from fedpriv.deployment.transport import Transport
from fedpriv.errors import FedprivError, UsageError
from fedpriv.federation.observer import RunObserver, RunResult
from fedpriv.federation.run import check_plan
from fedpriv.federation.session import Session
from fedpriv.federation.task_of import record_columns
from fedpriv.federation.workplace import DataSet, Workplace, assemble
from fedpriv.keystore import load_roster
from fedpriv.ledger import Ledger
from fedpriv.ledger.home import open_ledger

__all__ = ["SETTINGS", "serve"]

SETTINGS: Final = "server.toml"
"""The server's settings, in its own folder."""


def serve(bundle: Path, folder: Path, transport: Transport, *, network: str = "flower") -> RunResult:
    """Run what the bundle says over the nodes that ``transport`` reaches, or go on where it stopped.

    What happens is told in ``folder/progress.jsonl`` as it happens.

    Args:
        bundle: folder of what all parties agreed on.
        folder: the server's own.
        transport: reaches the nodes.
        network: what the report calls it.

    Raises:
        UsageError: the folder's settings, data or model are not those of the bundle, or the run is finished.
        TooFewParties: too few nodes take part; the run can be started again and goes on.
        BudgetExceeded: the ledger does not allow the plan; nothing was spent.
        IntegrityError: the folder, or the ledger, is not what the run left behind.
    """
    progress = ProgressFile(folder / PROGRESS)
    try:
        return _serve(Bundle.read(bundle), folder, transport, network, progress)
    except FedprivError as error:
        progress.failed(str(error), error.hint)
        raise
    except Exception as error:
        progress.failed(f"The server app failed: {type(error).__name__}.", "Its log says where.")
        raise


def _serve(
    bundle: Bundle, folder: Path, transport: Transport, network: str, observer: RunObserver
) -> RunResult:
    settings = load_server_settings(folder / SETTINGS)
    plan = bundle.plan
    check_plan(plan)
    with open_ledger(settings.ledger) as ledger:
        _check_parties(bundle, settings, ledger)
        work = _workplace(bundle, settings)
        nodes = Nodes(transport, bundle, settings)
        accounts = RemoteAccounts(nodes, ledger)
        session = Session(
            config=bundle.config,
            run_dir=settings.run,
            work=work,
            plan=plan,
            ledger=ledger,
            clients=accounts,
            engine=Network(network, work, plan, accounts),
            observer=observer,
        )
        result = session.go(resume=(settings.run / "run.json").exists())
        _report(settings.run, ledger)
    return result


def _check_parties(bundle: Bundle, settings: ServerSettings, ledger: Ledger) -> None:
    """Refuse a bundle of other parties than the server's own folder names."""
    agreement = bundle.agreement
    for what, own, agreed in (
        ("roster", load_roster(settings.roster).keys, dict(agreement.roster)),
        ("ledger's key", ledger.public, agreement.server),
        ("key authority", settings.authority, agreement.authority),
    ):
        if own != agreed:
            raise UsageError(
                f"The app is not the one of this server's folder: the {what} differs.",
                hint="Use app and server folder of one `fedpriv deploy`.",
            )


def _workplace(bundle: Bundle, settings: ServerSettings) -> Workplace:
    """The model, and the held-out records; of the training records there are none here."""
    agreement = bundle.agreement
    test = data.load(
        str(settings.test),
        **record_columns(bundle.config),
        labels=agreement.labels,
        part=True,
    )
    none = test.select([])
    dataset = DataSet(
        train=none,
        test=test,
        left_out=test.left_out,
        shards=tuple(none.labels for _ in agreement.roster),
        name=bundle.config.budget.name or agreement.name,
        fingerprint=agreement.dataset,
    )
    work = assemble(bundle.config, dataset, model=None if settings.model is None else str(settings.model))
    check_model(work, bundle)
    return work


def _report(run_dir: Path, ledger: Ledger) -> None:
    """The page and the evidence of a finished run."""
    from fedpriv.report import bundle as evidence
    from fedpriv.report import write

    write(run_dir)
    evidence.write(run_dir, ledger.key)
