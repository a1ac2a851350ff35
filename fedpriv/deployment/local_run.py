"""A deployed run on this machine, from the first process to the last, followed as it goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from fedpriv.deployment.app import PACKAGE
from fedpriv.deployment.bundle import CONFIG, Bundle
from fedpriv.deployment.local import LocalDeployment
from fedpriv.deployment.progress import PROGRESS, Progress
from fedpriv.errors import UsageError
from fedpriv.federation.config import Config
from fedpriv.federation.observer import RunObserver, RunResult

__all__ = ["check_deployed", "run_locally"]

_PAUSE: Final = 0.2


def run_locally(folder: Path, observer: RunObserver) -> RunResult:
    """Start a SuperLink and all nodes of ``folder``, run what it was written for, and stop everything.

    A run that was interrupted goes on.

    Args:
        folder: what `fedpriv deploy` wrote, with the records of all clients.
        observer: is told of every round.

    Raises:
        UsageError: Flower is not installed, a process ended by itself, or the run stopped: why, and the log.
    """
    bundle = Bundle.read(folder / "app" / PACKAGE)
    path = folder / "server" / PROGRESS
    path.unlink(missing_ok=True)
    progress = Progress(path, bundle.plan, observer)
    with LocalDeployment(folder) as deployment:
        deployment.submit()
        end = None
        while end is None:
            time.sleep(_PAUSE)
            end = deployment.end()
            progress.look()
    if progress.result is not None:
        return progress.result
    text, hint = progress.failure or (
        f"The run ended before it was finished: Flower says {end.status}.",
        f"{end.details} See {folder / 'logs' / 'run.log'}.".strip(),
    )
    raise UsageError(text, hint=hint)


def check_deployed(folder: Path, config: Config) -> None:
    """Insist that ``folder`` was written for ``config``, before a run in it is taken up again.

    Raises:
        UsageError: it was written for another, or holds no deployment.
    """
    bundle = Bundle.read(folder / "app" / PACKAGE)
    if bundle.config.digest() != config.digest():
        raise UsageError(
            f"{folder} was written for another configuration.",
            hint=f"See what it was in {folder / 'app' / PACKAGE / CONFIG}, or deploy into a new folder.",
        )
