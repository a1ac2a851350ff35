"""The Flower app of a run: two lines of code, and beside them what all parties agree on."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Final

from fedpriv.deployment.agreement import Agreement
from fedpriv.deployment.bundle import AGREEMENT, CONFIG, PLAN
from fedpriv.federation.config import Config
from fedpriv.federation.planning.plan import Plan
from fedpriv.local_file import PUBLIC, create_file

__all__ = ["PACKAGE", "write_app"]

PACKAGE: Final = "fedpriv_run"
"""Folder of the app in which the files lie that all parties read."""

_ENTRY: Final = '''\
"""The {side} app of a run that `fedpriv deploy` wrote; the files beside this one say which."""

from pathlib import Path

from fedpriv.flower.run_{module} import {side}_app

app = {side}_app(Path(__file__).parent)
'''


def write_app(folder: Path, config: Config, agreement: Agreement, plan: Plan) -> None:
    """Write the app into ``folder``, which is made.

    Raises:
        UsageError: a file cannot be written.
    """
    package = folder / PACKAGE
    package.mkdir(parents=True)
    entries = {
        f"{side}_app.py": _ENTRY.format(side=side, module=module).encode()
        for side, module in (("client", "node"), ("server", "server"))
    }
    files = {
        folder / "pyproject.toml": _template("app.toml"),
        folder / "LICENSE": _template("LICENSE"),
        package / "__init__.py": b"",
        **{package / name: content for name, content in entries.items()},
        package / CONFIG: config.to_toml().encode(),
        package / AGREEMENT: agreement.to_bytes(),
        package / PLAN: (json.dumps(plan.to_dict(), indent=2, ensure_ascii=False) + "\n").encode(),
    }
    for path, content in files.items():
        create_file(path, content, what="file of the app", mode=PUBLIC)


def _template(name: str) -> bytes:
    return resources.files("fedpriv.deployment").joinpath("templates", name).read_bytes()
