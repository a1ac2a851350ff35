"""The configuration as text: read, overridden from the command line, written, and its mistakes explained."""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from fedpriv.errors import ConfigError

__all__ = ["explain", "merge_overrides", "nearest_key", "parse_toml", "write_toml"]

_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")
_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", tuple: "a list"}


def parse_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: there is no such file, it cannot be read, or it is not TOML.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file {str(path)!r}",
            hint="`fedpriv init` writes one that runs as it is",
        ) from None
    except IsADirectoryError:
        raise ConfigError(
            f"{str(path)!r} is a folder, not a configuration file",
            hint=f"did you mean {str(path / 'fedpriv.toml')!r}?",
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{str(path)!r} is not a text file in UTF-8", hint="name a TOML file") from None
    except OSError as error:
        raise ConfigError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{str(path)!r} is not valid TOML: {error}",
            hint='text stands in double quotes, tables in brackets: `trust = "distributed"`, `[run]`',
        ) from None


def merge_overrides(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Put ``table.key=value`` settings into ``values``; a value is TOML, and a bare word is text.

    >>> values = {"run": {"rounds": 40}}
    >>> merge_overrides(values, ["run.rounds=2", "trust=local"])
    >>> values
    {'run': {'rounds': 2}, 'trust': 'local'}
    """
    for override in overrides:
        dotted, equals, text = override.partition("=")
        parts = [part.strip() for part in dotted.split(".")]
        if not equals or not all(parts):
            raise ConfigError(
                f"{override!r} is not a setting",
                hint="write --set table.key=value, as in --set run.rounds=10",
            )
        table = values
        for part in parts[:-1]:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"`{part}` in {override!r} is a key, not a table", key=dotted)
            table = inner
        table[parts[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # Dates are no value of any key, so a text that looks like one is text; a newline would add keys.
    plain = isinstance(value["value"], bool | int | float | str | list) and len(value) == 1
    return value["value"] if plain else text


def write_toml(values: Mapping[str, Any]) -> str:
    """Nested mappings of plain values as TOML, in their own order.

    >>> print(write_toml({"trust": "local", "run": {"rounds": 2}}), end="")
    trust = "local"
    <BLANKLINE>
    [run]
    rounds = 2
    """
    return "\n".join(_lines(values, ())).lstrip("\n") + "\n"


def _lines(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    if path and values:
        yield ""
        yield f"[{'.'.join(path)}]"
    for key, value in values.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {_scalar(value)}"
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(value, (*path, _key(key)))


def _key(key: str) -> str:
    return key if _BARE_KEY.match(key) else json.dumps(key)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON leaves DEL as it is, and TOML does not allow it.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return repr(value)


def explain(error: ValidationError, root: type[BaseModel]) -> ConfigError:
    """One sentence and a hint for the first mistake; an unknown key comes first, for it hides others."""
    mistakes = error.errors(include_url=False)
    first = next((item for item in mistakes if item["type"] == "extra_forbidden"), mistakes[0])
    path = _path(first["loc"], root)
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return ConfigError(f"`{key}` is not a known key", key=key, hint=_unknown_hint(path, root))
    field = _field(path, root)
    if first["type"] == "missing":
        meaning = field.description if field is not None else None
        if meaning is None:
            return ConfigError(f"the table `[{key}]` is missing", key=key, hint=_table_hint(path, root))
        return ConfigError(f"`{key}` is missing", key=key, hint=f"set it: {meaning}")
    value = first["input"]
    allowed = _allowed(field) if field is not None else first["msg"]
    return ConfigError(
        f"`{key}` is {_shown(value)}; allowed: {allowed}",
        key=key,
        hint=_value_hint(field, value),
    )


def nearest_key(path: Sequence[str], root: type[BaseModel]) -> str | None:
    """The known dotted key that is nearest to ``path``: its own name elsewhere, near it, near anywhere."""
    table = _model(path[:-1], root)
    known = [".".join((*path[:-1], name)) for name in table.model_fields] if table is not None else []
    others = [key for key in _keys(root) if key not in known]
    for candidates, cutoff in ((others, 1.0), (known, 0.6), (others, 0.6)):
        leaves = {key.rsplit(".", 1)[-1]: key for key in reversed(candidates)}
        close = difflib.get_close_matches(path[-1].lower().replace("-", "_"), leaves, n=1, cutoff=cutoff)
        if close:
            return leaves[close[0]]
    return None


def _unknown_hint(path: Sequence[str], root: type[BaseModel]) -> str:
    nearest = nearest_key(path, root)
    if nearest is not None:
        return f"did you mean `{nearest}`?"
    return _table_hint(path[:-1], root)


def _table_hint(path: Sequence[str], root: type[BaseModel]) -> str:
    table = _model(path, root)
    if table is None:
        return ""
    where = f"in [{'.'.join(path)}]" if path else "outside tables"
    return f"known keys {where}: {', '.join(table.model_fields)}"


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        table = _table(field.annotation)
        if table is not None:
            yield from _keys(table, f"{prefix}{name}.")


def _path(location: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    """The part of an error's place that names tables and keys, without list positions and union branches."""
    path: list[str] = []
    model: type[BaseModel] | None = root
    for part in location:
        if model is None or not isinstance(part, str):
            break
        path.append(part)
        model = _model(path, root)
    return path


def _field(path: Sequence[str], root: type[BaseModel]) -> FieldInfo | None:
    table = _model(path[:-1], root)
    return table.model_fields.get(path[-1]) if table is not None and path else None


def _model(path: Sequence[str], root: type[BaseModel]) -> type[BaseModel] | None:
    model = root
    for part in path:
        field = model.model_fields.get(part)
        table = _table(field.annotation) if field is not None else None
        if table is None:
            return None
        model = table
    return model


def _table(annotation: Any) -> type[BaseModel] | None:
    """The table that a key takes, or may take; None where it takes a value."""
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    tables = (option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return next(tables, None)


def _allowed(field: FieldInfo) -> str:
    """What a key takes, in words, read from its type and its bounds."""
    return _allowed_type(field.annotation, list(field.metadata), field.description or "")


def _allowed_type(annotation: Any, bounds: list[Any], meaning: str) -> str:
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        inner = next(arg for arg in get_args(annotation) if arg is not type(None))
        return _allowed_type(inner, bounds, meaning)
    if hasattr(annotation, "__metadata__"):
        extra = [item for entry in annotation.__metadata__ for item in getattr(entry, "metadata", [entry])]
        return _allowed_type(annotation.__origin__, bounds + extra, meaning)
    if origin is Literal:
        return _either([repr(option) for option in get_args(annotation)])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a table with the keys {', '.join(annotation.model_fields)}"
    if any(getattr(bound, "pattern", None) for bound in bounds):
        return meaning  # it says the pattern in words
    limits = " and ".join(text for bound in bounds if (text := _bound(bound)))
    return f"{_WORDS.get(origin or annotation, meaning)} {limits}".strip()


def _bound(bound: Any) -> str:
    match bound:
        case Gt(gt=limit):
            return f"above {_number(limit)}"
        case Ge(ge=limit):
            return f"of at least {_number(limit)}"
        case Lt(lt=limit):
            return f"below {_number(limit)}"
        case Le(le=limit):
            return f"of at most {_number(limit)}"
        case MinLen(min_length=limit):
            return "that is not empty" if limit == 1 else f"with at least {limit} in it"
    return ""


def _number(value: Any) -> str:
    return "2**63" if value == 2**63 else f"{value:,}"


def _either(options: list[str]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"


def _shown(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    if isinstance(value, bool):
        text = "true" if value else "false"
    return text if len(text) <= 60 else text[:57] + "..."


def _value_hint(field: FieldInfo | None, value: Any) -> str:
    if field is None or not field.description or _allowed(field) == field.description:
        return ""
    options = [str(option) for option in _literals(field.annotation)]
    close = difflib.get_close_matches(value.lower(), options, n=1) if isinstance(value, str) else []
    if close:
        return f"did you mean {close[0]!r}?"
    return field.description


def _literals(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(option for inner in get_args(annotation) for option in _literals(inner))
