"""The server app of a deployed run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fedpriv.errors import UsageError
from fedpriv.flower.transport import FlowerTransport

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid, ServerApp

__all__ = ["SERVER_KEY", "server_app"]

SERVER_KEY: Final = "server"
"""The key of ``--run-config`` that holds the path of the server's own folder."""


def server_app(folder: Path) -> ServerApp:
    """The app that the SuperLink starts once a run.

    Args:
        folder: of the app's package, where what all parties agree on lies.
    """
    from flwr.serverapp import ServerApp

    app = ServerApp()

    def main(grid: Grid, context: Context) -> None:
        server = _server_folder(context.run_config)
        from fedpriv.deployment.serve import serve

        serve(folder, server, FlowerTransport(grid))

    app.main()(main)
    return app


def _server_folder(run_config: Mapping[str, Any]) -> Path:
    path = run_config.get(SERVER_KEY)
    if not isinstance(path, str) or not path:
        raise UsageError(
            "The run's configuration does not say where the server's folder is.",
            hint=f"Start the run with --run-config '{SERVER_KEY}=\"/path/to/server\"'.",
        )
    return Path(path)
