"""The roster: who takes part, in which order; one file that all parties hold alike."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fedpriv.errors import UsageError
from fedpriv.keystore.fingerprint import fingerprint
from fedpriv.keystore.public_identity import PublicIdentity, decode_key, encode_key
from fedpriv.local_file import PUBLIC, create_file, read_text

__all__ = ["Roster", "load_roster", "write_roster"]

VERSION: Final = 1
LEAST_CLIENTS: Final = 3

_DIGITS: Final = 48  # two rosters with the same fingerprint, both of one's own making: 2**96 tries
_HEAD: Final = f"""\
# Who takes part: the first table is client 1, the next client 2, and so on.  All parties hold the same list.
# `fedpriv keys show` prints its fingerprint: compare it with the others by telephone or in person.
version = {VERSION}
"""


@dataclass(frozen=True, slots=True)
class Roster:
    """The public identities of clients 1..n, in that order.

    Raises:
        UsageError: fewer than three, or a name or key that occurs twice.
    """

    members: tuple[PublicIdentity, ...]

    def __post_init__(self) -> None:
        if len(self.members) < LEAST_CLIENTS:
            raise UsageError(
                f"A roster of {len(self.members)} is too small: of two, each learns the other's part.",
                hint=f"List {LEAST_CLIENTS} clients or more.",
            )
        names: dict[str, int] = {}
        keys: dict[bytes, int] = {}
        for client, member in enumerate(self.members, start=1):
            other = keys.setdefault(member.key, client)
            if other != client:
                raise UsageError(
                    f"Clients {other} and {client} of the roster have one key and would count twice.",
                    hint="List each party once, with a key of its own.",
                )
            other = names.setdefault(member.name.casefold(), client)
            if other != client:
                raise UsageError(
                    f"Clients {other} and {client} of the roster are both called {member.name!r}.",
                    hint="Give each a name of its own; upper and lower case count as one.",
                )

    @property
    def keys(self) -> dict[int, bytes]:
        """Client -> Ed25519 public key (32 bytes), ascending: what the secure sum takes as its roster."""
        return {client: member.key for client, member in enumerate(self.members, start=1)}

    @property
    def names(self) -> dict[int, str]:
        """Client -> name, ascending."""
        return {client: member.name for client, member in enumerate(self.members, start=1)}

    @property
    def fingerprint(self) -> str:
        """Of all names and keys in their order: 48 hexadecimal digits in groups of four.

        Twice as many as an identity has: who compiles a roster may try for two that agree, one for each half
        of the parties.
        """
        parts = [part for member in self.members for part in (member.name.encode("ascii"), member.key)]
        return fingerprint("fedpriv roster v1", *parts, digits=_DIGITS)

    def client_of(self, key: bytes) -> int:
        """Which client holds a public key.

        Raises:
            UsageError: none does.
        """
        for client, member in enumerate(self.members, start=1):
            if member.key == key:
                return client
        raise UsageError(
            "The roster does not list this identity.",
            hint="Check that it is the roster of this run, made from this identity's .pub file.",
        )


def load_roster(path: str | os.PathLike[str]) -> Roster:
    """Read a roster.

    Raises:
        UsageError: it cannot be read, is of another version, has a field too many or too few, or does not
            make a `Roster`.
    """
    path = Path(path)
    text = read_text(path, "roster")
    try:
        return _roster(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{path} is not valid TOML, so no roster: {error}.", hint="Take the file that the others have."
        ) from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}", hint=error.hint) from None


def write_roster(path: str | os.PathLike[str], publics: Sequence[PublicIdentity]) -> Roster:
    """Write the roster of ``publics``, client 1 first, to a new file.

    Raises:
        UsageError: they do not make a `Roster`, or the file exists or cannot be written.
    """
    roster = Roster(tuple(publics))
    # Names and base64 hold nothing that TOML would want escaped.
    tables = [f'\n[[client]]\nname = "{m.name}"\nkey = "{encode_key(m.key)}"\n' for m in roster.members]
    create_file(Path(path), (_HEAD + "".join(tables)).encode("ascii"), what="roster", mode=PUBLIC)
    return roster


def _roster(values: Mapping[str, Any]) -> Roster:
    version = values.get("version")
    if type(version) is not int:
        raise UsageError("The roster does not say its version.", hint=f"Begin it with `version = {VERSION}`.")
    if version != VERSION:
        raise UsageError(
            f"The roster is of version {version}, and this fedpriv reads version {VERSION}.",
            hint="Use the fedpriv that wrote it.",
        )
    _check_fields(values, {"version", "client"}, "The roster")
    clients = values["client"]
    if not isinstance(clients, list) or not all(isinstance(client, dict) for client in clients):
        raise UsageError("The roster's clients are no tables.", hint="Write each as a table `[[client]]`.")
    return Roster(tuple(_member(number, client) for number, client in enumerate(clients, start=1)))


def _member(number: int, values: Mapping[str, Any]) -> PublicIdentity:
    _check_fields(values, {"name", "key"}, f"Client {number} of the roster")
    if not all(isinstance(value, str) for value in values.values()):
        raise UsageError(
            f"Client {number} of the roster has a name or key that is no text.", hint="Put it in quotes."
        )
    try:
        return PublicIdentity(values["name"], decode_key(values["key"]))
    except UsageError as error:
        raise UsageError(f"Client {number} of the roster: {error}", hint=error.hint) from None


def _check_fields(values: Mapping[str, Any], known: set[str], what: str) -> None:
    """Refuse a field too many or too few: what one party reads, all must."""
    listed = ", ".join(sorted(known))
    for field in sorted(values.keys() ^ known):
        fault = "an unknown field" if field in values else "no field"
        raise UsageError(f"{what} has {fault} {field!r}.", hint=f"Its fields are {listed}.")
