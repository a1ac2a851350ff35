"""A node's side: a training function of one's own, and every message of the protocol around it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv import secagg
from fedpriv.errors import ProtocolViolation, UsageError
from fedpriv.flower.node_policy import load_policy, policy_path
from fedpriv.flower.plan import PrivateSumPlan
from fedpriv.flower.records import Reply, RoundRequest, content_digest
from fedpriv.keystore import Roster, StateFile
from fedpriv.secagg.keys import Group
from fedpriv.secagg.messages import UploadRequest, decode_request

if TYPE_CHECKING:
    from flwr.app import Context, Message, RecordDict

__all__ = ["Train", "privately"]

Train = Callable[["RecordDict", "Context"], Mapping[str, NDArray[np.floating[Any]]]]
"""From what the server sent and the node's context to vectors by name, as the plan names them."""

_log = logging.getLogger(__name__)


def privately(plan: PrivateSumPlan) -> Callable[[Train], Callable[[Message, Context], Message]]:
    """Make a training function one that Flower can call, and of which the server learns noisy sums only.

    The function is called once a round, when the vectors are asked for; the other messages are answered
    without it.  ``--node-config 'fedpriv-policy="PATH"'`` says where the node's policy lies.  What the node
    remembers between messages is sealed in the policy's state file, and on the disk before an answer leaves.

    An error of the protocol is told to the server in its own words; of an error of the training function,
    which may quote data, the server is told only that there was one.

    Args:
        plan: the session's, the same as the server's.

    Example::

        app = ClientApp()

        @app.train("private_sum")
        @privately(PLAN)
        def train(content: RecordDict, context: Context) -> dict[str, np.ndarray]:
            ...
    """

    def wrap(train: Train) -> Callable[[Message, Context], Message]:
        def handle(message: Message, context: Context) -> Message:
            from flwr.app import Message

            reply = _answer(plan, train, RoundRequest.of(message.content), context)
            return Message(reply.to_records(), reply_to=message)

        return handle

    return wrap


def _answer(plan: PrivateSumPlan, train: Train, request: RoundRequest, context: Context) -> Reply:
    policy = load_policy(policy_path(context.node_config))
    policy.check_session(plan)
    plan.check_round(request.round)
    identity, roster = policy.party()
    number = roster.client_of(identity.public)
    client = secagg.Client(
        plan.params, plan.run_id, number, identity, roster.keys, os.urandom, floors=policy.floors
    )
    with StateFile(policy.state, policy.anchor) as state:
        saved = state.load()
        if saved is not None:
            client.restore(saved[0], least_sequence=saved[1])
        if request.opens:
            policy.check_epsilon(plan)
            client.open_round(request.round, request.context)
        asked = decode_request(request.message, plan.params)
        if isinstance(asked, UploadRequest):
            _check_content(asked.session, plan, roster, request)
            vectors = _train(train, request.content, context)
            words = policy.entropy.stream("noise", request.round, number).words
            client.set_vectors(plan.encode(vectors, request.round, words), copy=False)
        answer = client.handle(request.message)
        # On the disk before anything is sent: a client that forgot its answer could give another (SA-6).
        state.store(client.save(), client.sequence)
        return Reply(number, tuple(answer))


def _check_content(session: bytes, plan: PrivateSumPlan, roster: Roster, request: RoundRequest) -> None:
    """Insist that the round was opened for the very content that is to be trained on."""
    group = Group.of(plan.params, plan.run_id, secagg.Roster.of(roster.keys, plan.clients))
    if session != group.session(request.round, content_digest(request.content)):
        raise ProtocolViolation(
            "What is to be trained on is not what the round was opened for.",
            clause="SA-4",
            hint="The server sends all clients one content, and first its digest.",
        )


def _train(train: Train, content: RecordDict, context: Context) -> Mapping[str, NDArray[np.floating[Any]]]:
    try:
        return train(content, context)
    except Exception:  # Flower would send the text of whatever is raised to the server
        _log.exception("The training function failed.")
    raise UsageError("The training function failed on this node; its log says why.")
