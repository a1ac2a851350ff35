"""Arguments and options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["INTERRUPTED", "as_json", "config_argument", "overrides_option", "print_json", "run_dir_argument"]

INTERRUPTED = 130
"""Exit status after control-C, as shells have it."""

_PATH = click.Path(path_type=Path)

config_argument: Callable[..., Any] = click.argument("config", type=_PATH, metavar="CONFIG")
overrides_option: Callable[..., Any] = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the configuration, as in --set privacy.epsilon=1.  May be repeated.",
)
run_dir_argument: Callable[..., Any] = click.argument("run_dir", type=_PATH, metavar="RUN_DIR")
as_json: Callable[..., Any] = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def print_json(value: Any) -> None:
    """One JSON value on standard output; what is infinite or undefined becomes ``null``."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return str(value) if isinstance(value, Path) else value
