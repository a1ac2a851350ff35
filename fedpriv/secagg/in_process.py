"""A round with all parties in one process, their messages still going as bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

__all__ = ["RoundClient", "RoundServer", "run_in_process"]

_Result_co = TypeVar("_Result_co", covariant=True)
_Result = TypeVar("_Result")


class RoundClient(Protocol):
    """What any aggregator's client is to the driver."""

    def handle(self, request: bytes) -> bytes:
        """Answer one request."""
        ...


class RoundServer(Protocol[_Result_co]):
    """What any aggregator's server is to the driver."""

    @property
    def stage(self) -> str:
        """The name of the stage that is open."""
        ...

    @property
    def finished(self) -> bool:
        """Whether there is a result."""
        ...

    def requests(self) -> dict[int, bytes]:
        """What to send to whom."""
        ...

    def receive(self, client_id: int, reply: bytes) -> None:
        """Take in a reply."""
        ...

    def advance(self) -> None:
        """Close the stage."""
        ...

    def result(self) -> _Result_co:
        """What the round gives."""
        ...


def run_in_process(
    server: RoundServer[_Result],
    clients: Mapping[int, RoundClient],
    reachable: Callable[[str, int], bool] = lambda stage, client: True,
) -> _Result:
    """Run one round to its end.

    Args:
        server: a fresh server.
        clients: the clients by identifier, each with its vector set; one that is missing is unreachable.
        reachable: ``reachable(stage, client_id)`` is asked before each request; where it is false, the
            request is not delivered, which is how a test or a simulation lets a client vanish.

    Returns:
        What ``server.result()`` gives.

    Raises:
        TooFewParties: a stage closed with too few answers.
        PeerFault: a client refused a request, or the server a reply; passed on as it is.
    """
    while not server.finished:
        stage = server.stage
        for client_id, request in server.requests().items():
            if client_id in clients and reachable(stage, client_id):
                server.receive(client_id, clients[client_id].handle(request))
        server.advance()
    return server.result()
