"""A run's messages over Flower: the server's side over its grid, and a node's side of one message."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from fedpriv.deployment.transport import Lost, Parts
from fedpriv.errors import DecodeError
from fedpriv.flower.records import PARTS, RECORD, bytes_of, to_arrays

if TYPE_CHECKING:
    from flwr.app import Message, RecordDict
    from flwr.serverapp import Grid

__all__ = ["MESSAGE_TYPE", "FlowerTransport", "parts_of", "reply"]

MESSAGE_TYPE: Final = "train.fedpriv"
"""What ``@app.train("fedpriv")`` answers."""

_KINDS: Final = (int, bool, bytes, str)
_POLLS_A_SECOND: Final = 20
"""Of all nodes together; a poll costs the SuperLink some milliseconds."""
_LEAST_PAUSE: Final = 0.3
"""Seconds.  A poll that meets an answer while it is being sent costs a second more, so not all the time."""
_TTL_SLACK: Final = 10.0
"""Seconds for which Flower keeps a message longer than we wait for it: it must know what we ask for."""

_log = logging.getLogger(__name__)


def parts_of(message: Message) -> Parts:
    """Read what `reply`, or the server's side, put into a message.

    Raises:
        DecodeError: it is something else.
    """
    return _from_records(message.content)


def reply(parts: Parts, message: Message) -> Message:
    """The answer to a message."""
    from flwr.app import Message

    return Message(_to_records(parts), reply_to=message)


class FlowerTransport:
    """`deployment.Transport` over the grid that Flower gives a server app.

    Flower's own ``send_and_receive`` looks for answers every three seconds, and gives none before it has all.
    Here each node's answer is looked for, and fetched, by a thread of its own: one that is slow to send, or
    dies while it sends, holds up no other node, and the timeout holds.

    Args:
        grid: Flower's.
        message_type: of the nodes' handler.
    """

    def __init__(self, grid: Grid, message_type: str = MESSAGE_TYPE) -> None:
        self._grid = grid
        self._message_type = message_type

    def nodes(self) -> set[int]:
        """The nodes that Flower lists: one that died may be among them for a minute."""
        return set(self._grid.get_node_ids())

    def exchange(self, requests: Mapping[int, Parts], timeout: float) -> Iterator[tuple[int, Parts | Lost]]:
        """Send each node its request, and give the answers in the order in which they come.

        A request that arrives some seconds after the timeout is still delivered, and its answer thrown away.
        """
        from flwr.app import Message

        _log.debug("%d nodes are asked", len(requests))
        end = time.monotonic() + timeout
        ttl = timeout + _TTL_SLACK
        messages = [
            Message(_to_records(parts), node, self._message_type, ttl=ttl) for node, parts in requests.items()
        ]
        taken = dict(zip(requests, self._grid.push_messages(messages), strict=True)) if messages else {}
        del messages
        answers = _Answers(self._grid, end, pause=max(_LEAST_PAUSE, len(taken) / _POLLS_A_SECOND))
        try:
            for node, message_id in taken.items():
                if message_id:
                    answers.wait_for(node, message_id)
                else:
                    yield node, Lost("Flower did not take a message for it.")
            yield from answers
        finally:
            answers.given_up.set()


class _Answers:
    """The answers of one exchange, each awaited by a thread."""

    def __init__(self, grid: Grid, end: float, pause: float) -> None:
        self.given_up = threading.Event()
        self._grid = grid
        self._end = end
        self._pause = pause
        self._waiting = 0
        self._came: queue.SimpleQueue[tuple[int, Message | Exception]] = queue.SimpleQueue()

    def wait_for(self, node: int, message_id: str) -> None:
        self._waiting += 1
        name = f"answer of node {node}"
        threading.Thread(target=self._wait, args=(node, message_id), name=name, daemon=True).start()

    def __iter__(self) -> Iterator[tuple[int, Parts | Lost]]:
        for _ in range(self._waiting):
            try:
                node, answer = self._came.get(timeout=max(0.0, self._end - time.monotonic()))
            except queue.Empty:
                return
            if isinstance(answer, Exception):
                raise answer
            _log.debug("node %d answered", node)
            yield node, _read(answer)

    def _wait(self, node: int, message_id: str) -> None:
        try:
            while not self.given_up.wait(self._pause):
                for answer in self._grid.pull_messages([message_id]):
                    self._came.put((node, answer))
                    return
        except Exception as error:  # whoever asked is told in its own thread
            self._came.put((node, error))


def _read(answer: Message) -> Parts | Lost:
    if answer.has_error():
        return Lost(answer.error.reason or "It did not say why.")
    try:
        return parts_of(answer)
    except DecodeError as error:
        return Lost(str(error))


def _to_records(parts: Parts) -> RecordDict:
    from flwr.app import ConfigRecord, RecordDict

    records = RecordDict({RECORD: ConfigRecord(dict(parts.values))})
    if parts.blobs:
        records[PARTS] = to_arrays(parts.blobs)
    return records


def _from_records(records: RecordDict) -> Parts:
    from flwr.app import ArrayRecord, ConfigRecord

    values = records.get(RECORD)
    if not isinstance(values, ConfigRecord) or any(type(value) not in _KINDS for value in values.values()):
        raise DecodeError("The message is none of a run.")
    blobs: tuple[bytes, ...] = ()
    if PARTS in records:
        arrays = records[PARTS]
        if not isinstance(arrays, ArrayRecord) or not arrays:
            raise DecodeError("The message has a record of parts that holds none.")
        blobs = bytes_of(arrays)
    if set(records) - {RECORD, PARTS}:
        raise DecodeError("The message holds something beside a run's own records.")
    return Parts(dict(values), blobs)
