"""``fedpriv join``: a client's own adapter, from the shared one and what the client keeps."""

from __future__ import annotations

from pathlib import Path

import click

from fedpriv.cli.options import as_json, print_json

__all__ = ["join"]

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("adapter", type=_PATH)
@click.argument("kept", type=_PATH)
@click.argument("out", type=_PATH)
@as_json
def join(*, adapter: Path, kept: Path, out: Path, as_json: bool) -> None:
    """Join the shared ADAPTER with the part that a client KEPT to itself, in the new folder OUT.

    For methods whose clients keep a part of the model (fedsa-lora).  ADAPTER is the folder that the server
    hands out.  KEPT is the client's own: on a node, the folder RUN.kept under the state folder of its policy;
    of a simulation, clients/NUMBER/kept in the run's folder; or one file in it.  OUT loads like any adapter.
    It is as private as the client's records: no guarantee covers it.
    """
    from fedpriv import peft
    from fedpriv.federation.work.kept import newest_part

    part = newest_part(kept)
    digest = peft.join(adapter, part, out)
    if as_json:
        print_json({"adapter": out, "digest": digest, "round": part.round})
        return
    click.echo(f"{out}: the client's own adapter, as of its round {part.round}; keep it to the client")
