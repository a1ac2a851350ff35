"""``fedpriv report`` and ``fedpriv verify``: what was promised, and whether the record holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from fedpriv.cli.options import as_json, print_json, run_dir_argument
from fedpriv.errors import UsageError

__all__ = ["report", "verify"]


@click.command()
@run_dir_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "json"]),
    default="html",
    show_default=True,
    help="One self-contained page, or data for a program.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Where to write it; - is standard output.",
)
def report(run_dir: Path, kind: str, output: Path | None) -> None:
    """Write the report of the run in RUN_DIR again."""
    _check_folder(run_dir)
    from fedpriv.report import write

    path = write(run_dir, formats=(kind,))[kind]
    if output is None:
        click.echo(path)
    elif str(output) == "-":
        click.echo(path.read_text(encoding="utf-8"), nl=False)
    else:
        shutil.copyfile(path, output)
        click.echo(output)


@click.command()
@run_dir_argument
@as_json
@click.pass_context
def verify(ctx: click.Context, run_dir: Path, as_json: bool) -> None:
    """Recompute every epsilon of the run in RUN_DIR and check chain, signatures and the adapter's digest.

    Needs nothing but the folder: no network, and no trust in whoever ran it.  Exit status 1: something does
    not match, and is named.
    """
    _check_folder(run_dir)
    from fedpriv.report import verify as verify_run

    verification = verify_run(run_dir)
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
