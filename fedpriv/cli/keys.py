"""``fedpriv keys``: who a party is to the others, and the list of all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedpriv.cli.options import as_json, print_json
from fedpriv.errors import UsageError

if TYPE_CHECKING:
    from fedpriv.keystore import PublicIdentity, Roster

__all__ = ["keys"]

_PATH = click.Path(path_type=Path)
_COMPARE = (
    "All parties must compare this fingerprint outside of this network, by telephone or in person: whoever "
    "replaces a key on its way takes that client's place."
)

_Shown = tuple[dict[str, Any], list[tuple[str, str]]]

_passphrase_file: Callable[..., Any] = click.option(
    "--passphrase-file", type=_PATH, help="Read the passphrase from a file of mode 0600."
)


@click.group()
def keys() -> None:
    """Make and compare the identities of the parties."""


@keys.command()
@click.argument("file", type=_PATH)
@click.option("--name", help="What the others call it, one word; default: FILE without its ending.")
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase that protects the private key.")
@_passphrase_file
@as_json
def new(file: Path, name: str | None, ask: bool, passphrase_file: Path | None, as_json: bool) -> None:
    """Make an identity: the private key in FILE, the public one in FILE.pub.

    The private key stays on this machine, in a file that only this user may read.  FILE.pub goes to whoever
    compiles the roster.  An existing file is never overwritten.
    """
    from fedpriv.keystore import load_public, new_identity, public_path

    key = new_identity(file, name=name, passphrase=_passphrase(ask, passphrase_file, confirm=True))
    beside = public_path(file)
    public = load_public(beside)
    if as_json:
        facts, _ = _identity(file, "private", key.public, public)
        print_json({**facts, "public_file": beside})
        return
    _print(
        [
            ("private key", f"{file}, which stays on this machine"),
            ("public key", f"{beside}, for the roster"),
            ("name", public.name),
            ("fingerprint", public.fingerprint),
        ]
    )


@keys.command()
@click.argument("files", type=_PATH, nargs=-1, required=True, metavar="FILE...")
@click.option("--passphrase", "ask", is_flag=True, help="Ask for the passphrase of a private key.")
@_passphrase_file
@as_json
def show(files: tuple[Path, ...], ask: bool, passphrase_file: Path | None, as_json: bool) -> None:
    """Show name and fingerprint of private keys, .pub files and rosters; never the private half."""
    passphrase = _passphrase(ask, passphrase_file, confirm=False)
    shown = [_show(file, passphrase) for file in files]
    if as_json:
        print_json({"keys": [facts for facts, _ in shown]})
    else:
        _print([line for _, lines in shown for line in lines])


@keys.command()
@click.argument("out", type=_PATH)
@click.argument("publics", type=_PATH, nargs=-1, required=True, metavar="PUB PUB PUB...")
@as_json
def roster(out: Path, publics: tuple[Path, ...], as_json: bool) -> None:
    """Write the roster OUT from .pub files: the first is client 1, the next client 2, and so on.

    All parties use the same roster, and must compare its fingerprint outside of this network.
    """
    from fedpriv.keystore import load_public, write_roster

    written = write_roster(out, [load_public(path) for path in publics])
    facts, lines = _roster(out, written)
    if as_json:
        print_json(facts)
        return
    _print(lines)
    click.echo(_COMPARE)


def _show(file: Path, passphrase: bytes | None) -> _Shown:
    """A file of any of the three kinds, for programs and for people."""
    from fedpriv.keystore import LABEL, identity_of, load_identity, load_public, load_roster

    try:
        with file.open("rb") as opened:
            start = opened.readline(100)
    except FileNotFoundError:
        raise UsageError(f"there is no file {str(file)!r}", hint="`fedpriv keys new` makes one") from None
    if b"PRIVATE KEY-----" in start:
        key = load_identity(file, passphrase if b"ENCRYPTED" in start else None)
        return _identity(file, "private", key.public, identity_of(file, key))
    if start.startswith(LABEL.encode()):
        public = load_public(file)
        return _identity(file, "public", public.key, public)
    return _roster(file, load_roster(file))


def _identity(file: Path, kind: str, key: bytes, public: PublicIdentity | None) -> _Shown:
    from fedpriv.keystore import encode_key, key_fingerprint

    name, fingerprint = public.name if public else None, key_fingerprint(key)
    facts = {
        "file": file,
        "kind": kind,
        "name": name,
        "fingerprint": fingerprint,
        "public_key": encode_key(key),
    }
    of = f"of {name}" if name else f"without {file.name}.pub beside it"
    return facts, [(str(file), f"{kind} key {of}, fingerprint {fingerprint}")]


def _roster(file: Path, roster: Roster) -> _Shown:
    from fedpriv.keystore import encode_key

    clients = [
        {
            "client": client,
            "name": member.name,
            "fingerprint": member.fingerprint,
            "public_key": encode_key(member.key),
        }
        for client, member in enumerate(roster.members, start=1)
    ]
    facts = {"file": file, "kind": "roster", "fingerprint": roster.fingerprint, "clients": clients}
    members = [
        (f"  client {client}", f"{member.name}, fingerprint {member.fingerprint}")
        for client, member in enumerate(roster.members, start=1)
    ]
    whole = (str(file), f"roster of {len(members)} clients, fingerprint {roster.fingerprint}")
    return facts, [whole, *members]


def _passphrase(ask: bool, file: Path | None, *, confirm: bool) -> bytes | None:
    """The passphrase that was asked for or stands in a file; on standard error, to keep the output clean."""
    if ask and file is not None:
        raise UsageError(
            "--passphrase and --passphrase-file exclude each other", hint="give the file for scripts"
        )
    if file is not None:
        from fedpriv.keystore import read_passphrase

        return read_passphrase(file)
    if not ask:
        return None
    if not sys.stdin.isatty():
        raise UsageError("--passphrase asks on a terminal, and there is none", hint="use --passphrase-file")
    typed: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return typed.encode("utf-8")


def _print(lines: list[tuple[str, str]]) -> None:
    from fedpriv.cli.display import print_pairs

    print_pairs(lines)
