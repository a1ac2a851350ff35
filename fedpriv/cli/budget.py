"""``fedpriv budget``: the budgets of data sets, which outlive every run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedpriv.cli.options import as_json, print_json
from fedpriv.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from fedpriv.ledger import Budget, Ledger

__all__ = ["budget"]

_FINGERPRINT = 64
_SHORT = 12

_ledger_option: Callable[..., Any] = click.option(
    "--ledger",
    "ledger_path",
    type=click.Path(path_type=Path),
    help="File of the ledger; default: ledger.sqlite in $FEDPRIV_HOME or in the user's data folder.",
)


@click.group()
def budget() -> None:
    """Show or set the privacy budgets of data sets, and what became of them."""


@budget.command()
@_ledger_option
@as_json
def show(ledger_path: Path | None, as_json: bool) -> None:
    """Show what each data set has spent of what it may spend."""
    from fedpriv.ledger.home import home, open_ledger

    path = _existing(ledger_path) or home() / "ledger.sqlite"
    rows: list[dict[str, Any]] = []
    if path.exists():
        with open_ledger(path) as ledger:
            rows = [_row(ledger, entry) for entry in ledger.datasets()]
    if as_json:
        print_json({"datasets": rows})
    elif not rows:
        click.echo("no data set has a budget yet; the first run gives it one")
    else:
        from fedpriv.cli.display import print_budgets

        print_budgets(rows)


@budget.command(name="set")
@click.argument("dataset")
@click.option(
    "--epsilon", type=click.FloatRange(min=0, min_open=True), required=True, help="All it may ever cost."
)
@click.option(
    "--delta", type=click.FloatRange(0, 1, min_open=True, max_open=True), required=True, help="Delta."
)
@click.option("--name", help="A name for the data set; default: the one that it has.")
@click.option("--clients", is_flag=True, help="The caps of the simulated clients of a CONFIG instead.")
@_ledger_option
def set_(
    dataset: str,
    epsilon: float,
    delta: float,
    *,
    name: str | None,
    clients: bool,
    ledger_path: Path | None,
) -> None:
    """Set the budget of DATASET: its name or fingerprint, or a CONFIG that names its data.

    Clients keep budgets of their own, which the server's does not raise.
    """
    from fedpriv.ledger.home import open_ledger

    if clients:
        count = _set_caps(dataset, epsilon, delta)
        click.echo(f"{count} clients: epsilon {epsilon:g} at delta {delta:g} each, over all runs")
        return
    with open_ledger(_named(dataset, ledger_path)) as ledger:
        fingerprint, known = _find(ledger, dataset, keep=True)
        ledger.set_budget(fingerprint, name or known, epsilon, delta)
    click.echo(f"{name or known}: epsilon {epsilon:g} at delta {delta:g}, over all runs")


@budget.command()
@click.argument("source", metavar="DATASET|CONFIG|LEDGER_JSON")
@_ledger_option
@as_json
def history(source: str, ledger_path: Path | None, as_json: bool) -> None:
    """Show the whole life of a data set: every budget, every run, and what was spent after each.

    Reads the ledger for a data set's name or fingerprint or a CONFIG that names its data, and nothing but
    the file for an exported ledger (the ledger.json of a run folder).  Everything is verified first.
    """
    from fedpriv.report.dataset_life import DatasetLife

    life = DatasetLife.of(_bundle(source, ledger_path))
    if as_json:
        print_json(life.to_dict())
    else:
        from fedpriv.cli.history import print_history

        print_history(life)


@budget.command()
@click.argument("place", type=click.Path(path_type=Path))
@_ledger_option
@click.pass_context
def check(ctx: click.Context, place: Path, ledger_path: Path | None) -> None:
    """Check that the ledger still holds what clients signed: PLACE is an adapter, or a run's folder.

    Exit status 1: it does not, so an older copy of the ledger was put back, or it is another one.
    """
    from fedpriv.ledger import Checkpoint
    from fedpriv.ledger.home import home, open_ledger
    from fedpriv.report.wording import count

    path = _checkpoint_file(place)
    checkpoint = Checkpoint.from_json(path.read_bytes())
    for fault in checkpoint.faults():
        raise IntegrityError(f"{path}: {fault}", hint="Was the file changed? It proves nothing as it is.")
    known = _existing(ledger_path) or home() / "ledger.sqlite"
    head, signers = checkpoint.head, count(len(checkpoint.countersignatures), "client")
    holds, later = False, 0
    if known.exists():
        with open_ledger(known) as ledger:
            holds = ledger.holds(head)
            later = len(ledger.rows(head.dataset, head.seq)) - 1
    if holds:
        click.echo(f"the ledger holds row {head.seq}, signed by {signers}, and {later} after it")
    else:
        click.echo(
            f"the ledger {known} does not hold row {head.seq} ({head.hash.hex()[:_SHORT]}…) of data set "
            f"{head.dataset[:_SHORT]}…, signed by {signers}: an older copy was put back, or it is "
            "another ledger"
        )
        ctx.exit(1)


def _checkpoint_file(place: Path) -> Path:
    from fedpriv.ledger.countersigned import CHECKPOINT_FILE

    for path in (place / "adapter" / CHECKPOINT_FILE, place / CHECKPOINT_FILE, place):
        if path.is_file():
            return path
    raise UsageError(
        f"{str(place)!r} holds no checkpoint of a ledger",
        hint="name an adapter, or the folder of a finished run whose clients kept ledgers",
    )


def _bundle(source: str, ledger_path: Path | None) -> object:
    """The exported ledger in a file (or a run's folder), or an export of a data set that the ledger knows."""
    path = Path(source)
    if path.is_dir():
        path /= "ledger.json"
    if path.suffix == ".json":
        if ledger_path is not None:
            raise UsageError("an exported ledger is read by itself", hint="leave --ledger out")
        return _read(path)
    from fedpriv.ledger.home import home, open_ledger

    known = _existing(_named(source, ledger_path)) or home() / "ledger.sqlite"
    if not known.exists():
        raise UsageError(
            "no data set has a budget yet: there is no ledger",
            hint="name an exported ledger.json, or --ledger",
        )
    with open_ledger(known) as ledger:
        fingerprint, name = _find(ledger, source)
        if ledger.budget(fingerprint) is None:
            raise UsageError(
                f"the ledger knows nothing of {name}", hint="the first run on it gives it a budget"
            )
        return ledger.export(fingerprint)


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be read: {error.strerror}", hint="name the ledger.json of a run folder"
        ) from None
    except (ValueError, RecursionError):
        raise IntegrityError(
            f"{str(path)!r} is not an exported ledger: it is not JSON",
            hint="name the ledger.json of a run folder",
        ) from None


def _named(dataset: str, ledger_path: Path | None) -> Path | None:
    """The ledger's file that a caller means: where a CONFIG is given, the one that it is accounted in."""
    if ledger_path is not None or not dataset.endswith(".toml"):
        return ledger_path
    from fedpriv.federation.config import load
    from fedpriv.federation.home import ledger_path as accounted_in

    return accounted_in(load(Path(dataset)))


def _set_caps(config: str, epsilon: float, delta: float) -> int:
    if not config.endswith(".toml"):
        raise UsageError(
            "clients are simulated by a configuration, and none is named",
            hint="fedpriv budget set CONFIG --clients …; a real client's owner names its own --ledger",
        )
    from fedpriv.federation.client_ledgers import set_caps
    from fedpriv.federation.config import load
    from fedpriv.federation.workplace import load_data

    loaded = load(Path(config))
    return set_caps(loaded, load_data(loaded), epsilon=epsilon, delta=delta)


def _existing(path: Path | None) -> Path | None:
    """A ledger named by mistake must not come into being by being looked at."""
    if path is not None and not path.is_file():
        raise UsageError(
            f"there is no ledger {str(path)!r}", hint="name the file in budget.ledger of a configuration"
        )
    return path


def _find(ledger: Ledger, dataset: str, *, keep: bool = False) -> tuple[str, str]:
    """Fingerprint and name of a data set that is called by name, fingerprint (or a start of it) or config.

    With ``keep``, the records of a config are known again from now on, though no run is planned on them.
    """
    if dataset.endswith(".toml"):
        from fedpriv.federation.config import load
        from fedpriv.federation.workplace import load_data
        from fedpriv.ledger.records import announce

        loaded = load_data(load(Path(dataset)), ledger)
        if keep:
            announce(ledger, loaded.recognised)
        return loaded.fingerprint, loaded.name
    known = ledger.datasets()
    found = [entry for entry in known if dataset in (entry.name, entry.dataset)]
    if not found and len(dataset) >= _SHORT:
        found = [entry for entry in known if entry.dataset.startswith(dataset.lower())]
    if len(found) == 1:
        return found[0].dataset, found[0].name
    if not found and len(dataset) == _FINGERPRINT and set(dataset) <= set("0123456789abcdef"):
        return dataset, dataset[:_SHORT]
    listed = ", ".join(f"{entry.name} ({entry.dataset[:_SHORT]})" for entry in found or known[:8])
    raise UsageError(
        f"{len(found)} data sets are called {dataset!r}"
        if found
        else f"the ledger knows no data set {dataset!r}",
        hint=f"known: {listed}"
        if listed
        else "name the configuration that uses it: fedpriv budget set CONFIG …",
    )


def _row(ledger: Ledger, entry: Budget) -> dict[str, Any]:
    """One data set for the table and for programs."""
    spent = ledger.spent(entry.dataset)
    return {
        "dataset": entry.dataset,
        "name": entry.name,
        "epsilon": entry.epsilon,
        "delta": entry.delta,
        "epsilon_spent": spent.epsilon,
        "epsilon_rdp": spent.epsilon_rdp,
        "epsilon_pld": spent.epsilon_pld,
    }
