"""A party's own settings: a TOML file that has exactly the fields that it must have, each of its kind."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from fedpriv.errors import UsageError
from fedpriv.keystore.hex_digits import from_hex
from fedpriv.local_file import read_text

__all__ = ["Fields", "read_settings"]

_T = TypeVar("_T")
_WORDS: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}


class Fields:
    """The fields of one file; each is taken once, by a method that says of which kind it is.

    A method given a default takes a field that may be missing; paths count from the file's own folder.
    Every method raises `UsageError`: there is no such field, or it is of another kind.
    """

    def __init__(self, values: Mapping[str, Any], *, folder: Path, what: str) -> None:
        self._values = dict(values)
        self._folder = folder
        self._what = what
        self._taken: set[str] = set()

    def optional(self, take: Callable[[str], _T], name: str) -> _T | None:
        """The field as one of the other methods takes it; ``None`` where it is missing."""
        self._taken.add(name)
        return take(name) if name in self._values else None

    def text(self, name: str) -> str:
        """A text that is not empty."""
        value: str = self._typed(name, str)
        if not value:
            raise UsageError(f"{name} is empty.")
        return value

    def path(self, name: str) -> Path:
        """A path; ``~`` is expanded."""
        return self._folder / Path(self.text(name)).expanduser()

    def whole(self, name: str) -> int:
        """A whole number."""
        return int(self._typed(name, int))

    def number(self, name: str, default: float | None = None) -> float:
        """A number, whole or not."""
        return float(self._typed(name, float, int, default=default))

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false."""
        return bool(self._typed(name, bool, default=default))

    def key(self, name: str) -> bytes:
        """A key of 32 bytes, from 64 hexadecimal digits in lower case."""
        return from_hex(name, self.text(name))

    def digests(self, name: str) -> tuple[str, ...]:
        """A list of such digits, not empty."""
        return tuple(from_hex(name, value).hex() for value in self._texts(name))

    def word(self, name: str, among: Collection[str], default: str | None = None) -> str:
        """One of some words."""
        return _word(name, self._typed(name, str, default=default), among)

    def words(self, name: str, among: Collection[str], default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of some of them, not empty."""
        return tuple(_word(name, value, among) for value in self._texts(name, default=[*default]))

    def end(self) -> None:
        """Refuse what nobody took: it may be a misspelt field that the owner relies on."""
        for name in sorted(self._values.keys() - self._taken):
            raise UsageError(
                f"The {self._what} has an unknown field {name!r}.",
                hint=f"Its fields are {', '.join(sorted(self._taken))}.",
            )

    def _texts(self, name: str, default: list[str] | None = None) -> list[str]:
        values: list[Any] = self._typed(name, list, default=default)
        if not values or not all(type(value) is str for value in values):
            raise UsageError(f"{name} must be a list of texts, not {values!r}.")
        return values

    def _typed(self, name: str, *kinds: type, default: object = None) -> Any:
        self._taken.add(name)
        if name not in self._values and default is not None:
            return default
        if name not in self._values:
            close = difflib.get_close_matches(name, self._values.keys() - self._taken, n=1)
            raise UsageError(
                f"The {self._what} has no field {name!r}.",
                hint=f"It has {close[0]!r}; was that meant?" if close else "",
            )
        value = self._values[name]
        if type(value) not in kinds:
            raise UsageError(f"{name} must be {_WORDS[kinds[0]]}, not {value!r}.")
        return value


def read_settings(path: str | os.PathLike[str], what: str, build: Callable[[Fields], _T], *, see: str) -> _T:
    """What ``build`` makes of the fields of a file.

    Args:
        path: the file.
        what: what it is, for the error's sentence: ``"node policy"``.
        build: takes every field that such a file may have.
        see: where there is one to look at, the hint of an error that has no better one.

    Raises:
        UsageError: it cannot be read, has a field too many or too few, or a value of another kind.
    """
    path = Path(path)
    text = read_text(path, what)
    try:
        fields = Fields(tomllib.loads(text), folder=path.absolute().parent, what=what)
        built = build(fields)
        fields.end()
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML, so no {what}: {error}.", hint=see) from None
    except UsageError as error:
        raise type(error)(f"{path}: {error}", hint=error.hint or see) from None
    return built


def _word(name: str, value: str, among: Collection[str]) -> str:
    if value not in among:
        raise UsageError(f"{name} is {value!r}.", hint=f"Allowed: {', '.join(map(repr, among))}.")
    return value
