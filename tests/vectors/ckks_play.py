"""Runs of the reference whose every byte is decided by their name: what the vectors of rounds are made of."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from reference import ckks
from reference.ckks_primitives import Rows, add, pack, pack_rows, unpack
from reference.ckks_round import Agreed, Client, Holder, open_sum
from reference.ckks_wire import packed, unpacked_request
from reference.secagg_primitives import hash_, keystream
from reference.secagg_wire import Message

Case = dict[str, Any]
LONG = 1024  # a longer message is shown by its length and hash


def tag(*words: object) -> bytes:
    """32 bytes that nobody chose."""
    return hash_("fedpriv vectors", b"ckks", *(str(word).encode() for word in words))


def rand_of(key: bytes) -> Any:
    """The bytes of the AES-256-CTR stream of a key, zero counter, one piece after the other."""
    stream, position = keystream(key, 65536), 0

    def rand(count: int) -> bytes:
        nonlocal position
        position += count
        return stream[position - count : position]

    return rand


def vector(name: str, i: int, bound: int, dimension: int) -> list[int]:
    """A client's values: some at the ends of the range."""
    draw = random.Random(tag(name, "values", i))
    return [draw.choice((-bound, bound, draw.randint(-bound, bound))) for _ in range(dimension)]


def pack_values(values: Sequence[int], bound: int) -> str:
    return pack([value + bound for value in values], (2 * bound).bit_length()).hex()


def unpack_values(text: str, bound: int, dimension: int) -> list[int]:
    packed = unpack(bytes.fromhex(text), (2 * bound).bit_length(), dimension)
    return [value - bound for value in packed]


def seeds_of(name: str, round_: int, i: int, chunks: int) -> list[list[bytes]]:
    """For each chunk the seeds of u, e_0 and e_1."""
    return [[tag(name, round_, i, chunk, word) for word in ("u", "e_0", "e_1")] for chunk in range(chunks)]


def shown(data: bytes) -> Any:
    if len(data) <= LONG:
        return data.hex()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


class Play:
    """One run of the reference; each `round` goes on from the one before."""

    def __init__(self, name: str, about: str, parameters: Case) -> None:
        self.name, self.about, self.parameters = name, about, {"version": 1, **parameters}
        parties = sorted({*range(1, parameters["clients"] + 1), *parameters["holders"]})
        self.setting = {
            "parameters": self.parameters,
            "run_id": tag(name, "run")[:16].hex(),
            "identities": {str(i): tag(name, "identity", i).hex() for i in parties},
        }
        self.agreed = Agreed(self.setting)
        self.entropy = {j: tag(name, "entropy", j) for j in self.agreed.holders}
        self.holders = {j: Holder(self.agreed, j, rand_of(self.entropy[j])) for j in self.agreed.holders}
        self.clients = {i: Client(self.agreed, i) for i in range(1, self.agreed.n + 1)}
        self.key: Message | None = None
        self.number = 0
        self.rounds: list[Case] = []
        self.sent: list[tuple[int, str, dict[int, bytes], dict[int, list[bytes]]]] = []  # in full

    def round(self, number: int, lost: Mapping[int, str] | None = None) -> Self:
        """Play one round; ``lost`` says before which stage's reply a party vanishes for the round."""
        self.number_of_round, self.lost, self.stages = number, lost or {}, []
        context = tag(self.name, "context", number)
        layout = self.agreed.layout
        values = {i: vector(f"{self.name} {number}", i, layout.bound, layout.dimension) for i in self.clients}
        for j in self.holders:
            self.holders[j].begin(number, context)
        for i, client in self.clients.items():
            client.begin(number, context, values[i], seeds_of(self.name, number, i, layout.chunks))
        self.gone: set[int] = set()
        shown_key = self.key is None
        if self.key is None:
            self.key = self.make_key()
        request = {"type": "upload-request", "round": number, "key": self.key if shown_key else None}
        uploads = self.stage("upload", dict.fromkeys(self.clients, request))
        sums = self.open(number, uploads)
        self.rounds.append(
            {
                "round": number,
                "context": context.hex(),
                "values": {str(i): pack_values(x, layout.bound) for i, x in values.items()},
                "lost": {str(i): stage for i, stage in self.lost.items()},
                "stages": self.stages,
                "survivors": sorted(uploads),
                "sum": pack_values(sums, layout.n * layout.bound),
            }
        )
        assert sums == [sum(column) for column in zip(*(values[i] for i in uploads), strict=True)]
        return self

    def stage(self, stage: str, requests: Mapping[int, Message]) -> dict[int, list[Message]]:
        """Ask the parties that are there; those that vanish are asked, and do not answer."""
        self.gone |= {i for i, when in self.lost.items() if when == stage}
        asked = {i: packed(message, self.agreed.session) for i, message in requests.items()}
        replies = {
            i: self.replied(i, unpacked_request(asked[i], self.agreed.session))
            for i in sorted(asked)
            if i not in self.gone
        }
        sent = {
            i: [packed(message, self.agreed.session) for message in messages]
            for i, messages in replies.items()
        }
        self.sent.append((self.number_of_round, stage, asked, sent))
        self.stages.append(
            {
                "stage": stage,
                "requests": {str(i): shown(data) for i, data in sorted(asked.items())},
                "replies": {str(i): list(map(shown, messages)) for i, messages in sent.items()},
            }
        )
        return replies

    def replied(self, i: int, message: Message) -> list[Message]:
        if message["type"] == "upload-request":
            return self.clients[i].upload(message)
        return [self.holders[i].handle(message)]

    def make_key(self) -> Message:
        self.number += 1
        if len(self.holders) == 1:
            return self.confirmed([], [self.agreed.holders[0]])
        agreed, number = self.agreed, {"number": self.number}
        here = [j for j in self.holders if j not in self.gone]
        request: Message = {"type": "advertise-request", **number}
        advertised = self.stage("advertise", dict.fromkeys(here, request))
        keys = [[j, reply["key"], reply["signature"]] for j, (reply,) in sorted(advertised.items())]
        request = {"type": "deal-request", **number, "keys": keys}
        dealt = self.stage("deal", dict.fromkeys(sorted(advertised), request))
        members = sorted(dealt)
        boxes = {j: [[i, dict(dealt[i][0]["shares"]).get(j)] for i in members] for j in members}
        shares = {j: [[i, box] for i, box in found if box is not None] for j, found in boxes.items()}
        while True:
            requests = {
                j: {
                    "type": "commit-request",
                    "number": self.number,
                    "members": members,
                    "shares": shares[j],
                }
                for j in members
            }
            committed = self.stage("commit", requests)
            if sorted(committed) == members:
                commitments = [
                    [j, reply["commitment"], reply["signature"]] for j, (reply,) in committed.items()
                ]
                request = {"type": "reveal-request", "number": self.number, "commitments": commitments}
                revealed = self.stage("reveal", dict.fromkeys(members, request))
                if sorted(revealed) == members:
                    return self.confirmed([[j, reply["part"]] for j, (reply,) in revealed.items()], members)
                committed = revealed
            members, self.number = sorted(committed), self.number + 1
            assert len(members) >= agreed.t
            shares = {j: [] for j in members}

    def confirmed(self, parts: list[list[Any]], members: list[int]) -> Message:
        agreed = self.agreed
        request = {"type": "confirm-request", "number": self.number, "parts": parts}
        replies = self.stage("confirm", dict.fromkeys(members, request))
        rows: list[Rows] = [agreed.public(part) for _, part in parts if part]
        public = next(iter(replies.values()))[0]["public"]
        if rows:
            total = rows[0]
            for part in rows[1:]:
                total = add(total, part, agreed.ring.key_q)
            public = pack_rows(total, agreed.ring.key_q)
        return {
            "number": self.number,
            "members": members,
            "public": public,
            "signatures": [[j, reply["signature"]] for j, (reply,) in sorted(replies.items())],
        }

    def open(self, number: int, uploads: Mapping[int, list[Message]]) -> list[int]:
        agreed, ring = self.agreed, self.agreed.ring
        assert self.key is not None
        firsts, chunks = [], []
        for chunk in range(agreed.layout.chunks):
            sent = [uploads[i][chunk] for i in sorted(uploads)]
            first = agreed.first(sent[0]["first"], chunk)
            second = agreed.second(sent[0]["second"])
            for message in sent[1:]:
                first = add(first, agreed.first(message["first"], chunk), ring.q)
                second = add(second, agreed.second(message["second"]), ring.q)
            firsts.append(pack_rows(first, ring.q))
            seconds = [message["second"] for message in sent]
            if not agreed.malicious:
                seconds = [pack_rows(second, ring.q)]
            chunks.append([firsts[-1] if agreed.t == 1 else b"", seconds])
        key = ckks.key_name(agreed.session, self.key["number"], self.key["members"], self.key["public"])
        request = {
            "type": "open-request",
            "round": number,
            "key": key,
            "seals": [uploads[i][-1]["seal"] for i in sorted(uploads)],
            "chunk": 0,
            "chunks": chunks,
        }
        able: Collection[int] = [j for j, _ in self.key["signatures"] if j not in self.gone]
        if agreed.t == 1:
            able = [next(j for j in able if self.lost.get(j) != "open")]
        replies = self.stage("open", dict.fromkeys(able, request))
        first_t = {j: reply["answers"] for j, (reply,) in sorted(replies.items())[: agreed.t]}
        return open_sum(agreed, firsts, first_t)

    def case(self) -> Case:
        return {
            "about": self.about,
            "setting": self.setting,
            "entropy": {str(j): key.hex() for j, key in self.entropy.items()},
            "rounds": self.rounds,
        }
