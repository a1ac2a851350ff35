"""A node's handler called with one message: what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from flwr.app import ConfigRecord, Message, RecordDict
from parties.flower_nodes import CONTENT, NODES, SIZES, LoopbackGrid, Nodes, vectors_of

from fedpriv import keystore
from fedpriv.errors import (
    DecodeError,
    FedprivError,
    IntegrityError,
    ProtocolViolation,
    TooFewParties,
    UnsafeParameters,
    UsageError,
)
from fedpriv.flower import PrivateSum, PrivateSumPlan


def one_round(nodes: Nodes) -> list[Message]:
    """A round's five messages to node 101, which it has answered."""
    PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes)).run(1, CONTENT)
    return [message for node, message in nodes.messages if node == 101]


def files_of(nodes: Nodes) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in nodes.folder(1).iterdir()}


def first_message(nodes: Nodes) -> Message:
    """The message that opens the first round, not yet answered by anybody."""
    with pytest.raises(FedprivError):
        PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes, change=unreadable)).run(1, CONTENT)
    return next(message for node, message in nodes.messages if node == 101)


def unreadable(node: int, message: Message) -> Message:
    return Message(RecordDict(), node, message.metadata.message_type)


def with_head(message: Message, changes: dict[str, object]) -> Message:
    head = ConfigRecord({**message.content["fedpriv"], **changes})  # type: ignore[dict-item]
    content = RecordDict({**message.content, "fedpriv": head})
    return Message(content, message.metadata.dst_node_id, message.metadata.message_type)


@pytest.mark.parametrize("left", [0, 1, 20, -1])
def test_a_truncated_message_is_refused_and_the_whole_one_still_answered(tmp_path: Path, left: int) -> None:
    nodes = Nodes(tmp_path)
    message = first_message(nodes)
    cut = with_head(message, {"message": message.content["fedpriv"]["message"][:left]})
    with pytest.raises(DecodeError):
        nodes.handle(101, cut)
    assert "session.state" not in files_of(nodes)
    assert nodes.handle(101, message).content["fedpriv"]["client"] == 1


@pytest.mark.parametrize(
    "changes", [{"round": "1"}, {"opens": 1}, {"context": bytes(31)}, {"more": 1}, {"message": 1}]
)
def test_a_record_with_a_field_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    nodes = Nodes(tmp_path)
    with pytest.raises(DecodeError):
        nodes.handle(101, with_head(first_message(nodes), changes))


def test_a_message_of_another_app_is_refused(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    message = first_message(nodes)
    with pytest.raises(DecodeError, match="none of this protocol"):
        nodes.handle(101, unreadable(101, message))


def test_a_roster_with_another_key_answers_nothing_of_the_others_session(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    message = first_message(nodes)
    keystore.new_identity(tmp_path / "stranger.pem", name="stranger")
    members = [*nodes.roster.members[:3], keystore.load_public(tmp_path / "stranger.pem.pub")]
    keystore.write_roster(tmp_path / "other.toml", members)
    nodes.set_policy(1, roster='"../other.toml"')
    with pytest.raises(ProtocolViolation, match="another session"):
        nodes.handle(101, message)
    nodes.set_policy(4, roster='"../other.toml"')
    with pytest.raises(UsageError, match="does not list this identity"):
        nodes.handle(104, message)


def test_a_node_with_another_identity_is_left_out_by_the_server(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    for name in ("identity.pem", "identity.pem.pub"):
        (nodes.folder(4) / name).unlink()
    keystore.new_identity(nodes.folder(4) / "identity.pem", name="node-4")
    total = PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes)).run(1, CONTENT)
    assert total.survivors == (1, 2, 3)


@pytest.mark.parametrize(
    ("floor", "value", "message"),
    [
        ("min_survivors", "4", "fewest survivors is 3; this client takes part from 4"),
        ("max_colluders", "2", "colluders to withstand is 1; this client takes part from 2"),
        ("max_epsilon", "1.9", r"cost epsilon = 1\.99\d at delta = 1e-05; this node allows 1\.9"),
    ],
)
def test_a_plan_below_the_node_s_floors_is_refused(
    tmp_path: Path, floor: str, value: str, message: str
) -> None:
    nodes = Nodes(tmp_path)
    opening = first_message(nodes)
    nodes.set_policy(1, **{floor: value})
    with pytest.raises(UnsafeParameters, match=message):
        nodes.handle(101, opening)
    assert "session.state" not in files_of(nodes)


def test_a_session_that_the_owner_did_not_agree_to_is_refused(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    nodes.set_policy(1, session='"another"')
    with pytest.raises(UsageError, match="takes part in 'another'"):
        nodes.handle(101, first_message(nodes))


def test_a_plan_that_changes_under_one_session_is_refused(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    one_round(nodes)
    nodes.plan = PrivateSumPlan(**{**SIZES, "noise_multiplier": 5.0})
    with pytest.raises(TooFewParties) as caught:
        PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes)).run(2, CONTENT)
    assert "Node 101: The saved state is not that of client 1 in this run" in caught.value.hint


def test_each_request_is_answered_once(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    messages = one_round(nodes)
    assert len(messages) == 5
    before = files_of(nodes)
    for message in messages:
        with pytest.raises((ProtocolViolation, UsageError)):
            nodes.handle(101, message)
    assert files_of(nodes) == before


def test_a_round_beyond_the_plan_is_refused(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    with pytest.raises(UnsafeParameters, match="not one of the 4"):
        nodes.handle(101, with_head(first_message(nodes), {"round": 5}))


def test_a_state_that_went_back_in_time_is_refused(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    private_sum = PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes))
    private_sum.run(1, CONTENT)
    copy = tmp_path / "copy"
    shutil.copy(nodes.folder(1) / "session.state", copy)
    private_sum.run(2, CONTENT)
    shutil.copy(copy, nodes.folder(1) / "session.state")
    last = [message for node, message in nodes.messages if node == 101][-1]
    with pytest.raises(IntegrityError, match="went back in time"):
        nodes.handle(101, last)
    assert private_sum.run(3, CONTENT).survivors == (2, 3, 4)


def test_the_state_on_the_disk_is_sealed(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    one_round(nodes)
    path = nodes.folder(1) / "session.state"
    assert path.stat().st_mode & 0o077 == 0
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(IntegrityError):
        nodes.handle(101, nodes.messages[-1][1])


@pytest.mark.parametrize(
    "vectors",
    [
        {"update": np.zeros(20)},
        {"update": np.zeros(21), "count": np.zeros(1)},
        {"update": np.zeros(20, dtype=np.int64), "count": np.zeros(1)},
    ],
)
def test_a_training_that_gives_something_else_than_the_plan_says_is_left_out(
    tmp_path: Path, vectors: dict[str, np.ndarray]
) -> None:
    nodes = Nodes(tmp_path)
    nodes.train = lambda content, context: (  # type: ignore[method-assign]
        vectors if context.node_id == 101 else vectors_of(NODES[context.node_id])
    )
    total = PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes)).run(1, CONTENT)
    assert total.survivors == (2, 3, 4)


def test_a_node_without_a_policy_says_how_to_name_one(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    (nodes.folder(1) / "policy.toml").write_text("session = 'mean'\n")
    with pytest.raises(UsageError, match="no field 'identity'"):
        nodes.handle(101, first_message(nodes))
    (nodes.folder(1) / "policy.toml").unlink()
    with pytest.raises(UsageError, match=r"policy\.toml"):
        nodes.handle(101, first_message(nodes))
