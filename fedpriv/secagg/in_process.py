"""A round with all parties in one process, their messages still going as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

__all__ = ["RoundClient", "RoundServer", "run_in_process"]

_Result_co = TypeVar("_Result_co", covariant=True)
_Result = TypeVar("_Result")


class RoundClient(Protocol):
    """What any aggregator's client is to the driver."""

    def handle(self, request: bytes) -> Iterator[bytes]:
        """Answer one request, in one message or more."""
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

    @property
    def asked(self) -> tuple[int, ...]:
        """Who is to be sent a request."""
        ...

    def request(self, client_id: int) -> bytes:
        """What to send to one of them."""
        ...

    def receive(self, client_id: int, message: bytes) -> None:
        """Take in one message of an answer."""
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
        server: a server with a round opened.
        clients: the clients by identifier, each with the same round opened and its vectors set; one that is
            missing is unreachable.
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
        for client_id in server.asked:
            if client_id in clients and reachable(stage, client_id):
                for message in clients[client_id].handle(server.request(client_id)):
                    server.receive(client_id, message)
        server.advance()
    return server.result()
