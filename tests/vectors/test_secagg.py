"""Package and reference against the published vectors: the same bytes, the same sums, the same refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from reference import secagg as reference
from reference.secagg_wire import Refused
from vectors.secagg_vectors import DIRECTORY, bad, rand_of, rounds

from fedpriv.crypto import Keystream, SigningKey
from fedpriv.errors import DecodeError, ProtocolViolation
from fedpriv.secagg import Client, SecAggParams, Server, Session

ROUNDS = sorted(DIRECTORY.glob("secagg_round_*.json"))
BAD = sorted(DIRECTORY.glob("secagg_bad_*.json"))


class Package:
    """The package's parties for a vector's setting."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case, setting = case, case["setting"]
        sizes = (setting[name] for name in ("n", "t", "b", "d", "a"))
        self.params = SecAggParams(*sizes, consistency_check=bool(setting["check"]))
        self.session = Session(
            bytes.fromhex(setting["run_id"]), setting["round"], bytes.fromhex(setting["context"])
        )
        self.identities = {
            int(i): SigningKey.from_seed(bytes.fromhex(seed)) for i, seed in setting["identities"].items()
        }
        self.roster = {i: identity.public for i, identity in self.identities.items()}

    def client(self, i: int) -> Client:
        rand = Keystream(bytes.fromhex(self.case["entropy"][str(i)])).read
        client = Client(self.params, self.session, i, self.identities[i], self.roster, rand)
        client.set_vector(np.array(self.case["vectors"][str(i)], dtype=np.uint64))
        return client

    def server(self) -> Server:
        return Server(self.params, self.session, self.roster)

    @staticmethod
    def refusal(act: Any, *arguments: Any) -> str:
        try:
            act(*arguments)
        except DecodeError:
            return "decode"
        except ProtocolViolation as violation:
            return violation.clause
        return "accepted"


class Reference:
    """The reference's parties for a vector's setting."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case, self.setting = case, reference.Setting(case["setting"])

    def client(self, i: int) -> reference.Client:
        rand = rand_of(self.case["entropy"][str(i)])
        return reference.Client(self.setting, i, rand, self.case["vectors"][str(i)])

    def server(self) -> reference.Server:
        return reference.Server(self.setting)

    @staticmethod
    def refusal(act: Any, *arguments: Any) -> str:
        try:
            act(*arguments)
        except Refused as refused:
            return refused.clause
        return "accepted"


SIDES = pytest.mark.parametrize("side", [Package, Reference])


def _name(path: Any) -> str:
    return str(path.stem)


@SIDES
@pytest.mark.parametrize("path", ROUNDS, ids=_name)
def test_every_message_of_a_round_is_the_published_one(path: Any, side: Any) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    parties = side(case)
    server = parties.server()
    clients = {int(i): parties.client(int(i)) for i in case["vectors"]}
    for stage in case["stages"]:
        assert {str(i): request.hex() for i, request in server.requests().items()} == stage["requests"]
        for i, reply in stage["replies"].items():
            answer = clients[int(i)].handle(bytes.fromhex(stage["requests"][i]))
            assert answer.hex() == reply
            server.receive(int(i), answer)
        server.advance()
    total = server.result().total.tolist() if side is Package else server.total
    assert total == case["sum"]


@pytest.mark.parametrize("path", ROUNDS, ids=_name)
def test_the_published_sum_is_the_plain_sum(path: Any) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    columns = zip(*(case["vectors"][str(i)] for i in case["survivors"]), strict=True)
    assert case["sum"] == [sum(column) % 2 ** case["setting"]["b"] for column in columns]


@SIDES
@pytest.mark.parametrize("path", BAD, ids=_name)
def test_a_bad_message_is_refused_for_the_published_reason(path: Any, side: Any) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    parties = side(case)
    message = bytes.fromhex(case["message"])
    if "client" in case:
        client = parties.client(case["client"])
        for request in case["before"]:
            client.handle(bytes.fromhex(request))
        assert parties.refusal(client.handle, message) == case["error"]
        return
    server = parties.server()
    for position, replies in enumerate(case["before"]):
        if position:
            server.advance()
        for i, reply in replies.items():
            server.receive(int(i), bytes.fromhex(reply))
    if not case["at_closing"]:
        assert parties.refusal(server.receive, case["from"], message) == case["error"]
        return
    server.receive(case["from"], message)
    assert parties.refusal(server.advance) == case["error"]


def test_the_files_are_what_the_reference_writes() -> None:
    written = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (*ROUNDS, *BAD)}
    made = json.loads(json.dumps({**rounds(), **bad()}))
    assert written.keys() == made.keys()
    assert [name for name in made if made[name] != written[name]] == []
