"""The server app's side: the stages of a round, each one exchange over Flower's grid."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fedpriv import secagg
from fedpriv.errors import PeerFault, TooFewParties, UsageError
from fedpriv.flower.account import Account
from fedpriv.flower.plan import PrivateSumPlan, PrivateTotal
from fedpriv.flower.records import Reply, RoundRequest, content_digest
from fedpriv.keystore import Roster
from fedpriv.ledger import Ledger

if TYPE_CHECKING:
    from flwr.app import Message, RecordDict
    from flwr.serverapp import Grid

__all__ = ["MESSAGE_TYPE", "PrivateSum"]

MESSAGE_TYPE: Final = "train.private_sum"
"""What ``@app.train("private_sum")`` answers."""

_POLL_SECONDS: Final = 0.5

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Round:
    """What the server knows of the round that is open, beside the protocol."""

    number: int
    content: RecordDict
    context: bytes
    unknown: set[int]
    """Nodes that have not said yet which client they are."""
    opened: set[int] = field(default_factory=set)
    refusals: dict[int, str] = field(default_factory=dict)

    def refuse(self, node: int, why: str) -> None:
        if node not in self.refusals:
            self.refusals[node] = why
            _log.warning("Node %d is left out of round %d: %s", node, self.number, why)


class PrivateSum:
    """Sums of a session, round after round; make one in ``@app.main()`` and keep it for the run.

    The first round takes five exchanges and later ones three, as keys are made a round ahead.  A node that
    does not answer in time is left out of the round, and is asked for keys again in the next.

    Args:
        plan: the session's.
        roster: who takes part, as `keystore.load_roster` reads it.
        grid: Flower's.
        ledger: where ``dataset`` has a budget: a round is reserved there before any node is asked.  Without
            one, adding up what sessions on the same data cost is the caller's.
        dataset: fingerprint of all clients' data together, in hexadecimal digits.
        message_type: of the handler, where it is not registered as ``@app.train("private_sum")``.
        timeout: seconds for an exchange, and for all nodes to be there in the first round.
        training_timeout: seconds for the exchange in which the nodes train.

    Raises:
        UsageError: a roster of another number of clients, or a ledger without a data set.
        BudgetExceeded: the data set's budget does not admit the plan.
    """

    def __init__(
        self,
        plan: PrivateSumPlan,
        roster: Roster,
        grid: Grid,
        *,
        ledger: Ledger | None = None,
        dataset: str = "",
        message_type: str = MESSAGE_TYPE,
        timeout: float = 120.0,
        training_timeout: float = 3600.0,
    ) -> None:
        self._plan = plan
        self._roster = roster
        self._grid = grid
        self._message_type = message_type
        self._timeout = timeout
        self._training_timeout = training_timeout
        self._server = secagg.Server(plan.params, plan.run_id, roster.keys)
        self._clients: dict[int, int] = {}  # node -> client, of those that proved it once
        self._account = None if ledger is None else Account(ledger, dataset)
        if self._account is not None:
            self._account.commit(plan, roster)

    def run(self, number: int, content: RecordDict) -> PrivateTotal:
        """One round: every node that can be reached trains on ``content``, and their noisy sum comes back.

        Args:
            number: 1 to ``plan.rounds``, higher than that of every round before.  A round that failed stays
                spent: go on with the next number.
            content: what each node's training function is given.

        Returns:
            The sum over those that survived, and nothing else of them.

        Raises:
            TooFewParties: fewer answered than the plan needs; nothing was revealed.
            ProtocolViolation: SA-12, clients lied about a secret; nothing was revealed.
            UnsafeParameters: the plan's rounds are used up.
            BudgetExceeded: the ledger does not allow the round.
            UsageError: a round number that is not higher.
        """
        self._plan.check_round(number)
        nodes = self._nodes()
        if self._account is not None:
            self._account.reserve(self._plan, self._roster, number)
        self._clients = {node: client for node, client in self._clients.items() if node in nodes}
        unknown = nodes - self._clients.keys()
        round_ = _Round(number, content, content_digest(content), unknown)
        self._server.open_round(
            number,
            round_.context,
            invite=None if unknown else self._clients.values(),
            prepare=number < self._plan.rounds,
        )
        try:
            while not self._server.finished:
                self._exchange(round_)
                self._server.advance()
        except TooFewParties as error:
            said = [f" Node {node}: {why}" for node, why in sorted(round_.refusals.items())]
            raise TooFewParties(str(error), hint=error.hint + "".join(said)) from None
        total = self._plan.decode(self._server.result(), number)
        if self._account is not None:
            self._account.release(self._plan, number, total)
        return total

    def _nodes(self) -> set[int]:
        """The nodes that Flower lists; in the first round, once all are there or the time is over."""
        wanted = self._plan.min_survivors if self._clients else self._plan.clients
        end = time.monotonic() + self._timeout
        while len(nodes := set(self._grid.get_node_ids())) < wanted and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        if len(nodes) < self._plan.min_survivors:
            raise TooFewParties(
                f"{len(nodes)} nodes are connected and {self._plan.min_survivors} are needed.",
                hint="Nothing was asked and nothing was spent; wait for the nodes, and run the round again.",
            )
        return nodes

    def _exchange(self, round_: _Round) -> None:
        """Ask those that the stage asks, and take in what comes until the time is over."""
        from flwr.app import Message, RecordDict

        training = self._server.stage == "upload"
        timeout = self._training_timeout if training else self._timeout
        messages = []
        for node, client in self._addressed(round_).items():
            request = RoundRequest(
                round=round_.number,
                opens=node not in round_.opened,
                context=round_.context,
                message=self._server.request(client),
                content=round_.content if training else RecordDict(),
            )
            messages.append(Message(request.to_records(), node, self._message_type, ttl=timeout))
            round_.opened.add(node)
        answered = {self._take(round_, reply) for reply in self._send(messages, timeout)}
        for message in messages:
            node = message.metadata.dst_node_id
            if node not in answered:
                round_.refuse(node, "It did not answer in time.")

    def _send(self, messages: list[Message], timeout: float) -> list[Message]:
        return list(self._grid.send_and_receive(messages, timeout=timeout)) if messages else []

    def _addressed(self, round_: _Round) -> Mapping[int, int]:
        """Node -> the client whose request it is sent; a request for keys is the same whoever it is for."""
        asked = self._server.asked
        addressed = {node: client for node, client in self._clients.items() if client in asked}
        if self._server.stage == "advertise":
            addressed |= dict.fromkeys(sorted(round_.unknown), asked[0])
        return addressed

    def _take(self, round_: _Round, reply: Message) -> int | None:
        """Take in one answer; the node that gave it, or nothing where it is a refusal, or is refused."""
        node: int = reply.metadata.src_node_id
        if reply.has_error():
            round_.refuse(node, reply.error.reason or "It did not say why.")
            return None
        try:
            answer = Reply.of(reply.content)
            if self._clients.get(node, answer.client) != answer.client:
                raise UsageError(f"It answers as client {answer.client}, and was another before.")
            for message in answer.messages:
                self._server.receive(answer.client, message)
        except (PeerFault, UsageError) as fault:
            round_.refuse(node, str(fault))
            return None
        self._clients[node] = answer.client  # its signature was checked against the roster
        return node
