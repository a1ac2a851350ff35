"""The nodes as the server knows them: who is who, who is late, who is back, who lies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from parties.deployed import agreed, identity
from parties.small_run import small_config

from fedpriv.crypto import SigningKey
from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.messages import Answer, Prepare, Sign, decode_request, hello
from fedpriv.deployment.nodes import Nodes
from fedpriv.deployment.server_settings import ServerSettings
from fedpriv.deployment.transport import Lost, Parts
from fedpriv.errors import TooFewParties
from fedpriv.federation.planning.make import plan_of

CLIENTS = 4

Behaviour = Callable[[Prepare | Sign], Parts | Lost | None]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    config = small_config(
        tmp_path_factory.mktemp("data"), partition__clients=CLIENTS, privacy__noise_multiplier=3.0
    )
    agreement = agreed(config)
    return Bundle(config, agreement, plan_of(config, agreement.subject(config)), bytes(32))


@dataclass
class Net:
    """A network of nodes that behave as they are told; ``None`` in the place of an answer is silence."""

    bundle: Bundle
    behaviour: dict[int, Behaviour] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)

    def nodes(self) -> set[int]:
        return set(self.behaviour)

    def exchange(self, requests: Mapping[int, Parts], timeout: float) -> Iterator[tuple[int, Parts | Lost]]:
        agreement = self.bundle.agreement
        for node, parts in requests.items():
            self.asked.append(node)
            request = decode_request(parts, dataset=agreement.dataset, parameters=agreement.dimension)
            assert isinstance(request, Prepare | Sign)
            answer = self.behaviour[node](request)
            if answer is not None:
                yield node, answer


def says(party: int, key: SigningKey | None = None) -> Behaviour:
    """A node that says it is ``party``, with that party's key or another."""

    def behave(request: Prepare | Sign) -> Parts:
        signature = hello(key or identity(party), request) if isinstance(request, Prepare) else b"signed"
        return Answer(party, signature).to_parts()

    return behave


def refuses(error: str, text: str) -> Behaviour:
    return lambda request: Parts({"error": error, "text": text, "hint": ""})


def silent(request: Prepare | Sign) -> None:
    return None


def net_of(bundle: Bundle, **others: Behaviour) -> Net:
    """Node 10 is client 1, and so on; ``node20=…`` behaves otherwise."""
    net = Net(bundle, {10 * client: says(client) for client in range(1, CLIENTS + 1)})
    net.behaviour |= {int(name.removeprefix("node")): behaviour for name, behaviour in others.items()}
    return net


def nodes_of(net: Net, **seconds: float) -> Nodes:
    patience = {"timeout": 5.0, "training_timeout": 5.0, "start_timeout": 0.2, **seconds}
    settings = ServerSettings(Path("roster"), Path("test"), Path("ledger"), Path("run"), **patience)  # type: ignore[arg-type]
    return Nodes(net, net.bundle, settings)


def meet(nodes: Nodes, *, wanted: int = CLIENTS, least: int = 3) -> None:
    nodes.meet((), wanted=wanted, least=least, begins=False)


def sign(nodes: Nodes) -> dict[int, object]:
    request = Sign(nodes.bundle.agreement.digest(), bytes(16), ())
    return dict(nodes.ask(dict.fromkeys(nodes.parties, request), 1.0))


def until(holds: Callable[[], bool]) -> None:
    """Wait for a thread; the test fails by its own assertion where it never comes."""
    for _ in range(200):
        if holds():
            return
        time.sleep(0.01)


def test_all_that_prove_who_they_are_are_met(bundle: Bundle) -> None:
    nodes = nodes_of(net_of(bundle))
    meet(nodes)
    assert nodes.parties == (1, 2, 3, 4)
    assert nodes.refusals == {}


def test_a_node_that_answers_in_another_s_name_is_not_that_party(bundle: Bundle) -> None:
    nodes = nodes_of(net_of(bundle, node20=says(2, identity(1)), node50=says(3, identity(9))))
    meet(nodes)
    assert nodes.parties == (1, 3, 4)
    assert {node: str(why) for node, why in nodes.refusals.items()} == dict.fromkeys(
        (20, 50), "It is no party of the roster."
    )


def test_a_greeting_of_an_earlier_question_is_not_taken(bundle: Bundle) -> None:
    """Whoever recorded client 2's signature sends it again, for another nonce or another agreement."""
    heard = Prepare(bundle.agreement.digest(), bytes(32), (), begins=False)
    for replayed in (heard, replace(heard, agreement=bytes(32))):
        answer = Answer(2, hello(identity(2), replayed)).to_parts()
        nodes = nodes_of(net_of(bundle, node20=lambda request, answer=answer: answer))  # type: ignore[misc]
        meet(nodes)
        assert nodes.parties == (1, 3, 4)


def test_a_node_that_proved_to_be_one_party_cannot_answer_for_another(bundle: Bundle) -> None:
    net = net_of(bundle)
    nodes = nodes_of(net)
    meet(nodes)
    net.behaviour[20] = says(3)
    answers = sign(nodes)
    assert answers[2] == Lost("It answers as party 3, and was party 2 before.")
    assert isinstance(answers[3], Answer)


@pytest.mark.parametrize(
    "answer", [Parts({}), Parts({"party": 2}), Parts({"party": "2"}, (b"x",)), Lost("gone")]
)
def test_a_node_that_answers_nonsense_is_left_out(bundle: Bundle, answer: Parts | Lost) -> None:
    nodes = nodes_of(net_of(bundle, node20=lambda request: answer))
    meet(nodes)
    assert nodes.parties == (1, 3, 4)


def test_too_few_parties_are_named_with_what_they_said(bundle: Bundle) -> None:
    no = refuses("UnsafeParameters", "Too much epsilon.")
    nodes = nodes_of(net_of(bundle, node20=no, node30=no), start_timeout=30.0)
    started = time.monotonic()
    with pytest.raises(TooFewParties, match=r"2 parties take part, and 3 are needed\. Node 20: Too much eps"):
        meet(nodes)
    assert time.monotonic() - started < 20.0  # all have said no: nobody is waited for


def test_a_silent_node_is_not_waited_for_twice(bundle: Bundle) -> None:
    net = net_of(bundle, node20=silent)
    nodes = nodes_of(net)
    meet(nodes)
    meet(nodes, wanted=3)
    assert nodes.parties == (1, 3, 4)
    assert net.asked.count(20) == 1


def test_a_node_that_fell_silent_takes_part_again_once_it_answers(bundle: Bundle) -> None:
    net = net_of(bundle)
    nodes = nodes_of(net)
    meet(nodes)
    net.behaviour[20] = silent
    assert sign(nodes)[2] == Lost("no answer within 1 seconds")
    assert nodes.parties == (1, 3, 4)
    net.behaviour[20] = says(2)
    nodes.look_again(())
    until(lambda: 2 in nodes.parties)
    assert nodes.parties == (1, 2, 3, 4)
    assert isinstance(sign(nodes)[2], Answer)


def test_a_node_that_was_lost_and_came_back_is_counted_once(bundle: Bundle) -> None:
    """Where its loss stayed on the list, a round would begin without waiting for the others."""
    net = net_of(bundle, node20=lambda request: Lost("its app failed"))
    nodes = nodes_of(net)
    meet(nodes)
    assert list(nodes.refusals) == [20]
    net.behaviour[20] = says(2)
    nodes.look_again(())
    until(lambda: 2 in nodes.parties)
    assert nodes.parties == (1, 2, 3, 4)
    assert nodes.refusals == {}


def test_a_node_that_refused_is_not_asked_again(bundle: Bundle) -> None:
    net = net_of(bundle, node20=refuses("BudgetExceeded", "No more."))
    nodes = nodes_of(net)
    meet(nodes)
    nodes.look_again(())
    assert net.asked.count(20) == 1


def test_a_party_on_a_new_node_is_asked_there(bundle: Bundle) -> None:
    """A SuperNode that was started anew may have another number; the one before answers nothing."""
    net = net_of(bundle)
    nodes = nodes_of(net)
    meet(nodes)
    net.behaviour[20] = silent
    net.behaviour[25] = says(2)
    nodes.look_again(())
    until(lambda: nodes._node_of[2] == 25)
    assert isinstance(sign(nodes)[2], Answer)


def test_a_round_waits_for_a_node_that_is_being_asked_again(bundle: Bundle) -> None:
    """Too few are there, and one that was lost is about to come back: the round is not given up before."""
    net = net_of(bundle, node20=lambda request: Lost("its app failed"))
    nodes = nodes_of(net, start_timeout=20.0)
    meet(nodes)
    net.behaviour[30] = silent
    sign(nodes)
    assert nodes.parties == (1, 4)
    back = threading.Event()

    def late(request: Prepare | Sign) -> Parts | Lost | None:
        back.wait(10.0)
        return says(2)(request)

    net.behaviour[20] = late
    nodes.look_again(())
    threading.Timer(0.3, back.set).start()
    meet(nodes, wanted=3)
    assert nodes.parties == (1, 2, 4)
