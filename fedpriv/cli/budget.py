"""``fedpriv budget``: the budgets of data sets, which outlive every run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedpriv.cli.options import as_json, print_json
from fedpriv.errors import UsageError

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
    """Show or set the privacy budgets of data sets."""


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
@_ledger_option
def set_(dataset: str, epsilon: float, delta: float, name: str | None, ledger_path: Path | None) -> None:
    """Set the budget of DATASET: its name or fingerprint, or a CONFIG that names its data."""
    from fedpriv.ledger.home import open_ledger

    with open_ledger(ledger_path) as ledger:
        fingerprint, known = _find(ledger, dataset)
        ledger.set_budget(fingerprint, name or known, epsilon, delta)
    click.echo(f"{name or known}: epsilon {epsilon:g} at delta {delta:g}, over all runs")


def _existing(path: Path | None) -> Path | None:
    """A ledger named by mistake must not come into being by being looked at."""
    if path is not None and not path.is_file():
        raise UsageError(
            f"there is no ledger {str(path)!r}", hint="name the file in budget.ledger of a configuration"
        )
    return path


def _find(ledger: Ledger, dataset: str) -> tuple[str, str]:
    """Fingerprint and name of a data set that is called by name, fingerprint (or a start of it) or config."""
    if dataset.endswith(".toml"):
        from fedpriv.federation.config import load
        from fedpriv.federation.workplace import load_data

        loaded = load_data(load(Path(dataset)))
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
