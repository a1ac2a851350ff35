"""``fedpriv report`` and ``fedpriv verify``: what was promised, and whether the record holds."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import click

from fedpriv.cli.options import as_json, print_json
from fedpriv.errors import UsageError

__all__ = ["report", "say_if_stale", "verify"]


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path), metavar="RUN_DIR", required=False)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "json", "pdf", "yaml", "csv", "bundle"]),
    help="One page (html, the default), the same on paper (pdf), data for a program (json), a draft for the "
    "OpenDP deployments registry (yaml), the rows of the ledger (csv), all evidence in one signed "
    "file (bundle).",
)
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="RUN_DIR RUN_DIR",
    help="What differs between two runs, and what they cost together; with --format html or json.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Where to write it; - is standard output.",
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    help="For a bundle: the ledger of the run, whose key signs; default: the one under FEDPRIV_HOME.",
)
def report(
    run_dir: Path | None,
    kind: str | None,
    compare: tuple[Path, Path] | None,
    output: Path | None,
    ledger: Path | None,
) -> None:
    """Write the report of the run in RUN_DIR again, or compare two runs."""
    if compare is not None:
        if run_dir is not None:
            raise UsageError("--compare names both runs itself", hint="leave the other RUN_DIR out")
        _compare(compare, kind, output)
        return
    if run_dir is None:
        raise UsageError("no run was named", hint="fedpriv report RUN_DIR, or --compare RUN_DIR RUN_DIR")
    _check_folder(run_dir)
    from fedpriv.report import write

    kind = kind or "html"
    path = _bundle(run_dir, ledger) if kind == "bundle" else write(run_dir, formats=(kind,))[kind]
    say_if_stale(run_dir)
    if output is None:
        click.echo(path)
    elif str(output) == "-":
        click.echo(path.read_bytes(), nl=False)
    else:
        shutil.copyfile(path, output)
        click.echo(output)


def say_if_stale(run_dir: Path) -> None:
    """Say that the run's bundle holds an earlier state of its files, where it does."""
    from fedpriv.report import bundle

    if bundle.is_stale(run_dir):
        click.echo(
            f"{bundle.NAME} holds these files as they were before; "
            f"`fedpriv report {shlex.quote(str(run_dir))} --format bundle` makes it again",
            err=True,
        )


def _compare(folders: tuple[Path, Path], kind: str | None, output: Path | None) -> None:
    """Print a comparison as a table, or write it as a page or as JSON; the runs' folders stay as they are."""
    if kind not in (None, "html", "json"):
        raise UsageError(
            f"a comparison has no {kind} form", hint="choose html or json, or leave --format out"
        )
    if kind is None and output is not None:
        raise UsageError("the table is for the terminal", hint="add --format html or --format json")
    for folder in folders:
        _check_folder(folder)
    from fedpriv.report import compare_runs

    comparison = compare_runs(*folders)
    if kind is None:
        from fedpriv.cli.comparison import print_comparison

        print_comparison(comparison)
        return
    if kind == "html":
        from fedpriv.report.forms.two_runs_page import render_comparison

        text = render_comparison(comparison)
    else:
        text = json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if output is None or str(output) == "-":
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(output)


def _bundle(run_dir: Path, ledger: Path | None) -> Path:
    """Sign with the key of the run's ledger, which must be here: a new one would be another key."""
    from fedpriv.ledger.home import home, open_ledger
    from fedpriv.report import bundle

    place = ledger or home() / "ledger.sqlite"
    if not place.is_file():
        raise UsageError(
            f"there is no ledger {str(place)!r}, whose key signs a bundle",
            hint="name the ledger of the run with --ledger, or set FEDPRIV_HOME",
        )
    with open_ledger(place) as opened:
        return bundle.write(run_dir, opened.key)


@click.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN_DIR|BUNDLE")
@click.option("--signer", metavar="HEX", help="The ledger's public key, as its owner says it.")
@click.option("--head", metavar="HEX", help="The hash of a row, as a client or an earlier report knows it.")
@click.option("--adapter", type=click.Path(path_type=Path), metavar="DIR", help="The adapter in use.")
@as_json
@click.pass_context
def verify(
    ctx: click.Context,
    *,
    source: Path,
    signer: str | None,
    head: str | None,
    adapter: Path | None,
    as_json: bool,
) -> None:
    """Recompute every epsilon of a run and check chain, signatures and the adapter's digest.

    Needs nothing but the folder RUN_DIR, or a BUNDLE (evidence.dsse.json) alone: no network, and no trust in
    whoever ran it.  What is known from elsewhere is held against it.  Exit status 1: something does not
    match, and is named.
    """
    if not source.is_file():
        _check_folder(source)
    from fedpriv.report import verify as verify_run

    verification = verify_run(source, signer=signer, head=head, adapter=adapter)
    if as_json:
        checks = [check.to_dict() for check in verification.checks]
        print_json({"ok": verification.ok, "finished": verification.finished, "checks": checks})
    else:
        for check in verification.checks:
            click.echo(f"{check.status:<6}  {check}")
        wrong = len(verification.failures)
        click.echo("everything matches" if verification.ok else f"{wrong} of the checks above failed")
    if not verification.ok:
        ctx.exit(1)


def _check_folder(run_dir: Path) -> None:
    if not run_dir.is_dir():
        raise UsageError(
            f"there is no run folder {str(run_dir)!r}", hint="name the folder that `fedpriv run` printed"
        )
