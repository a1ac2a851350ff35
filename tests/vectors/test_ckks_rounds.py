"""Whole rounds of the summation under CKKS against the published vectors.

Server and holders say the same, byte for byte; only what clients encrypt differs, as SEAL's randomness does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference import ckks as reference
from reference import ckks_round as reference_round
from reference.ckks_primitives import residues, times
from reference.ckks_wire import packed, unpacked_request
from reference.secagg_wire import Refused, unpack_message
from vectors.ckks_bad_vectors import changed
from vectors.ckks_play import Play, pack_values, rand_of, seeds_of, shown, vector
from vectors.ckks_vectors import DIRECTORY, cases, plays

from fedpriv.ckks import CkksParams, Client, Holder, Server
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.ring_params import RingParams
from fedpriv.crypto import Keystream, SigningKey
from fedpriv.errors import DecodeError, ProtocolViolation

Case = dict[str, Any]

ROUNDS = sorted(DIRECTORY.glob("ckks_round_*.json"))
BAD = sorted(DIRECTORY.glob("ckks_bad_*.json"))


def _name(path: Any) -> str:
    return str(path.stem)


def _read(path: Any) -> Case:
    case: Case = json.loads(path.read_text(encoding="utf-8"))
    return case


class Package:
    """The package's parties for a run."""

    def __init__(self, play: Play) -> None:
        given, slow = dict(play.parameters), play.agreed.ring
        ring = RingParams(slow.degree, slow.primes[0], slow.primes[1:], slow.special)
        for name in ("version", "degree", "noise_prime", "message_primes", "special_prime"):
            del given[name]
        given["holders"] = tuple(given["holders"])
        self.params = CkksParams(**given, ring=ring)
        self.play, self.run_id = play, bytes.fromhex(play.setting["run_id"])
        self.identities = {i: SigningKey.from_seed(seed) for i, seed in play.agreed.identities.items()}
        self.roster = {i: identity.public for i, identity in self.identities.items()}
        self.ring = Ring(ring)

    def server(self) -> Server:
        return Server(self.params, self.run_id, self.roster)

    def holder(self, j: int) -> Holder:
        rand = Keystream(self.play.entropy[j]).read
        return Holder(self.params, self.run_id, j, self.identities[j], self.roster, rand, ring=self.ring)

    def client(self, i: int) -> Client:
        def rand(count: int) -> bytes:
            raise AssertionError("a client that is no holder draws nothing")

        identity = self.identities[i]
        return Client(self.params, self.run_id, i, identity, self.roster, rand, ring=self.ring)

    def begin(self, party: Any, number: int, context: bytes, i: int) -> None:
        party.open_round(number, context)
        if isinstance(party, Client):
            party.set_vectors(np.array(self.values(number, i)))

    def values(self, number: int, i: int) -> list[int]:
        layout = self.play.agreed.layout
        return vector(f"{self.play.name} {number}", i, layout.bound, layout.dimension)

    def answer(self, party: Any, request: bytes) -> list[bytes]:
        return list(party.handle(request))

    @staticmethod
    def refusal(act: Callable[..., Any], *arguments: Any) -> str:
        try:
            act(*arguments)
        except DecodeError:
            return "decode"
        except ProtocolViolation as violation:
            return violation.clause
        return "accepted"


class Reference(Package):
    """The reference's parties for a run, played again."""

    def holder(self, j: int) -> Any:
        return reference_round.Holder(self.play.agreed, j, rand_of(self.play.entropy[j]))

    def client(self, i: int) -> Any:
        return reference_round.Client(self.play.agreed, i)

    def begin(self, party: Any, number: int, context: bytes, i: int) -> None:
        if isinstance(party, reference_round.Holder):
            party.begin(number, context)
            return
        seeds = seeds_of(self.play.name, number, i, self.play.agreed.layout.chunks)
        party.begin(number, context, self.values(number, i), seeds)

    def answer(self, party: Any, request: bytes) -> list[bytes]:
        message = unpacked_request(request, self.play.agreed.session)
        replies = party.upload(message) if message["type"] == "upload-request" else [party.handle(message)]
        return [packed(reply, self.play.agreed.session) for reply in replies]

    @staticmethod
    def refusal(act: Callable[..., Any], *arguments: Any) -> str:
        try:
            act(*arguments)
        except Refused as refused:
            return refused.clause
        return "accepted"


@pytest.fixture(scope="module")
def played() -> dict[str, Play]:
    return plays()


@pytest.mark.parametrize("name", [path.stem.removeprefix("ckks_round_") for path in ROUNDS])
def test_every_request_and_every_holders_reply_of_a_round_is_the_published_one(
    name: str, played: dict[str, Play]
) -> None:
    package, case = Package(played[name]), _read(DIRECTORY / f"ckks_round_{name}.json")
    server, holders = package.server(), {j: package.holder(j) for j in played[name].holders}
    for published in case["rounds"]:
        number, context = published["round"], bytes.fromhex(published["context"])
        parties: tuple[Server | Holder, ...] = (server, *holders.values())
        for party in parties:
            party.open_round(number, context)
        stages = [stage for stage in played[name].sent if stage[0] == number]
        for shown_stage, (_, stage, requests, replies) in zip(published["stages"], stages, strict=True):
            assert server.stage == stage == shown_stage["stage"]
            made = {i: server.request(i) for i in server.asked}
            assert {str(i): shown(request) for i, request in made.items()} == shown_stage["requests"]
            for i, messages in replies.items():
                if stage != "upload":  # SEAL's randomness is not the reference's
                    assert package.answer(holders[i], requests[i]) == messages
                assert [shown(message) for message in messages] == shown_stage["replies"][str(i)]
                for message in messages:
                    server.receive(i, message)
            server.advance()
        result = server.result()
        layout = played[name].agreed.layout
        assert list(result.survivors) == published["survivors"]
        assert pack_values(result.values.tolist(), layout.n * layout.bound) == published["sum"]


@pytest.mark.parametrize("name", [path.stem.removeprefix("ckks_round_") for path in ROUNDS])
def test_what_the_packages_clients_upload_opens_under_the_references_key(
    name: str, played: dict[str, Play]
) -> None:
    play = played[name]
    package, ring, layout = Package(play), play.agreed.ring, play.agreed.layout
    number, _, requests, replies = next(stage for stage in play.sent if stage[1] == "upload")
    context = bytes.fromhex(play.rounds[0]["context"])
    assert play.key is not None
    makers = [play.holders[j] for j in play.key["members"]]
    s = [0] * ring.degree
    for secret in {A: k for holder in makers for A, k in holder.secrets.items()}.values():
        s = [x + y for x, y in zip(s, reference.secret_of(secret, ring), strict=True)]
    i = max(replies)
    client = package.client(i)
    package.begin(client, number, context, i)
    *chunks, seal = (unpack_message(message) for message in package.answer(client, requests[i]))
    values: list[int] = []
    for k, chunk in enumerate(chunks):
        product = times(play.agreed.second(chunk["second"]), residues(s, ring.q), ring.q)
        noise, rows = reference.opened(play.agreed.first(chunk["first"], k), product, ring)
        reference.check_noise(noise, ring)
        values += layout.read(rows, layout.values_in(k))
    assert values == package.values(number, i)
    digests = reference.digests([(chunk["first"], chunk["second"]) for chunk in chunks])
    key = reference.key_name(
        play.agreed.session, *(play.key[part] for part in ("number", "members", "public"))
    )
    statement = reference.upload_statement(play.agreed.session, number, context, key, digests)
    assert seal["seal"]["digests"] == digests
    assert play.agreed.signed(i, "upload", statement, seal["seal"]["signature"])


@pytest.mark.parametrize("side", [Package, Reference])
@pytest.mark.parametrize("path", BAD, ids=_name)
def test_a_bad_request_is_refused_for_the_published_reason(
    path: Any, side: Any, played: dict[str, Play]
) -> None:
    case = _read(path)
    play, i = played[case["run"].removeprefix("ckks_round_")], case["party"]
    parties = side(play)
    party = (parties.client if case["stage"] == "upload" else parties.holder)(i)
    kind, turn = type(party).__name__, 0
    for published in play.rounds:
        parties.begin(party, published["round"], bytes.fromhex(published["context"]), i)
        for number, stage, requests, _ in play.sent:
            if number != published["round"] or (stage == "upload") != (kind == "Client"):
                continue
            here = (number, stage) == (case["round"], case["stage"])
            if i not in requests:
                continue
            if here and turn == case["turn"]:
                if case["after"]:
                    parties.answer(party, requests[i])
                request = changed(requests[i], case["changes"])
                assert parties.refusal(parties.answer, party, request) == case["error"]
                return
            turn += here
            parties.answer(party, requests[i])
    pytest.fail("the message is in no round")


@pytest.mark.slow
def test_the_files_are_what_the_reference_writes(played: dict[str, Play]) -> None:
    made = json.loads(json.dumps(cases(played)))
    written = {path.stem: _read(path) for path in DIRECTORY.glob("ckks_*.json")}
    assert written.keys() == made.keys()
    assert [name for name in made if made[name] != written[name]] == []
