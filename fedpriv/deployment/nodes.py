"""The nodes of a deployment, as the server knows them: which party each is, and how it is asked."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.messages import (
    Answer,
    Prepare,
    Refusal,
    Request,
    decode_answer,
    encode_request,
    encode_requests,
    is_hello,
)
from fedpriv.deployment.server_settings import ServerSettings
from fedpriv.deployment.transport import Lost, Parts, Transport
from fedpriv.errors import DecodeError, TooFewParties
from fedpriv.ledger.rows import Row

__all__ = ["Nodes", "party_name"]

_POLL_SECONDS: Final = 0.5
_NONCE_BYTES: Final = 32
_LOST: Final = "lost"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Nodes:
    """All parties that have said who they are, over a transport.

    A node that does not answer in time is not waited for again: it is asked who it is, beside everything
    else, and takes part from the round after its answer on.

    Attributes:
        transport: moves the messages.
        bundle: what all parties agreed on.
        settings: the server's patience.
        refusals: why a node takes no part, in its own words; by the network's number, as it did not prove
            which party it is.
    """

    transport: Transport
    bundle: Bundle
    settings: ServerSettings
    refusals: dict[int, Refusal] = field(default_factory=dict)
    _node_of: dict[int, int] = field(default_factory=dict)
    _silent: set[int] = field(default_factory=set)
    _asked_again: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def parties(self) -> tuple[int, ...]:
        """The parties that can be asked, ascending; 0 is the key authority."""
        with self._lock:
            return tuple(sorted(self._node_of))

    def meet(self, rows: tuple[Row, ...], *, wanted: int, least: int, begins: bool) -> None:
        """Ask every node that is new who it is, until ``wanted`` parties have said so or the time is over.

        Args:
            rows: the server's ledger, which every client compares with what it remembers.
            wanted: parties of the run, or of a round.
            least: fewer than these cannot have a sum.
            begins: whether each is to try its data, its model and its budget.

        Raises:
            TooFewParties: fewer than ``least`` take part; what the others said follows.
        """
        end = time.monotonic() + self.settings.start_timeout
        patience = self.settings.start_timeout if begins else self.settings.timeout
        while not self._all_said(wanted, least):
            late, there = time.monotonic() > end, self.transport.nodes()
            with self._lock:
                strangers = there - set(self._node_of.values()) - self._silent - self._asked_again
            if strangers and (late or len(there) >= wanted):  # together: each works while the others do
                self._ask_who(strangers, rows, patience, begins=begins)
            elif late or (len(there) >= wanted and len(self.parties) >= least):
                break  # all that are there were asked
            else:
                time.sleep(_POLL_SECONDS)
        if len(self.parties) < least:
            with self._lock:
                said = "".join(f" Node {node}: {why}" for node, why in sorted(self.refusals.items()))
            raise TooFewParties(
                f"{len(self.parties)} parties take part, and {least} are needed.{said}",
                hint="Nothing more was spent. Start the missing nodes, and the run again: it goes on.",
            )

    def look_again(self, rows: tuple[Row, ...]) -> None:
        """Ask silent nodes, and nodes that came since, who they are, and wait for nobody."""
        there = self.transport.nodes()
        with self._lock:
            unwilling = {node for node, why in self.refusals.items() if why.error != _LOST}
            strangers = there - set(self._node_of.values()) - self._asked_again - unwilling
            self._asked_again |= strangers
        if strangers:
            arguments = (strangers, rows, self.settings.start_timeout)
            threading.Thread(target=self._meet_again, args=arguments, daemon=True).start()

    def ask(
        self, requests: Mapping[int, Request], timeout: float
    ) -> Iterator[tuple[int, Answer | Refusal | Lost]]:
        """Ask parties, and give what they say as it comes; whoever is late has said `Lost`."""
        with self._lock:
            nodes = {party: self._node_of[party] for party in requests if party in self._node_of}
        waiting = {node: party for party, node in nodes.items()}
        parts = encode_requests({node: requests[party] for node, party in waiting.items()})
        for node, answer in self.transport.exchange(parts, timeout):
            party = waiting.pop(node)
            yield party, _read(answer, party)
        for node, party in waiting.items():
            self._forget(party, node)
            yield party, Lost(f"no answer within {timeout:g} seconds")

    def _all_said(self, wanted: int, least: int) -> bool:
        """Whether all said yes or no, and, where too few said yes, nobody is asked a second time just now."""
        with self._lock:
            met = len(self._node_of)
            return met + len(self.refusals) >= wanted and (met >= least or not self._asked_again)

    def _forget(self, party: int, node: int) -> None:
        with self._lock:
            self._silent.add(node)
            if self._node_of.get(party) == node:  # and has not come back on another one meanwhile
                del self._node_of[party]

    def _meet_again(self, nodes: set[int], rows: tuple[Row, ...], timeout: float) -> None:
        try:
            self._ask_who(nodes, rows, timeout, begins=False)
        finally:
            with self._lock:
                self._asked_again -= nodes

    def _ask_who(self, nodes: set[int], rows: tuple[Row, ...], timeout: float, *, begins: bool) -> None:
        """Ask nodes who they are; whoever proves to be a party of the roster can be asked from now on."""
        asked = Prepare(self.bundle.agreement.digest(), os.urandom(_NONCE_BYTES), rows, begins)
        parts = encode_request(asked)
        late = set(nodes)
        for node, given in self.transport.exchange(dict.fromkeys(nodes, parts), timeout):
            late.discard(node)
            self._enter(node, asked, given)
        with self._lock:
            self._silent |= late

    def _enter(self, node: int, asked: Prepare, given: Parts | Lost) -> None:
        answer = _read(given, None)
        key = self.bundle.roster.get(answer.party) if isinstance(answer, Answer) else None
        if isinstance(answer, Answer) and key and is_hello(key, asked, answer.signature):
            with self._lock:
                self._node_of[answer.party] = node
                self._silent.discard(node)
                self.refusals.pop(node, None)
            return
        why = str(answer) if isinstance(answer, Refusal) else "It is no party of the roster."
        if isinstance(answer, Lost):
            why = answer.reason
        _log.warning("Node %d takes no part: %s", node, why)
        with self._lock:
            self._silent.add(node)
            self.refusals[node] = answer if isinstance(answer, Refusal) else Refusal(_LOST, why, "")


def party_name(party: int) -> str:
    """What people call a party."""
    return f"Client {party}" if party else "The key authority"


def _read(given: Parts | Lost, party: int | None) -> Answer | Refusal | Lost:
    """An answer, of the party that was asked where one is named."""
    if isinstance(given, Lost):
        return given
    try:
        answer = decode_answer(given)
    except DecodeError as error:
        return Lost(str(error))
    if isinstance(answer, Answer) and party is not None and answer.party != party:
        return Lost(f"It answers as party {answer.party}, and was party {party} before.")
    return answer
