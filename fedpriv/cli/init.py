"""``fedpriv init``: a configuration that runs as it is."""

from __future__ import annotations

from pathlib import Path

import click

from fedpriv.errors import UsageError

__all__ = ["init"]

_NAME = "fedpriv.toml"


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), default=".", metavar="[DIR]")
def init(directory: Path) -> None:
    """Write a commented fedpriv.toml that runs as it is.

    It fine-tunes a small model on film reviews in eight simulated silos; change its keys to use your own
    model and data.  An existing file is never overwritten.
    """
    from importlib.resources import files

    target = directory / _NAME
    text = files("fedpriv.cli").joinpath("templates", _NAME).read_text(encoding="utf-8")
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(
            f"{str(target)!r} exists, and is not overwritten", hint="name another folder, or remove the file"
        ) from None
    click.echo(f"wrote {target}")
    click.echo(f"next: fedpriv plan {target}    what it promises and costs, before anything is spent")
    click.echo(f"      fedpriv run {target}     train, account, report")
