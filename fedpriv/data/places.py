"""Where a source is: a path from the configuration's folder, or one inside an installed package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fedpriv.errors import DataError

__all__ = ["missing", "place_of"]


def place_of(source: str, base: Path | None) -> Path:
    """The path that a source names, there or not; packages are found without running their code.

    Args:
        source: a path, or ``package:module/path``.
        base: the folder that a relative path starts from; default: the working directory.

    Raises:
        DataError: the package is not installed.
    """
    if not source.startswith("package:"):
        return (base or Path()) / Path(source).expanduser()
    module, _, inner = source.removeprefix("package:").partition("/")
    top, *rest = module.split(".")  # finding a submodule would import its parent
    try:
        spec = importlib.util.find_spec(top) if top else None
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            f"{source!r} names the package {top!r}, which is not installed",
            hint="install the package into the same environment, or name a file or a folder",
        )
    return Path(next(iter(spec.submodule_search_locations))).joinpath(*rest, inner)


def missing(source: str, path: Path) -> DataError:
    """The error that says that nothing is at ``path``, and what is beside it."""
    parent = path.parent
    hint = f"The folder {str(parent)!r} does not exist; relative paths start from the config file's folder"
    if parent.is_dir():
        names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))[:8]
        hint = f"{str(parent)!r} holds: {', '.join(names)}" if names else f"{str(parent)!r} is empty"
    return DataError(f"there are no data at {source!r}", hint=hint)
