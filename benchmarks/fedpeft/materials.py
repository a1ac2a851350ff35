"""What the runs read: models, records and a cache, under names of their own in a run's folder.

So a configuration is the same on every machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))

import corpora
import models

_FASHION: Final = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package has it


def put_materials(data: str, folder: Path, cache: Path) -> None:
    """Put what a data set needs into ``folder``; ``cache`` keeps hidden states from run to run."""
    cache.mkdir(parents=True, exist_ok=True)
    (folder / "prefixes").symlink_to(cache.resolve())
    for name, put in _NEEDED.get(data, {}).items():
        put(folder / name)


def _roles(path: Path) -> None:
    rows = zip(*corpora.roles(), strict=True)
    path.write_text("".join(json.dumps({"text": text, "role": role}) + "\n" for text, role in rows))


def _fashion(path: Path) -> None:
    if not _FASHION.is_dir():
        raise SystemExit("Fashion-MNIST is not there: apt-get install dataset-fashion-mnist")
    path.symlink_to(_FASHION)


_NEEDED: Final[dict[str, dict[str, Callable[[Path], None]]]] = {
    "clothes": {
        "dinov2": lambda path: path.symlink_to(models.dinov2()),
        "fashion-mnist": _fashion,
    },
    "play": {
        "smollm2": lambda path: path.symlink_to(models.smollm2()),
        "roles.jsonl": _roles,
    },
}
