"""Clients and holders of the summation under CKKS, written from protocols/ckks/ and nothing else.

Each takes a request and gives its reply, as maps; `ckks` has what they compute.  A refusal is `Refused` with
the clause that the message breaks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from reference import ckks
from reference.ckks_primitives import D, Rows, add, gauss, pack_rows, residues, ternary, times, unpack_rows
from reference.secagg_primitives import (
    dh,
    frame,
    hash_,
    identity_public,
    is_good_key,
    is_signed,
    sign,
    u32,
    u64,
    x25519_public,
)
from reference.secagg_wire import Message, Refused, require

Rand = Callable[[int], bytes]
Subset = tuple[int, ...]


class Agreed:
    """What was agreed beforehand for a run, as in the vectors' ``setting`` (section 1, and parameters.md)."""

    def __init__(self, setting: dict[str, Any]) -> None:
        parameters = setting["parameters"]
        self.identities = {int(i): bytes.fromhex(seed) for i, seed in setting["identities"].items()}
        self.roster = {i: identity_public(seed) for i, seed in sorted(self.identities.items())}
        self.n, self.m, self.t = (parameters[name] for name in ("clients", "min_survivors", "threshold"))
        self.holders, self.malicious = parameters["holders"], parameters["malicious"]
        self.sums_per_key, self.variance = parameters["sums_per_key"], parameters["flood_variance"]
        primes = (parameters["noise_prime"], *parameters["message_primes"])
        self.ring = ckks.Ring(parameters["degree"], primes, parameters["special_prime"])
        self.layout = ckks.Layout(
            self.ring, self.n, parameters["bound"], parameters["digits"], parameters["dimension"]
        )
        self.subsets = ckks.subsets(self.holders, self.t)
        canonical = json.dumps(parameters, separators=(",", ":"), sort_keys=True).encode()
        self.session = ckks.session_of(bytes.fromhex(setting["run_id"]), canonical, self.roster)

    def signed(self, i: int, word: str, statement: bytes, signature: bytes) -> bool:
        return i in self.roster and is_signed(self.roster[i], f"{D} {word}", statement, signature)

    def first(self, data: bytes, chunk: int) -> Rows:
        return self._rows(data, self.ring.q, self.layout.used(chunk))

    def second(self, data: bytes) -> Rows:
        return self._rows(data, self.ring.q, self.ring.degree)

    def public(self, data: bytes) -> Rows:
        return self._rows(data, self.ring.key_q, self.ring.degree)

    def nothing(self) -> bytes:
        return pack_rows([[0] * self.ring.degree for _ in self.ring.key_q], self.ring.key_q)

    @staticmethod
    def _rows(data: bytes, primes: list[int], coefficients: int) -> Rows:
        return unpack_rows(data, primes, coefficients)


class Client:
    """A client; its encryptions are textbook ones, from seeds of its own."""

    def __init__(self, agreed: Agreed, i: int) -> None:
        self.agreed, self.i = agreed, i
        self.key: tuple[bytes, Rows, Rows] | None = None

    def begin(self, round_: int, context: bytes, values: list[int], seeds: list[list[bytes]]) -> None:
        """``seeds``: for each chunk those of u, e_0 and e_1."""
        self.round, self.context, self.values, self.seeds = round_, context, values, seeds
        self.uploaded = False

    def upload(self, message: Message) -> list[Message]:
        """To an upload-request: the chunks, then the seal."""
        agreed, layout, ring = self.agreed, self.agreed.layout, self.agreed.ring
        require(not self.uploaded, "CK-11")
        require(message["round"] == self.round, "CK-17")
        if message["key"] is not None:
            self.key = self.accepted(message["key"])
        require(self.key is not None, "CK-9")
        assert self.key is not None
        name, b, a = self.key
        head = {"sender": self.i, "round": self.round}
        chunks = []
        for chunk, seeds in enumerate(self.seeds):
            start = chunk * layout.per_chunk
            placed = layout.place(self.values[start : start + layout.values_in(chunk)])
            u, errors = ternary(seeds[0], ring.degree), [gauss(seed, 11, ring.degree) for seed in seeds[1:]]
            c_0, c_1 = ckks.encrypt_zero((b, a), u, errors, ring)
            chunks.append((pack_rows(ckks.put(c_0, placed, ring), ring.q), pack_rows(c_1, ring.q)))
        digests = ckks.digests(chunks)
        statement = ckks.upload_statement(agreed.session, self.round, self.context, name, digests)
        seal = {
            "client": self.i,
            "digests": digests,
            "signature": ckks.sign_upload(agreed.identities[self.i], statement),
        }
        self.uploaded = True
        sent = [
            {"type": "upload-chunk", **head, "chunk": chunk, "first": c_0, "second": c_1}
            for chunk, (c_0, c_1) in enumerate(chunks)
        ]
        return [*sent, {"type": "upload-seal", **head, "seal": seal}]

    def accepted(self, key: Message) -> tuple[bytes, Rows, Rows]:
        """CK-9."""
        agreed, members = self.agreed, key["members"]
        require(set(members) <= set(agreed.holders) and len(members) >= agreed.t, "CK-9")
        require(len(key["signatures"]) >= agreed.t, "CK-9")
        b = agreed.public(key["public"])
        name = ckks.key_name(agreed.session, key["number"], members, key["public"])
        for j, signature in key["signatures"]:
            require(j in members and agreed.signed(j, "key", name, signature), "CK-9")
        a = ckks.common(agreed.session, key["number"], agreed.ring)
        return name, b, a


class Holder:
    """A holder, from the first request of a key to the opening of sums."""

    def __init__(self, agreed: Agreed, i: int, rand: Rand) -> None:
        self.agreed, self.i, self.rand = agreed, i, rand
        self.own = [A for A in agreed.subsets if i in A]
        self.number, self.last_round = 0, -1
        self.key = b""
        self.opened = 0
        self.sum: dict[str, Any] | None = None
        self.base: dict[Subset, bytes] = {}

    def begin(self, round_: int, context: bytes) -> None:
        self.round, self.context, self.sum = round_, context, None

    def handle(self, message: Message) -> Message:
        kind = message["type"].removesuffix("-request")
        reply: Message = getattr(self, kind)(message)
        return {"type": f"{kind}-reply", "sender": self.i, **reply}

    def sign(self, word: str, statement: bytes) -> bytes:
        return sign(self.agreed.identities[self.i], f"{D} {word}", statement)

    # Section 5.

    def advertise(self, message: Message) -> Message:
        require(message["number"] > self.number, "CK-7")
        self.number, self.c, self.base = message["number"], self.rand(32), {}
        public = x25519_public(self.c)
        statement = frame(self.agreed.session, u64(self.number), public)
        return {"key": public, "signature": self.sign("advertise", statement)}

    def deal(self, message: Message) -> Message:
        agreed = self.agreed
        keys = {j: key for j, key, _ in message["keys"]}
        require(message["number"] == self.number, "CK-7")
        require(len(keys) >= agreed.t and keys.get(self.i) == x25519_public(self.c), "CK-5")
        require(len(set(keys.values())) == len(keys) and all(map(is_good_key, keys.values())), "CK-5")
        for j, key, signature in message["keys"]:
            statement = frame(agreed.session, u64(self.number), key)
            require(j in agreed.holders and agreed.signed(j, "advertise", statement, signature), "CK-5")
        self.keys, self.dealt = keys, {A: self.rand(32) for A in self.own}
        shares = []
        for j in sorted(keys):
            plain = b"".join(self.dealt[A] for A in self.own if j in A)
            if j != self.i and plain:
                nonce, (key, data) = self.rand(12), self.between(self.i, j)
                shares.append([j, nonce + AESGCM(key).encrypt(nonce, plain, data)])
        return {"shares": shares}

    def between(self, source: int, destination: int) -> tuple[bytes, bytes]:
        session, number = self.agreed.session, self.number
        peer = self.keys[destination if source == self.i else source]
        ends = b"deal", u64(number), u32(source), u32(destination)
        return ckks.deal_key(dh(self.c, peer), session, number, source, destination), frame(session, *ends)

    def commit(self, message: Message) -> Message:
        agreed, members = self.agreed, message["members"]
        require(self.i in members and set(members) <= set(agreed.holders), "CK-6")
        require(len(members) >= agreed.t, "CK-6")
        if self.base:
            require(message["number"] > self.number, "CK-7")
            require(not message["shares"] and set(members) <= set(self.members), "CK-7")
            self.number = message["number"]
            self.secrets = {A: ckks.again(k, self.number) for A, k in self.base.items()}
        else:
            require(message["number"] == self.number, "CK-7")
            require(set(members) <= set(self.keys), "CK-6")
            self.base = self.secrets = self.received(members, dict(message["shares"]))
            self.dealers, self.dealt_in = members, self.number
        self.members, ring = members, agreed.ring
        led = [A for A in self.own if min(set(A) & set(members)) == self.i]
        a = ckks.common(agreed.session, self.number, ring)
        total = agreed.public(agreed.nothing())
        for A in led:
            total = add(total, ckks.part(a, self.secrets[A], ring), ring.key_q)
        self.part, self.leads = pack_rows(total, ring.key_q), bool(led)
        committed = self.commitment(self.i, self.part)
        return {"commitment": committed, "signature": self.sign("commit", self.committed(committed))}

    def received(self, members: list[int], shares: Mapping[int, bytes]) -> dict[Subset, bytes]:
        """k_A of each own subset."""
        wanted = {j for j in members if j != self.i and any(j in A for A in self.own)}
        require(set(shares) == wanted, "CK-6")
        dealt = {self.i: self.dealt}
        for j, sealed in shares.items():
            key, data = self.between(j, self.i)
            try:
                plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], data)
            except (InvalidTag, ValueError):
                raise Refused("decode") from None
            both = [A for A in self.own if j in A]
            require(len(plain) == 32 * len(both), "decode")
            dealt[j] = {A: plain[32 * k : 32 * k + 32] for k, A in enumerate(both)}
        return {
            A: ckks.subset_secret(
                self.agreed.session, self.number, A, {j: dealt[j][A] for j in A if j in members}
            )
            for A in self.own
        }

    def commitment(self, j: int, part: bytes) -> bytes:
        return ckks.commitment(self.agreed.session, self.number, self.members, j, part)

    def committed(self, commitment: bytes) -> bytes:
        members, dealers = ckks.numbers(self.members), ckks.numbers(self.dealers)
        return frame(self.agreed.session, u64(self.number), members, u64(self.dealt_in), dealers, commitment)

    def reveal(self, message: Message) -> Message:
        shown = {j: commitment for j, commitment, _ in message["commitments"]}
        require(message["number"] == self.number, "CK-7")
        require(sorted(shown) == sorted(self.members), "CK-6")
        require(shown[self.i] == self.commitment(self.i, self.part), "CK-6")
        for j, commitment, signature in message["commitments"]:
            require(self.agreed.signed(j, "commit", self.committed(commitment), signature), "CK-6")
        self.commitments = shown
        return {"part": self.part if self.leads else b""}

    def confirm(self, message: Message) -> Message:
        agreed, ring = self.agreed, self.agreed.ring
        if len(agreed.holders) == 1:
            return self.confirm_alone(message)
        parts = {j: part or agreed.nothing() for j, part in message["parts"]}
        require(message["number"] == self.number, "CK-7")
        require(sorted(parts) == sorted(self.members), "CK-8")
        require(all(self.commitment(j, part) == self.commitments[j] for j, part in parts.items()), "CK-8")
        b = agreed.public(agreed.nothing())
        for part in parts.values():
            b = add(b, agreed.public(part), ring.key_q)
        return {"public": b"", "signature": self.named(pack_rows(b, ring.key_q))}

    def confirm_alone(self, message: Message) -> Message:
        require(message["number"] > self.number, "CK-7")
        require(not message["parts"], "CK-8")
        agreed, ring, (A,) = self.agreed, self.agreed.ring, self.own
        self.number, self.members = message["number"], [self.i]
        secret = ckks.subset_secret(agreed.session, self.number, A, {self.i: self.rand(32)})
        self.secrets = {A: secret}
        b = ckks.part(ckks.common(agreed.session, self.number, ring), secret, ring)
        packed = pack_rows(b, ring.key_q)
        return {"public": packed, "signature": self.named(packed)}

    def named(self, packed: bytes) -> bytes:
        """The signature of the key's name; the key can be used from here on."""
        agreed = self.agreed
        self.key, self.opened = ckks.key_name(agreed.session, self.number, self.members, packed), 0
        self.share = ckks.share(agreed.holders, self.secrets, self.i, agreed.ring)
        return self.sign("key", self.key)

    # Section 6.

    def open(self, message: Message) -> Message:
        layout = self.agreed.layout
        require(message["round"] == self.round, "CK-13")
        require(message["key"] == self.key, "CK-12")
        begun = self.sum or self.begin_sum(message["seals"])
        require(not message["seals"] or message["seals"] == begun["seals"], "CK-13")
        wanted = range(message["chunk"], message["chunk"] + len(message["chunks"]))
        require(bool(wanted) and wanted.stop <= layout.chunks, "CK-15")
        require(not set(wanted) & begun["answered"], "CK-15")
        answers = [
            self.answer(begun, k, first, seconds)
            for k, (first, seconds) in zip(wanted, message["chunks"], strict=True)
        ]
        if self.sum is None:
            self.sum, self.last_round, self.opened = begun, self.round, self.opened + 1
        begun["answered"] |= set(wanted)
        return {"round": self.round, "chunk": message["chunk"], "answers": answers}

    def begin_sum(self, seals: list[Message]) -> dict[str, Any]:
        agreed = self.agreed
        clients = [seal["client"] for seal in seals]
        require(clients == sorted(set(clients)), "CK-12")
        require(len(clients) >= agreed.m and set(clients) <= set(range(1, agreed.n + 1)), "CK-12")
        for seal in seals:
            require(len(seal["digests"]) == 64 * agreed.layout.chunks, "CK-12")
            statement = ckks.upload_statement(
                agreed.session, self.round, self.context, self.key, seal["digests"]
            )
            require(agreed.signed(seal["client"], "upload", statement, seal["signature"]), "CK-12")
        require(self.round > self.last_round, "CK-13")
        require(self.opened < agreed.sums_per_key, "CK-14")
        return {"seals": seals, "answered": set()}

    def answer(self, begun: dict[str, Any], chunk: int, first: bytes, seconds: list[bytes]) -> bytes:
        agreed, ring, layout = self.agreed, self.agreed.ring, self.agreed.layout
        if agreed.malicious:
            digests = [seal["digests"][64 * chunk + 32 : 64 * chunk + 64] for seal in begun["seals"]]
            require([hash_(f"{D} second", data) for data in seconds] == digests, "CK-12")
        else:
            require(len(seconds) == 1, "CK-12")
        c_1 = agreed.second(seconds[0])
        for data in seconds[1:]:
            c_1 = add(c_1, agreed.second(data), ring.q)
        if agreed.t == 1:
            secret = ckks.secret_of(self.secrets[self.own[0]], ring)
            product = times(c_1, residues(secret, ring.q), ring.q)
            noise, rows = ckks.opened(agreed.first(first, chunk), product, ring)
            try:
                ckks.check_noise(noise, ring)
                return layout.answer(layout.read(rows, layout.values_in(chunk)))
            except Refused:
                self.key, self.secrets = b"", {}  # nothing more is learnt of it
                raise
        require(first == b"", "CK-12")
        multiplied = hash_(f"{D} second", pack_rows(c_1, ring.q))
        floods = {
            A: ckks.flood(k, self.round, multiplied, chunk, agreed.variance, ring)
            for A, k in self.secrets.items()
        }
        d = ckks.partial(agreed.holders, floods, self.share, self.i, c_1, ring)
        return pack_rows([row[: layout.used(chunk)] for row in d], ring.q)


def open_sum(agreed: Agreed, firsts: list[bytes], answers: Mapping[int, list[bytes]]) -> list[int]:
    """The server's last step: the sums from the packed sums of c_0 and t holders' answers, a chunk each."""
    ring, layout, sums = agreed.ring, agreed.layout, []
    for chunk, first in enumerate(firsts):
        if agreed.t == 1:
            ((data, *_),) = [chunks[chunk : chunk + 1] for chunks in answers.values()]
            sums += layout.answered(data, layout.values_in(chunk))
            continue
        parts = {j: agreed.first(chunks[chunk], chunk) for j, chunks in answers.items()}
        noise, rows = ckks.opened(agreed.first(first, chunk), ckks.combine(agreed.holders, parts, ring), ring)
        ckks.check_noise(noise, ring)
        sums += layout.read(rows, layout.values_in(chunk))
    return sums
