"""``fedpriv run``: the whole job."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click

from fedpriv.cli.options import INTERRUPTED, as_json, config_argument, overrides_option, print_json
from fedpriv.errors import FedprivError, UsageError

__all__ = ["run"]

_RUNS = Path("runs")


@click.command()
@config_argument
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    help="Folder of the run; default: a new one, runs/NAME or runs/NAME-2 and so on.",
)
@overrides_option
@click.option(
    "--resume", is_flag=True, help="Go on from the last finished round of RUN_DIR, or of the latest run."
)
@as_json
@click.pass_context
def run(
    ctx: click.Context,
    *,
    config: Path,
    run_dir: Path | None,
    overrides: tuple[str, ...],
    resume: bool,
    as_json: bool,
) -> None:
    """Plan, train, account and report.

    The last lines say what came out: accuracy against the base model and a majority guess, epsilon spent of
    epsilon allowed, bytes sent, dropouts, and where the adapter and the report are.  With --json the result
    is one JSON object on standard output, and progress goes to standard error.
    """
    from fedpriv.federation.config import load

    settings = load(config, overrides)
    folder = run_dir or _run_dir(settings.run.name, resume=resume)

    from fedpriv.cli.display import observer, quiet_libraries

    shown = observer(to_stderr=as_json)
    try:
        with shown:
            shown.note(f"preparing {folder}: the data, the model and the plan")
            quiet_libraries()
            from fedpriv.federation.run import run as run_federation

            result = run_federation(settings, folder, resume=resume, observer=shown)
    except KeyboardInterrupt:
        command = ["fedpriv", "run", str(config), "--run-dir", str(folder)]
        command += [part for override in overrides for part in ("--set", override)]
        if (folder / "run.json").exists():
            command.append("--resume")
        click.echo(f"{shown.kept(folder)}; go on with: {shlex.join(command)}", err=True)
        ctx.exit(INTERRUPTED)
    try:
        from fedpriv.federation.home import ledger_path
        from fedpriv.ledger.home import open_ledger
        from fedpriv.report import bundle, write

        page = write(folder)["html"]
        with open_ledger(ledger_path(settings)) as ledger:
            bundle.write(folder, ledger.key)
    except FedprivError:
        shown.summary(result, None)  # the run is finished and its result stands
        raise
    shown.summary(result, page)
    if as_json:
        print_json({**result.to_dict(), "report": str(page)})


def _run_dir(name: str, *, resume: bool) -> Path:
    """The next free ``runs/NAME[-k]``, or the latest one that is there to be resumed."""
    pattern = re.compile(re.escape(name) + r"(?:-([0-9]+))?")
    numbers = [
        int(match[1] or 1)
        for entry in (_RUNS.iterdir() if _RUNS.is_dir() else ())
        if (match := pattern.fullmatch(entry.name)) and entry.is_dir()
    ]
    if resume and not numbers:
        raise UsageError(
            f"there is no run to resume under {str(_RUNS / name)!r}",
            hint="name its folder with --run-dir, or leave --resume out",
        )
    number = max(numbers, default=0) + (0 if resume else 1)
    return _RUNS / (name if number == 1 else f"{name}-{number}")
