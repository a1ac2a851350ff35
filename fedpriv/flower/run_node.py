"""The client app of a deployed run: each message is the run's, and the node's policy decides on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpriv.deployment.transport import Parts
from fedpriv.errors import FedprivError
from fedpriv.flower.transport import parts_of, reply

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.clientapp import ClientApp

__all__ = ["client_app"]

_log = logging.getLogger(__name__)


def client_app(folder: Path) -> ClientApp:
    """The app that a SuperNode starts for every message.

    An error of the run is told to the server in its own words: ``error`` is the name of its class, ``text``
    and ``hint`` what it says.  Of any other, whose text may quote data, the server is told ``failed``, and
    the node's log says the rest.

    Args:
        folder: of the app's package, where what all parties agree on lies.
    """
    from flwr.clientapp import ClientApp

    app = ClientApp()

    def answer(message: Message, context: Context) -> Message:
        _log.debug("node %d is asked", context.node_id)
        parts = _answer(message, context.node_config, folder)
        _log.debug("answered")
        return reply(parts, message)

    app.train("fedpriv")(answer)
    return app


def _answer(message: Message, node_config: Mapping[str, Any], folder: Path) -> Parts:
    from fedpriv.deployment.messages import Refusal

    home = Path()
    try:
        asked = parts_of(message)
        from fedpriv.deployment.party import answer
        from fedpriv.flower.node_policy import policy_path

        policy = policy_path(node_config)
        home = policy.parent
        return answer(asked, policy=policy, bundle=folder)
    except FedprivError as error:
        _log.error("%s %s", error, error.hint)
        return Refusal.of(error, home).to_parts()
    except Exception:
        _log.exception("The message could not be answered.")
        return Refusal("failed", "", "").to_parts()
