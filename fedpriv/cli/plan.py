"""``fedpriv plan``: what a configuration promises and costs, before anything is spent."""

from __future__ import annotations

from pathlib import Path

import click

from fedpriv.cli.options import as_json, config_argument, overrides_option, print_json
from fedpriv.errors import BudgetExceeded

__all__ = ["plan"]


@click.command()
@config_argument
@overrides_option
@as_json
@click.pass_context
def plan(ctx: click.Context, config: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say what CONFIG promises, against whom, and what it costs.  Nothing is spent.

    Exit status 1: the plan is unsafe or over budget.  Exit status 2: the configuration or the data are wrong.
    """
    from fedpriv.federation.config import load

    settings = load(config, overrides)

    from fedpriv.cli.display import print_pairs, quiet_libraries
    from fedpriv.cli.tables import print_frontier

    quiet_libraries()
    from fedpriv.federation.planning.absences import Absences
    from fedpriv.federation.planning.allowance import check_allowance
    from fedpriv.federation.planning.make import make_plan
    from fedpriv.federation.planning.simulated import simulated_lines
    from fedpriv.federation.planning.words import dataset_lines
    from fedpriv.federation.workplace import prepare

    work = prepare(settings)
    made = make_plan(settings, work, measure=True)
    absences = Absences(settings, made)
    problems = list(made.problems)
    try:
        check_allowance(settings, made)
    except BudgetExceeded as error:
        problems.append(f"{error} {error.hint}")
    if as_json:
        print_json(
            {
                **made.to_dict(),
                "kept_by_clients": work.kept_by_clients,
                "rounds_expected_lost": absences.lost_rounds(),
                "data_set": work.dataset.recognised.to_dict(),
                "frontier": [point.to_dict() for point in made.frontier()],
                "problems": problems,
            }
        )
    else:
        stays = work.kept_by_clients
        kept = [] if stays is None else [("not sent", f"{stays:,} parameters stay with each client")]
        simulated = simulated_lines(work.dataset, absences)
        print_pairs([*made.lines(), *kept, *simulated, *dataset_lines(work.dataset)])
        print_frontier(made)
        for problem in problems:
            click.echo(f"problem: {problem}", err=True)
    if problems:
        ctx.exit(1)
