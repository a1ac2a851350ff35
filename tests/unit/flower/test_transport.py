"""Messages in Flower's form and back, and an exchange with nodes that fail in each way."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.deployment.transport import Lost, Parts
from fedpriv.errors import DecodeError, UsageError
from fedpriv.flower import POLICY_KEY
from fedpriv.flower.run_node import client_app
from fedpriv.flower.run_server import server_app
from fedpriv.flower.transport import MESSAGE_TYPE, FlowerTransport, parts_of, reply

NODES = (101, 102, 103)
SERVER = 1
ASKED = Parts({"asks": "upload", "round": 2}, (b"vector", b""))

VALUES = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=50), st.text(max_size=20)
)
PARTS = st.builds(
    Parts,
    st.dictionaries(st.text(max_size=10), VALUES, max_size=5),
    st.lists(st.binary(max_size=50), max_size=12).map(tuple),
)


@pytest.fixture(autouse=True)
def _a_task_of_flower() -> None:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, SERVER


def request(parts: Parts = ASKED, node: int = 101) -> Message:
    """The message that a server sends for these parts."""
    grid = Grid()
    list(FlowerTransport(grid).exchange({node: parts}, timeout=0.0))
    return grid.pushed[0]


def over_the_wire(message: Message) -> Message:
    """The message after Flower has cut it into objects and put it together again."""
    contents = {key: part.deflate() for key, part in get_all_nested_objects(message).items()}
    found = inflate_object_from_contents(message.object_id, contents)
    assert isinstance(found, Message)
    found.metadata.__dict__["_message_id"] = message.object_id
    return found


def echo(message: Message) -> Message:
    return reply(parts_of(message), message)


@dataclass
class Grid:
    """A grid whose nodes answer at once; an answer is found once its node is released."""

    handle: Callable[[Message], Message] = echo
    unknown: frozenset[int] = frozenset()
    stuck: frozenset[int] = frozenset()
    released: dict[int, threading.Event] = field(
        default_factory=lambda: {node: threading.Event() for node in NODES}
    )
    pushed: list[Message] = field(default_factory=list)
    _answers: dict[str, Message] = field(default_factory=dict)

    def get_node_ids(self) -> Iterable[int]:
        return list(NODES)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        names = []
        for message in messages:
            node = message.metadata.dst_node_id
            self.pushed.append(message)
            names.append("" if node in self.unknown else f"message to {node}")
            TaskIdentity.node_id = node
            self._answers[names[-1]] = over_the_wire(self.handle(over_the_wire(message)))
            TaskIdentity.node_id = SERVER
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        (name,) = message_ids
        answer = self._answers[name]
        node = int(name.split()[-1])
        if node in self.stuck:
            self.released[node].wait()
        return [answer] if self.released[node].is_set() else []

    def release(self, *nodes: int) -> None:
        for node in nodes:
            self.released[node].set()


@given(PARTS)
def test_parts_come_back_as_they_went(parts: Parts) -> None:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, SERVER
    asked = over_the_wire(request(parts))
    found = parts_of(asked)
    assert (found.values, found.blobs) == (parts.values, parts.blobs)
    assert {name: type(value) for name, value in found.values.items()} == {
        name: type(value) for name, value in parts.values.items()
    }
    TaskIdentity.node_id = 101
    assert parts_of(over_the_wire(reply(parts, asked))) == parts


def test_a_vector_of_many_chunks_comes_back_whole() -> None:
    vector = bytes(range(256)) * 50_000
    assert parts_of(over_the_wire(request(Parts({}, (vector,))))).blobs == (vector,)


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records.pop("fedpriv"),
        lambda records: records.update(fedpriv=ArrayRecord({})),
        lambda records: records.update(more=ConfigRecord()),
        lambda records: records["fedpriv"].update(round=2.0),
        lambda records: records["fedpriv"].update(round=[2]),
        lambda records: records.update({"fedpriv-parts": ConfigRecord()}),
        lambda records: records.update({"fedpriv-parts": ArrayRecord({})}),
        lambda records: records["fedpriv-parts"].pop("0"),
        lambda records: records["fedpriv-parts"].update({"2a": records["fedpriv-parts"]["1"]}),
        lambda records: records["fedpriv-parts"].update({"0": part(b"vecto", 6)}),
        lambda records: records["fedpriv-parts"].update({"0": part(b"vector", 6, dtype="int8")}),
        lambda records: records["fedpriv-parts"].update({"0": part(b"vector", 6, stype="numpy.ndarray")}),
    ],
)
def test_a_foreign_or_truncated_message_is_a_decode_error(change: Callable[[RecordDict], object]) -> None:
    message = request()
    change(message.content)
    with pytest.raises(DecodeError):
        parts_of(message)


def part(content: bytes, size: int, *, dtype: str = "uint8", stype: str = "fedpriv.bytes") -> Array:
    return Array(dtype, (size,), stype, content)


def test_answers_are_given_as_they_come() -> None:
    grid = Grid()
    exchange = FlowerTransport(grid).exchange(dict.fromkeys(NODES, ASKED), timeout=60.0)
    for node in (102, 101, 103):
        grid.release(node)
        assert next(exchange) == (node, ASKED)
    assert list(exchange) == []
    assert {message.metadata.message_type for message in grid.pushed} == {MESSAGE_TYPE}


def test_a_node_that_hangs_while_it_sends_holds_up_nobody_and_is_not_named() -> None:
    grid = Grid(stuck=frozenset({101}))
    grid.release(102, 103)
    found = dict(FlowerTransport(grid).exchange(dict.fromkeys(NODES, ASKED), timeout=2.0))
    assert found == {102: ASKED, 103: ASKED}
    grid.release(101)


def fail(message: Message) -> Message:
    if message.metadata.dst_node_id == 101:
        return Message(Error(code=0, reason="The node is away."), reply_to=message)
    if message.metadata.dst_node_id == 102:
        return Message(RecordDict({"other": ConfigRecord()}), reply_to=message)
    return echo(message)


def test_lost_is_who_fails_is_unknown_or_answers_something_else() -> None:
    grid = Grid(handle=fail, unknown=frozenset({103}))
    grid.release(*NODES)
    found = dict(FlowerTransport(grid).exchange(dict.fromkeys(NODES, ASKED), timeout=60.0))
    assert found == {
        101: Lost("The node is away."),
        102: Lost("The message is none of a run."),
        103: Lost("Flower did not take a message for it."),
    }


def test_a_superlink_that_is_gone_is_told_to_whoever_asked() -> None:
    def gone(message_ids: Iterable[str]) -> list[Message]:
        raise ConnectionError

    grid = Grid()
    grid.pull_messages = gone  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        list(FlowerTransport(grid).exchange({101: ASKED}, timeout=60.0))


def test_nobody_asked_is_nobody_answering() -> None:
    assert list(FlowerTransport(Grid()).exchange({}, timeout=60.0)) == []


def answered(message: Message, config: dict[str, str], folder: Path) -> Parts:
    """What the client app of a run answers."""
    TaskIdentity.node_id = 101
    return parts_of(client_app(folder)(message, Context(1, 101, config, RecordDict(), {})))


def test_a_node_without_a_policy_says_so(tmp_path: Path) -> None:
    values = answered(request(), {}, tmp_path).values
    assert values["error"] == "UsageError"
    assert POLICY_KEY in str(values["text"])
    assert "--node-config" in str(values["hint"])


def test_a_foreign_message_is_answered_as_one(tmp_path: Path) -> None:
    message = request()
    del message.content["fedpriv"]
    assert answered(message, {POLICY_KEY: "policy.toml"}, tmp_path).values["error"] == "DecodeError"


def test_the_text_of_an_unforeseen_error_stays_on_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(parts: Parts, *, policy: Path, bundle: Path) -> Parts:
        raise ValueError(f"the record of Ms Smith, {policy}, {bundle}")

    faulty = ModuleType("fedpriv.deployment.party")
    faulty.answer = answer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, faulty.__name__, faulty)
    found = answered(request(), {POLICY_KEY: "policy.toml"}, tmp_path)
    assert found == Parts({"error": "failed", "text": "", "hint": ""})
    assert f"the record of Ms Smith, policy.toml, {tmp_path}" in caplog.text


@pytest.mark.parametrize("run_config", [{}, {"server": ""}, {"server": 1}])
def test_a_run_that_does_not_say_where_the_server_s_folder_is_ends(
    tmp_path: Path, run_config: dict[str, str | int]
) -> None:
    app = server_app(tmp_path)
    with pytest.raises(UsageError, match="where the server's folder is"):
        app(Grid(), Context(1, SERVER, {}, RecordDict(), run_config))


def test_what_starts_for_every_message_loads_no_torch() -> None:
    code = (
        "import sys, fedpriv.flower.run_node; print({'torch', 'transformers', 'tenseal'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
