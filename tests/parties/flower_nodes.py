"""Four nodes of a Flower app in this process: their files, their handlers, and a grid that calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedpriv import keystore
from fedpriv.flower import POLICY_KEY, PrivateSumPlan, privately

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

NODES = {101: 1, 102: 2, 103: 3, 104: 4}
"""Node -> client."""

SERVER = 1

SIZES: dict[str, Any] = {
    "session": "unit test",
    "clients": 4,
    "min_survivors": 3,
    "max_colluders": 1,
    "vectors": {"update": 20, "count": 1},
    "clip": 1.0,
    "noise_multiplier": 4.0,
    "rounds": 4,
}

POLICY = """\
session = "unit test"
identity = "identity.pem"
roster = "../roster.toml"
state = "session.state"
min_survivors = 3
max_colluders = 1
max_epsilon = 3.0
delta = 1e-5
"""

CONTENT = RecordDict(
    {
        "model": ArrayRecord({"w": Array(np.arange(3.0))}),
        "how": ConfigRecord({"rate": 0.1, "name": "a", "steps": [1, 2], "raw": b"\x00"}),
    }
)


def vectors_of(client: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(client)
    return {"update": rng.normal(0.0, 0.1, 20).astype(np.float32), "count": np.array([0.25])}


@dataclass
class Nodes:
    """The files and handlers of all nodes; each message is handled from the files alone."""

    home: Path
    changes: dict[str, Any] = field(default_factory=dict)
    trained: list[int] = field(default_factory=list)
    messages: list[tuple[int, Message]] = field(default_factory=list)

    def __post_init__(self) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, SERVER
        self.plan = PrivateSumPlan(**{**SIZES, **self.changes})
        publics = []
        for client in NODES.values():
            folder = self.folder(client)
            folder.mkdir()
            keystore.new_identity(folder / "identity.pem", name=f"node-{client}")
            publics.append(keystore.load_public(folder / "identity.pem.pub"))
            self.set_policy(client)
        self.roster = keystore.write_roster(self.home / "roster.toml", publics)

    def folder(self, client: int) -> Path:
        return self.home / f"node-{client}"

    def set_policy(self, client: int, **changes: str) -> None:
        lines = [line for line in POLICY.splitlines() if line.split(" = ")[0] not in changes]
        lines += [f"insecure_seed = {client}", *(f"{name} = {value}" for name, value in changes.items())]
        (self.folder(client) / "policy.toml").write_text("\n".join(lines) + "\n")

    def train(self, content: RecordDict, context: Context) -> dict[str, np.ndarray]:
        client = NODES[context.node_id]
        self.trained.append(client)
        return vectors_of(client)

    def handle(self, node: int, message: Message, train: Callable[..., Any] | None = None) -> Message:
        """What the node's ClientApp answers, or the error that it raises."""
        app = ClientApp()
        app.train("private_sum")(privately(self.plan)(train or self.train))
        config = {POLICY_KEY: str(self.folder(NODES[node]) / "policy.toml")}
        TaskIdentity.node_id = node
        return app(message, Context(1, node, config, RecordDict(), {}))


@dataclass
class LoopbackGrid:
    """What `PrivateSum` uses of Flower's grid; ``lost(stage number, node)`` says whose answer never comes."""

    nodes: Nodes
    lost: Callable[[int, int], bool] = lambda exchange, node: False
    change: Callable[[int, Message], Message] = lambda node, message: message
    exchanges: int = 0

    def get_node_ids(self) -> Iterable[int]:
        return list(NODES)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        self.exchanges += 1
        replies = []
        for message in list(messages):
            node = message.metadata.dst_node_id
            if self.lost(self.exchanges, node):
                continue
            self.nodes.messages.append((node, message))
            received = self.change(node, message)
            try:
                replies.append(self.nodes.handle(node, received))
            except Exception as error:  # as flwr-clientapp does
                replies.append(Message(Error(code=2, reason=str(error)), reply_to=received))
        TaskIdentity.node_id = SERVER
        return replies
