"""The command ``fedpriv``, and how its commands end when something is wrong."""

from __future__ import annotations

import errno
from typing import Any

import click

from fedpriv.cli.account import account
from fedpriv.cli.audit import audit
from fedpriv.cli.budget import budget
from fedpriv.cli.ckks import ckks
from fedpriv.cli.deploy import deploy
from fedpriv.cli.init import init
from fedpriv.cli.join import join
from fedpriv.cli.keys import keys
from fedpriv.cli.options import INTERRUPTED
from fedpriv.cli.plan import plan
from fedpriv.cli.report import report, verify
from fedpriv.cli.run import run
from fedpriv.cli.secagg import secagg
from fedpriv.errors import FedprivError

__all__ = ["main"]

_WRONG = 2


class _Group(click.Group):
    """Turns errors into a sentence, a hint and an exit status; only defects of fedpriv leave a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FedprivError as error:
            _say(str(error), error.hint)
            ctx.exit(_WRONG)
        except KeyboardInterrupt:
            _say("interrupted", "")
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of a pipe left; click ends quietly
                raise
            where = f"{error.filename!s}: " if error.filename else ""
            _say(f"{where}{error.strerror or error}", "check that the path exists and that you may use it")
            ctx.exit(_WRONG)


def _say(message: str, hint: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"{click.style('hint:', bold=True)} {hint}", err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fedpriv", message="%(prog)s %(version)s")
def main() -> None:
    """Fine-tune one model over data that nobody may see, and prove afterwards what was revealed."""


for _command in (init, plan, run, deploy, join, report, verify, audit, account, budget, keys, secagg, ckks):
    main.add_command(_command)
