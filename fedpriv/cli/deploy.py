"""``fedpriv deploy``: the files of a run on a network."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedpriv.cli.options import INTERRUPTED, as_json, config_argument, overrides_option, print_json
from fedpriv.errors import UsageError

if TYPE_CHECKING:
    from fedpriv.deployment.files import Deployed
    from fedpriv.deployment.parties import Parties

__all__ = ["deploy"]

_PATH = click.Path(path_type=Path)


@click.command()
@config_argument
@click.argument("folder", type=_PATH, metavar="DIR")
@overrides_option
@click.option("--roster", type=_PATH, help="The clients, who have keys and records of their own.")
@click.option(
    "--records",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --roster: the public number of training records, over all clients.",
)
@click.option(
    "--authority", type=_PATH, metavar="PUB", help="With --roster: the public key of the key authority."
)
@click.option(
    "--local",
    type=click.IntRange(min=3),
    metavar="N",
    help="Run it on this machine, with N clients: a SuperLink and their SuperNodes, over TLS on loopback.",
)
@click.option("--resume", is_flag=True, help="With --local: go on with the run that DIR holds.")
@as_json
@click.pass_context
def deploy(
    ctx: click.Context,
    *,
    config: Path,
    folder: Path,
    overrides: tuple[str, ...],
    roster: Path | None,
    records: int | None,
    authority: Path | None,
    local: int | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Write all that a run of CONFIG needs on a network into the new folder DIR: a Flower app, the server's
    folder, one for each node, and a README with the exact commands.

    Without --roster the configuration's data are split as `fedpriv run` splits them, and keys are made for
    everybody: a deployment to try out.  With it nobody's records are read, and each node gets a policy for
    its owner to complete.

    With --local everything is then started here, the run is followed, and all that was started is stopped:
    what `fedpriv run` shows, by processes that talk over a network.
    """
    from fedpriv.federation.config import load

    parties = _parties(roster, records, authority)
    if local is not None:
        if parties is not None:
            raise UsageError("--local makes keys for everybody", hint="leave --roster out, or --local")
        _run_here(ctx, config, folder, overrides, clients=local, resume=resume, as_json=as_json)
        return
    if resume:
        raise UsageError("--resume belongs to --local", hint="`flwr run` of DIR/README.md goes on by itself")
    settings = load(config, overrides)

    from fedpriv.cli.display import print_pairs, quiet_libraries
    from fedpriv.deployment.files import write_deployment

    quiet_libraries()
    written = write_deployment(settings, folder, parties)
    if as_json:
        print_json(_facts(written))
        return
    print_pairs(_lines(written, folder))


def _run_here(
    ctx: click.Context,
    config: Path,
    folder: Path,
    overrides: tuple[str, ...],
    *,
    clients: int,
    resume: bool,
    as_json: bool,
) -> None:
    """Write the deployment, or take it up again, and run it on this machine."""
    from fedpriv.cli.display import observer, quiet_libraries
    from fedpriv.deployment.local import flower_commands
    from fedpriv.federation.config import load

    settings = load(config, (*overrides, f"partition.clients={clients}"))
    flower_commands()  # before anything is written
    shown = observer(to_stderr=as_json)
    quiet_libraries()
    try:
        with shown:
            from fedpriv.deployment.local_run import check_deployed, run_locally

            if resume:
                check_deployed(folder, settings)
            else:
                from fedpriv.deployment.files import write_deployment

                shown.note(f"preparing {folder}: the data, the model and the plan")
                write_deployment(settings, folder)
            shown.note(f"starting a SuperLink and the nodes on loopback; their logs are in {folder / 'logs'}")
            result = run_locally(folder, shown)
    except KeyboardInterrupt:
        again = ["fedpriv", "deploy", str(config), str(folder)]
        again += [part for override in overrides for part in ("--set", override)]
        again += ["--local", str(clients), "--resume"]
        click.echo(f"{shown.kept(folder)}; go on with: {shlex.join(again)}", err=True)
        ctx.exit(INTERRUPTED)
    page = result.run_dir / "report.html"
    shown.summary(result, page)
    if as_json:
        print_json({**result.to_dict(), "report": str(page)})


def _parties(roster: Path | None, records: int | None, authority: Path | None) -> Parties | None:
    """The parties that have keys of their own, where a roster was given."""
    if roster is None:
        for name, value in (("--records", records), ("--authority", authority)):
            if value is not None:
                raise UsageError(f"{name} belongs to --roster", hint="give the roster of the parties, too")
        return None
    if records is None:
        raise UsageError(
            "--roster needs --records: nobody can count records that are with the clients",
            hint="agree on a public number of training records, over all clients",
        )
    from fedpriv.deployment.parties import Parties
    from fedpriv.keystore import load_public, load_roster

    return Parties(load_roster(roster), records, None if authority is None else load_public(authority))


def _facts(written: Deployed) -> dict[str, object]:
    agreement = written.agreement
    return {
        "folder": written.folder,
        "made": written.made,
        "nodes": list(written.nodes),
        "roster": written.fingerprint,
        "server_key": agreement.server.hex(),
        "authority_key": None if agreement.authority is None else agreement.authority.hex(),
        "agreement": agreement.digest().hex(),
        "model": agreement.model,
        "records": agreement.records,
        "dimension": agreement.dimension,
    }


def _lines(written: Deployed, folder: Path) -> list[tuple[str, str]]:
    agreement, clients = written.agreement, len(written.agreement.roster)
    what = "policy, identity and records" if written.made else "policy, to complete with identity and records"
    lines = [
        ("app", f"{folder / 'app'}, for whoever starts the run; it holds nothing secret"),
        ("server", f"{folder / 'server'}, for whoever runs the SuperLink: settings, held-out data, ledger"),
        ("nodes", f"{folder / 'nodes'}/1 to {clients}, each for its client alone: {what}"),
    ]
    if agreement.authority is not None:
        lines.append(("authority", f"{folder / 'nodes' / 'authority'}, for the key authority alone"))
    if written.made:
        lines.append(("tls", f"{folder / 'tls'}, for this machine only"))
    lines += [
        ("roster", f"{clients} clients, fingerprint {written.fingerprint}"),
        ("server key", agreement.server.hex()),
        ("compare", "roster and keys with all parties, by telephone or in person"),
        ("next", f"the commands in {shlex.quote(str(folder / 'README.md'))}"),
    ]
    return lines
