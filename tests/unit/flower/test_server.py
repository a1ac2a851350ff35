"""Whole rounds over a grid that calls the nodes' handlers: sums, dropouts, and what a server may not do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from flwr.app import Array, ArrayRecord, Message, RecordDict
from parties.flower_nodes import CONTENT, NODES, LoopbackGrid, Nodes, vectors_of

from fedpriv import dp, keystore, ledger, secagg
from fedpriv.crypto import SigningKey
from fedpriv.entropy import Entropy
from fedpriv.errors import BudgetExceeded, TooFewParties, UnsafeParameters, UsageError
from fedpriv.flower import PrivateSum
from fedpriv.secagg.messages import decode_reply, encode

DATASET = "ab" * 32
NOW = "2026-01-01T00:00:00Z"


def in_process(nodes: Nodes, round_: int, clients: Iterable[int]) -> np.ndarray:
    """The same integers through the protocol without Flower: rotated, noisy, in grid units."""
    plan, roster = nodes.plan, nodes.roster.keys
    server = secagg.Server(plan.params, plan.run_id, roster)
    server.open_round(round_, bytes(32))
    parties = {}
    for client in clients:
        identity = keystore.load_identity(nodes.folder(client) / "identity.pem")
        parties[client] = secagg.Client(plan.params, plan.run_id, client, identity, roster, os.urandom)
        parties[client].open_round(round_, bytes(32))
        words = Entropy(client).stream("noise", round_, client).words
        parties[client].set_vectors(plan.encode(vectors_of(client), round_, words))
    total = secagg.run_in_process(server, parties)
    return plan.grid.fixed.centre(total.vectors["update"])


def test_two_rounds_give_the_sums_of_the_protocol_to_the_bit(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    grid = LoopbackGrid(nodes)
    private_sum = PrivateSum(nodes.plan, nodes.roster, grid)
    for round_, exchanges in ((1, 5), (2, 3)):
        before = grid.exchanges
        total = private_sum.run(round_, CONTENT)
        assert grid.exchanges - before == exchanges
        assert total.survivors == (1, 2, 3, 4)
        np.testing.assert_array_equal(total.integers, in_process(nodes, round_, NODES.values()))
    assert nodes.trained == [1, 2, 3, 4] * 2
    assert {name: vector.shape for name, vector in total.vectors.items()} == {"update": (20,), "count": (1,)}
    assert total.noise_multiplier >= nodes.plan.noise_multiplier


def test_without_its_noise_the_sum_is_that_of_the_clipped_vectors(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    plan = nodes.plan
    total = PrivateSum(plan, nodes.roster, LoopbackGrid(nodes)).run(1, CONTENT)
    streams = [Entropy(client).stream("noise", 1, client) for client in NODES.values()]
    noise = sum(dp.skellam(plan.noise.share_variance, 21, stream.words) for stream in streams)
    residues = plan.grid.fixed.to_residues(total.integers - noise)
    bare = plan.decode(secagg.Sum({"update": residues}, total.survivors, {}), 1).vectors
    joined = [np.concatenate([vectors_of(client)[name] for name in bare]) for client in NODES.values()]
    clipped = sum(vector * min(1.0, 1.0 / np.linalg.norm(vector)) for vector in joined)
    np.testing.assert_allclose(np.concatenate(list(bare.values())), clipped, atol=1e-5)


def test_a_node_lost_before_its_upload_is_left_out_and_comes_back(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    grid = LoopbackGrid(nodes, lost=lambda exchange, node: node == 102 and exchange in (6, 7, 8))
    private_sum = PrivateSum(nodes.plan, nodes.roster, grid)
    survivors = []
    for round_ in (1, 2, 3):
        total = private_sum.run(round_, CONTENT)
        survivors.append(total.survivors)
        np.testing.assert_array_equal(total.integers, in_process(nodes, round_, total.survivors))
    assert survivors == [(1, 2, 3, 4), (1, 3, 4), (1, 2, 3, 4)]


def test_a_node_lost_after_its_upload_is_in_the_sum(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    grid = LoopbackGrid(nodes, lost=lambda exchange, node: node == 102 and exchange > 3)
    total = PrivateSum(nodes.plan, nodes.roster, grid).run(1, CONTENT)
    assert total.survivors == (1, 2, 3, 4)


def test_too_few_nodes_end_the_round_and_the_next_one_works(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    grid = LoopbackGrid(nodes, lost=lambda exchange, node: exchange == 3 and node > 102)
    private_sum = PrivateSum(nodes.plan, nodes.roster, grid)
    with pytest.raises(TooFewParties, match="2 clients are left") as caught:
        private_sum.run(1, CONTENT)
    assert "Node 104: It did not answer in time" in caught.value.hint
    with pytest.raises(UsageError, match="does not come after"):
        private_sum.run(1, CONTENT)
    assert private_sum.run(2, CONTENT).survivors == (1, 2, 3, 4)


def test_a_vector_of_several_parts(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, changes={"vectors": {"update": 2**18 + 5}})
    nodes.train = lambda content, context: {  # type: ignore[method-assign]
        "update": np.full(2**18 + 5, 1e-3 * context.node_id)
    }
    total = PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes)).run(1, CONTENT)
    assert total.survivors == (1, 2, 3, 4)
    assert total.vectors["update"].shape == (2**18 + 5,)


def test_a_node_that_claims_to_be_another_client_is_left_out(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    handle = nodes.handle

    def lie(node: int, message: Message) -> Message:
        reply = handle(node, message)
        if node == 104:
            reply.content["fedpriv"]["client"] = 1
        return reply

    nodes.handle = lie  # type: ignore[method-assign]
    assert PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes)).run(1, CONTENT).survivors == (1, 2, 3)


def test_a_node_cannot_speak_for_another_that_is_lost(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    handle = nodes.handle

    def forge(node: int, message: Message) -> Message:
        reply = handle(node, message)
        if node == 104 and grid.exchanges == 2:  # shares are signed by nobody
            head = reply.content["fedpriv"]
            shares = decode_reply(head["message"], nodes.plan.params)
            head["client"], head["message"] = 1, encode(msgspec.structs.replace(shares, sender=1))
        return reply

    nodes.handle = forge  # type: ignore[method-assign]
    grid = LoopbackGrid(nodes, lost=lambda exchange, node: exchange == 2 and node == 101)
    with pytest.raises(TooFewParties) as caught:
        PrivateSum(nodes.plan, nodes.roster, grid).run(1, CONTENT)
    assert "Node 104: It answers as client 1, and was another before" in caught.value.hint


def test_no_round_beyond_the_plan_s(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    with pytest.raises(UnsafeParameters, match="Round 5 is not one of the 4"):
        PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes)).run(5, CONTENT)


def other_model(message: Message) -> Message:
    """The same message with another model for this node alone."""
    if "model" in message.content:
        message.content["model"] = ArrayRecord({"w": Array(np.arange(3.0) + 1e-9)})
    return message


def test_a_node_that_is_sent_another_model_refuses(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    grid = LoopbackGrid(nodes, change=lambda node, m: other_model(m) if node == 103 else m)
    assert PrivateSum(nodes.plan, nodes.roster, grid).run(1, CONTENT).survivors == (1, 2, 4)
    assert 3 not in nodes.trained


def test_an_error_in_the_training_tells_the_server_nothing_of_the_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = Nodes(tmp_path)

    def train(content: RecordDict, context: object) -> dict[str, np.ndarray]:
        raise ValueError("cannot read the record of Jane Doe")

    nodes.train = train  # type: ignore[method-assign]
    with pytest.raises(TooFewParties) as caught:
        PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes)).run(1, CONTENT)
    assert "training function failed on this node" in caught.value.hint
    assert "Jane" not in caught.value.hint
    assert "Jane" in caplog.text  # the node's own log has it


def test_no_node_s_answer_holds_its_vector_in_clear(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    replies = []
    handle = nodes.handle
    nodes.handle = lambda *args: replies.append(handle(*args)) or replies[-1]  # type: ignore[method-assign]
    PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes)).run(1, CONTENT)
    uploads = [reply.content for reply in replies if "fedpriv-parts" in reply.content]
    assert len(uploads) == 4
    for upload in uploads:
        (part,) = [array.data for array in upload["fedpriv-parts"].values()]
        for client in NODES.values():
            words = Entropy(client).stream("noise", 1, client).words
            residues = nodes.plan.encode(vectors_of(client), 1, words).astype("<u4").tobytes()
            assert residues[:16] not in part


def test_the_ledger_counts_a_round_before_any_node_is_asked(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    book = ledger.Ledger.open(tmp_path / "ledger.sqlite", SigningKey.from_seed(bytes(32)), lambda: NOW)
    with book:
        book.set_budget(DATASET, "values", 1.5, 1e-5)
        with pytest.raises(BudgetExceeded):
            PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes), ledger=book, dataset=DATASET)
        book.set_budget(DATASET, "values", 3.0, 1e-5)
        grid = LoopbackGrid(nodes, lost=lambda exchange, node: exchange == 6)
        private_sum = PrivateSum(nodes.plan, nodes.roster, grid, ledger=book, dataset=DATASET)
        private_sum.run(1, CONTENT)
        with pytest.raises(TooFewParties):
            private_sum.run(2, CONTENT)
        kinds = [row.kind for row in book.rows(DATASET)]
        assert kinds == ["BUDGET", "BUDGET", "PLAN", "RESERVE", "RELEASE", "RESERVE"]
        assert book.spent(DATASET).epsilon == pytest.approx(nodes.plan.epsilon(1e-5, 2), rel=1e-3)
        # A server that starts again goes on in the same rows.
        again = PrivateSum(nodes.plan, nodes.roster, LoopbackGrid(nodes), ledger=book, dataset=DATASET)
        again.run(3, CONTENT)
        assert [row.kind for row in book.rows(DATASET)][-2:] == ["RESERVE", "RELEASE"]
