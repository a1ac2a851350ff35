"""Package and reference against the published vectors: the same bytes, the same sums, the same refusals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference import secagg as reference
from reference.secagg_server import Server as ReferenceServer
from reference.secagg_wire import Refused
from vectors.secagg_play import rand_of
from vectors.secagg_vectors import DIRECTORY, by_rule, cases, shown, shown_sum

from fedpriv.crypto import Keystream, SigningKey, add_masks
from fedpriv.crypto.prg import word_dtype
from fedpriv.errors import DecodeError, ProtocolViolation
from fedpriv.secagg import Client, SecAggParams, Server, Vector

ROUNDS = sorted(DIRECTORY.glob("secagg_round_*.json"))
BAD = sorted(DIRECTORY.glob("secagg_bad_*.json"))
Case = dict[str, Any]


class Package:
    """The package's parties for a vector's setting."""

    def __init__(self, case: Case) -> None:
        self.case, setting = case, case["setting"]
        self.params = SecAggParams(
            setting["n"],
            threshold=setting["t"],
            vectors=tuple(Vector(vector["name"], vector["b"], vector["d"]) for vector in setting["vectors"]),
            max_colluders=setting["a"],
            malicious=bool(setting["mode"]),
            min_survivors=setting["m"],
            degree=setting["k"],
            grinding_bits=0,
            levels=tuple(setting.get("levels", ())),
        )
        self.run_id = bytes.fromhex(setting["run_id"])
        self.identities = {
            int(i): SigningKey.from_seed(bytes.fromhex(seed)) for i, seed in setting["identities"].items()
        }
        self.roster = {i: identity.public for i, identity in self.identities.items()}
        self.clients: dict[int, Client] = {}
        self.server = Server(self.params, self.run_id, self.roster)

    def begin_client(self, i: int, opened: Case) -> None:
        if i not in self.clients:
            rand = Keystream(bytes.fromhex(self.case["entropy"][str(i)])).read
            self.clients[i] = Client(self.params, self.run_id, i, self.identities[i], self.roster, rand)
        self.clients[i].open_round(opened["round"], bytes.fromhex(opened["context"]))
        given = opened["vectors"][str(i)]
        self.clients[i].set_vectors({name: np.array(x, dtype=np.uint64) for name, x in given.items()})

    def answer(self, i: int, request: bytes) -> list[bytes]:
        return list(self.clients[i].handle(request))

    def begin_server(self, opened: Case) -> None:
        context = bytes.fromhex(opened["context"])
        self.server.open_round(opened["round"], context, invite=opened["invite"], prepare=opened["prepare"])

    def requests(self) -> dict[int, bytes]:
        return {i: self.server.request(i) for i in self.server.asked}

    def sums(self) -> dict[str, list[int]]:
        return {name: total.tolist() for name, total in self.server.result().vectors.items()}

    def level_secrets(self) -> dict[str, str]:
        found = self.server.result().level_secrets
        return {str(i): secret.hex() for i, secret in found.items()}

    @staticmethod
    def refusal(act: Callable[..., Any], *arguments: Any) -> str:
        try:
            act(*arguments)
        except DecodeError:
            return "decode"
        except ProtocolViolation as violation:
            return violation.clause
        return "accepted"


class Reference:
    """The reference's parties for a vector's setting."""

    def __init__(self, case: Case) -> None:
        self.case, self.setting = case, reference.Setting(case["setting"])
        self.clients: dict[int, reference.Client] = {}
        self.server = ReferenceServer(self.setting)

    def begin_client(self, i: int, opened: Case) -> None:
        if i not in self.clients:
            rand = rand_of(self.case["entropy"][str(i)])
            self.clients[i] = reference.Client(self.setting, i, rand)
        context = bytes.fromhex(opened["context"])
        self.clients[i].begin(opened["round"], context, opened["vectors"][str(i)])

    def answer(self, i: int, request: bytes) -> list[bytes]:
        return self.clients[i].handle(request)

    def begin_server(self, opened: Case) -> None:
        context = bytes.fromhex(opened["context"])
        self.server.begin(opened["round"], context, invite=opened["invite"], prepare=opened["prepare"])

    def requests(self) -> dict[int, bytes]:
        return self.server.requests()

    def sums(self) -> dict[str, list[int]]:
        assert self.server.sums is not None
        return self.server.sums

    def level_secrets(self) -> dict[str, str]:
        return {str(i): secret.hex() for i, secret in self.server.level_secrets.items()}

    @staticmethod
    def refusal(act: Callable[..., Any], *arguments: Any) -> str:
        try:
            act(*arguments)
        except Refused as refused:
            return refused.clause
        return "accepted"


SIDES = pytest.mark.parametrize("side", [Package, Reference])


def _name(path: Any) -> str:
    return str(path.stem)


def _read(path: Any) -> Case:
    case: Case = json.loads(path.read_text(encoding="utf-8"))
    return case


@SIDES
@pytest.mark.parametrize("path", ROUNDS, ids=_name)
def test_every_message_of_every_round_is_the_published_one(path: Any, side: Any) -> None:
    case = _read(path)
    parties = side(case)
    for played in case["rounds"]:
        _play(parties, played, bytes.hex)
        assert parties.sums() == played["sums"]
        assert parties.level_secrets() == played.get("level_secrets", {})


@SIDES
def test_every_message_of_an_upload_in_parts_is_the_published_one(side: Any) -> None:
    case = _read(DIRECTORY / "secagg_parts.json")
    parties = side(case)
    (played,) = case["rounds"]
    given = {i: by_rule(case["setting"], int(i)) for i in case["setting"]["identities"]}
    _play(parties, {**played, "vectors": given}, shown)
    sums = parties.sums()
    assert {name: shown_sum(total) for name, total in sums.items()} == played["sums"]
    both = zip(given["1"]["update"], given["3"]["update"], strict=True)
    assert sums["update"] == [sum(values) % 2**17 for values in both]


def _play(parties: Any, played: Case, show: Callable[[bytes], str | Case]) -> None:
    """One round, message by message, each compared in the form in which it is published."""
    parties.begin_server(played)
    for i in played["vectors"]:
        parties.begin_client(int(i), played)
    for stage in played["stages"]:
        assert {str(i): request.hex() for i, request in parties.requests().items()} == stage["requests"]
        for i, messages in stage["replies"].items():
            answer = parties.answer(int(i), bytes.fromhex(stage["requests"][i]))
            assert [show(message) for message in answer] == messages
            for message in answer:
                parties.server.receive(int(i), message)
        parties.server.advance()


@pytest.mark.parametrize("path", ROUNDS, ids=_name)
def test_the_published_sums_are_the_plain_sums(path: Any) -> None:
    case = _read(path)
    for played in case["rounds"]:
        uploaded = [played["vectors"][str(i)] for i in played["survivors"]]
        for vector in case["setting"]["vectors"]:
            columns = zip(*(given[vector["name"]] for given in uploaded), strict=True)
            assert played["sums"][vector["name"]] == [sum(column) % 2 ** vector["b"] for column in columns]


def test_the_published_level_secrets_are_one_chain_for_each_client_and_the_level_is_the_survivors() -> None:
    case = _read(DIRECTORY / "secagg_round_levels.json")
    levels, reached = case["setting"]["levels"], []
    for played in case["rounds"]:
        reached.append(played["level"])
        assert played["level"] == sum(level <= len(played["survivors"]) for level in levels)
        assert sorted(map(int, played["level_secrets"])) == (played["survivors"] if played["level"] else [])
    assert reached == [2, 1, 0]


@SIDES
@pytest.mark.parametrize("path", BAD, ids=_name)
def test_a_bad_message_is_refused_for_the_published_reason(path: Any, side: Any) -> None:
    case = _read(path)
    run = _read(DIRECTORY / f"{case['run']}.json")
    parties, message = side(run), bytes.fromhex(case["message"])
    if "client" in case:
        _bring_client(parties, run, case)
        assert parties.refusal(parties.answer, case["client"], message) == case["error"]
        return
    _bring_server(parties, run, case)
    if not case["at_closing"]:
        assert parties.refusal(parties.server.receive, case["from"], message) == case["error"]
        return
    parties.server.receive(case["from"], message)
    assert parties.refusal(parties.server.advance) == case["error"]


def _bring_client(parties: Any, run: Case, case: Case) -> None:
    """A client of a run to where it has answered all that came before the stage of the bad message."""
    client = str(case["client"])
    for played in run["rounds"]:
        if client in played["vectors"]:
            parties.begin_client(int(client), played)
        for stage in played["stages"]:
            if (played["round"], stage["stage"]) == (case["round"], case["stage"]):
                return
            if client in stage["replies"]:
                parties.answer(int(client), bytes.fromhex(stage["requests"][client]))
        if played["round"] == case["round"]:
            return


def _bring_server(parties: Any, run: Case, case: Case) -> None:
    """The server of a run into the stage of the bad message, where it has heard all others."""
    sender = str(case["from"])
    for played in run["rounds"]:
        parties.begin_server(played)
        for stage in played["stages"]:
            here = (played["round"], stage["stage"]) == (case["round"], case["stage"])
            for i, messages in stage["replies"].items():
                for message in messages[: case["heard"]] if here and i == sender else messages:
                    parties.server.receive(int(i), bytes.fromhex(message))
            if here:
                return
            parties.server.advance()


@pytest.mark.parametrize("place", range(3))
def test_masks_are_the_published_words(place: int) -> None:
    case = _read(DIRECTORY / "secagg_masks.json")
    made = case["masks"][place]
    mask = np.zeros(made["d"], word_dtype(made["b"]))
    add_masks(mask, [(bytes.fromhex(case["key"]), False)])
    mask &= mask.dtype.type(2 ** made["b"] - 1)
    for piece in made["pieces"]:
        assert mask[piece["first"] :][:4].tolist() == piece["words"]
    assert hashlib.sha256(mask.tobytes()).hexdigest() == made["sha256"]


def test_the_files_are_what_the_reference_writes() -> None:
    written = {path.stem: _read(path) for path in DIRECTORY.glob("secagg_*.json")}
    made = json.loads(json.dumps(cases()))
    assert written.keys() == made.keys()
    assert [name for name in made if made[name] != written[name]] == []
