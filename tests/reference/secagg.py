"""The secure summation protocol once more, written from protocols/secagg/spec.md and nothing else.

Slow and obvious on purpose: Python integers, one function for one line of the spec, MessagePack by hand.  It
shares no code with the package, so that the two can only agree where the spec says so.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from reference.secagg_wire import Message, Refused, check_shape, pack_message, require, unpack_message

N = "fedpriv secagg v1"
P = 2**256 + 297


# Section 2: notation and primitives


def u32(x: int) -> bytes:
    return x.to_bytes(4, "big")


def u64(x: int) -> bytes:
    return x.to_bytes(8, "big")


def frame(*parts: bytes) -> bytes:
    return b"".join(u64(len(part)) + part for part in parts)


def hash_(domain: str, *parts: bytes) -> bytes:
    return hashlib.sha256(frame(domain.encode(), *parts)).digest()


def sign(seed: bytes, domain: str, message: bytes) -> bytes:
    signed = frame(b"fedpriv signature v1", domain.encode(), message)
    return Ed25519PrivateKey.from_private_bytes(seed).sign(signed)


def is_signed(public: bytes, domain: str, message: bytes, signature: bytes) -> bool:
    signed = frame(b"fedpriv signature v1", domain.encode(), message)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def identity_public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def x25519_public(seed: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def dh(seed: bytes, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(seed).exchange(X25519PublicKey.from_public_bytes(public))


def is_good_key(public: bytes) -> bool:
    """Below 2^255 - 19, and agreement with it does not give zero."""
    if int.from_bytes(public, "little") >= 2**255 - 19:
        return False
    try:
        dh(bytes(range(32)), public)
    except ValueError:
        return False
    return True


def kdf(secret: bytes, salt: bytes, *parts: bytes) -> bytes:
    """HKDF-SHA256 of RFC 5869, written out for one block of output."""
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(extracted, frame(*parts) + b"\x01", hashlib.sha256).digest()


def keystream(key: bytes, length: int) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor().update(bytes(length))


def mask(key: bytes, b: int, d: int) -> list[int]:
    w = 2 if b <= 16 else 4 if b <= 32 else 8
    stream = keystream(key, w * d)
    return [int.from_bytes(stream[w * k : w * k + w], "little") % 2**b for k in range(d)]


def pack(values: list[int], b: int) -> bytes:
    bits = sum(value << (k * b) for k, value in enumerate(values))
    return bits.to_bytes((len(values) * b + 7) // 8, "little")


def unpack(data: bytes, b: int, d: int) -> list[int]:
    require(len(data) == (d * b + 7) // 8, "decode")
    bits = int.from_bytes(data, "little")
    require(bits < 2 ** (d * b), "decode")
    return [(bits >> (k * b)) % 2**b for k in range(d)]


def share_secret(secret: bytes, t: int, points: list[int], rand: Callable[[int], bytes]) -> dict[int, int]:
    coefficients = [int.from_bytes(secret, "big")]
    coefficients += [int.from_bytes(rand(48), "big") % P for _ in range(t - 1)]
    return {x: sum(c * x**k for k, c in enumerate(coefficients)) % P for x in points}


def recover(shares: dict[int, int]) -> int:
    total = 0
    for i, value in shares.items():
        numerator = denominator = 1
        for j in shares:
            if j != i:
                numerator *= -j
                denominator *= i - j
        total += value * numerator * pow(denominator, -1, P)
    return total % P


# Section 3: session, keys and cohort


class Setting:
    """What was agreed beforehand, as in the vectors' ``setting``."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.n, self.t, self.b, self.d = (setting[name] for name in ("n", "t", "b", "d"))
        self.a, self.check = setting["a"], setting["check"]
        self.identities = {int(i): bytes.fromhex(seed) for i, seed in setting["identities"].items()}
        self.roster = {i: identity_public(seed) for i, seed in sorted(self.identities.items())}
        roster_hash = hash_(f"{N} roster", *(u32(i) + key for i, key in self.roster.items()))
        sizes = b"".join(u64(x) for x in (self.n, self.t, self.b, self.d, self.a, self.check))
        self.session = hash_(
            f"{N} session",
            u32(1),
            bytes.fromhex(setting["run_id"]),
            u64(setting["round"]),
            bytes.fromhex(setting["context"]),
            sizes,
            roster_hash,
        )

    def decode(self, data: bytes, uploads: bool) -> Message:
        limit = 1024 + 256 * self.n + ((self.d * self.b + 7) // 8 if uploads else 0)
        require(len(data) <= limit, "decode")
        message = unpack_message(data)
        check_shape(message)
        require(message["type"].endswith("reply" if uploads else "request"), "decode")
        require(message["session"] == self.session, "SA-4")
        return message

    def encode(self, kind: str, **fields: Any) -> bytes:
        return pack_message({"type": kind, "session": self.session, "version": 1, **fields})

    def commitment(self, i: int, seed: bytes) -> bytes:
        return hash_(f"{N} seed commitment", self.session, u32(i), seed)

    def statement(self, bundle: Message) -> bytes:
        keys = bundle["cipher_key"], bundle["mask_key"], bundle["seed_commitment"]
        return frame(self.session, u32(bundle["client"]), *keys)

    def check_bundles(self, bundles: list[Message]) -> None:
        keys = [bundle[name] for bundle in bundles for name in ("cipher_key", "mask_key")]
        require(all(bundle["client"] in self.roster for bundle in bundles), "SA-1")
        require(len(set(keys)) == len(keys) and all(is_good_key(key) for key in keys), "SA-1")
        for bundle in bundles:
            public = self.roster[bundle["client"]]
            require(is_signed(public, f"{N} bundle", self.statement(bundle), bundle["signature"]), "SA-1")

    def cohort(self, bundles: list[Message]) -> bytes:
        return hash_(f"{N} cohort", self.session, *(self.statement(bundle) for bundle in bundles))

    def key(self, secret: bytes, cohort: bytes, purpose: bytes, *parts: bytes) -> bytes:
        return kdf(secret, cohort, N.encode(), purpose, self.session, *parts)

    def consistency(self, cohort: bytes, u2: list[int], u3: list[int]) -> bytes:
        return frame(self.session, cohort, b"".join(map(u32, sorted(u2))), b"".join(map(u32, sorted(u3))))


# Section 4: the round


class Client:
    def __init__(self, setting: Setting, i: int, rand: Callable[[int], bytes], x: list[int]) -> None:
        self.setting, self.i, self.rand, self.x = setting, i, rand, x
        check = ["consistency-request"] if setting.check else []
        self.expected = ["advertise-request", "share-request", "upload-request", *check, "unmask-request"]

    def handle(self, data: bytes) -> bytes:
        message = self.setting.decode(data, uploads=False)
        require(bool(self.expected) and message["type"] == self.expected[0], "SA-15")
        reply: bytes = getattr(self, message["type"].replace("-request", ""))(message)
        self.expected.pop(0)
        return reply

    def advertise(self, message: Message) -> bytes:
        self.c, self.s, self.seed = self.rand(32), self.rand(32), self.rand(32)
        bundle = {
            "client": self.i,
            "cipher_key": x25519_public(self.c),
            "mask_key": x25519_public(self.s),
            "seed_commitment": self.setting.commitment(self.i, self.seed),
        }
        identity = self.setting.identities[self.i]
        bundle["signature"] = sign(identity, f"{N} bundle", self.setting.statement(bundle))
        self.bundle = bundle
        return self.setting.encode("advertise-reply", sender=self.i, bundle=bundle)

    def share(self, message: Message) -> bytes:
        bundles = message["bundles"]
        self.setting.check_bundles(bundles)
        require(self.bundle in bundles, "SA-1")
        require(len(bundles) >= self.setting.t, "SA-9")
        self.u1 = {bundle["client"]: bundle for bundle in bundles}
        self.cohort = self.setting.cohort(bundles)
        seeds = share_secret(self.seed, self.setting.t, list(self.u1), self.rand)
        keys = share_secret(self.s, self.setting.t, list(self.u1), self.rand)
        self.held = {self.i: (seeds[self.i], keys[self.i])}
        sealed = []
        for j in self.u1:
            if j != self.i:
                nonce = self.rand(12)
                plain = seeds[j].to_bytes(33, "big") + keys[j].to_bytes(33, "big")
                box = AESGCM(self.share_key(self.i, j, j)).encrypt(nonce, plain, self.share_data(self.i, j))
                sealed.append((j, nonce + box))
        return self.setting.encode("share-reply", sender=self.i, shares=sealed)

    def share_key(self, source: int, destination: int, peer: int) -> bytes:
        secret = dh(self.c, self.u1[peer]["cipher_key"])
        return self.setting.key(secret, self.cohort, b"share", u32(source), u32(destination))

    def share_data(self, source: int, destination: int) -> bytes:
        return frame(b"share", self.setting.session, self.cohort, u32(source), u32(destination))

    def pair_mask(self, j: int) -> bytes:
        secret = dh(self.s, self.u1[j]["mask_key"])
        low, high = min(self.i, j), max(self.i, j)
        return self.setting.key(secret, self.cohort, b"pair mask", u32(low), u32(high), b"update")

    def own_mask(self) -> bytes:
        return self.setting.key(self.seed, self.cohort, b"self mask", u32(self.i), b"update")

    def upload(self, message: Message) -> bytes:
        held = dict(self.held)
        for j, sealed in message["shares"]:
            require(j in self.u1 and j != self.i, "SA-1")
            try:
                key, data = self.share_key(j, self.i, j), self.share_data(j, self.i)
                plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], data)
            except InvalidTag:
                raise Refused("SA-7") from None
            held[j] = int.from_bytes(plain[:33], "big"), int.from_bytes(plain[33:], "big")
            require(max(held[j]) < P, "SA-7")
        require(len(held) >= self.setting.t, "SA-9")
        self.held = held
        b, d = self.setting.b, self.setting.d
        y = [x + m for x, m in zip(self.x, mask(self.own_mask(), b, d), strict=True)]
        for j in held:
            if j != self.i:
                sign_ = 1 if j > self.i else -1
                y = [value + sign_ * m for value, m in zip(y, mask(self.pair_mask(j), b, d), strict=True)]
        return self.setting.encode("upload-reply", sender=self.i, vector=pack([v % 2**b for v in y], b))

    def check_survivors(self, u3: list[int]) -> None:
        require(set(u3) <= set(self.held) and self.i in u3, "SA-3")
        require(len(u3) >= self.setting.t, "SA-9")

    def consistency(self, message: Message) -> bytes:
        self.u3 = message["survivors"]
        self.check_survivors(self.u3)
        statement = self.setting.consistency(self.cohort, list(self.held), self.u3)
        signature = sign(self.setting.identities[self.i], f"{N} consistency", statement)
        return self.setting.encode("consistency-reply", sender=self.i, signature=signature)

    def unmask(self, message: Message) -> bytes:
        u3, dropped = message["survivors"], message["dropped"]
        require(not set(u3) & set(dropped), "SA-3")
        self.check_survivors(u3)
        require(set(u3) | set(dropped) == set(self.held), "SA-3")
        if self.setting.check:
            require(u3 == self.u3 and len(message["signatures"]) >= self.setting.t, "SA-2")
            statement = self.setting.consistency(self.cohort, list(self.held), u3)
            for j, signature in message["signatures"]:
                require(j in u3, "SA-2")
                require(is_signed(self.setting.roster[j], f"{N} consistency", statement, signature), "SA-2")
        else:
            require(message["signatures"] == [], "SA-2")
        shares = []
        for owner in sorted(self.held):
            seed, key = self.held[owner]
            kind, share = ("seed", seed) if owner in u3 else ("key", key)
            shares.append((owner, kind, share.to_bytes(33, "big")))
        return self.setting.encode("unmask-reply", sender=self.i, shares=shares)


class Server:
    """The server with everything kept, and all work done when a stage closes."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        check = ["consistency"] if setting.check else []
        self.stages = ["advertise", "share", "upload", *check, "unmask"]
        self.asked = list(setting.roster)
        self.answers: dict[str, dict[int, Message]] = {stage: {} for stage in self.stages}
        self.total: list[int] | None = None

    def requests(self) -> dict[int, bytes]:
        return {i: self.request(i) for i in self.asked}

    def bundles(self) -> list[Message]:
        return [self.answers["advertise"][i]["bundle"] for i in sorted(self.answers["advertise"])]

    def request(self, i: int) -> bytes:
        stage = self.stages[0]
        u2, u3 = sorted(self.answers["share"]), sorted(self.answers["upload"])
        fields: dict[str, Any] = {}
        if stage == "share":
            fields["bundles"] = self.bundles()
        if stage == "upload":
            sent = {j: dict(self.answers["share"][j]["shares"]) for j in u2 if j != i}
            fields["shares"] = [(j, boxes[i]) for j, boxes in sent.items()]
        if stage in ("consistency", "unmask"):
            fields["survivors"] = u3
        if stage == "unmask":
            signed = self.answers.get("consistency", {})
            fields["dropped"] = [j for j in u2 if j not in u3]
            fields["signatures"] = [(j, signed[j]["signature"]) for j in sorted(signed)]
        return self.setting.encode(f"{stage}-request", **fields)

    def receive(self, i: int, data: bytes) -> None:
        message = self.setting.decode(data, uploads=True)
        stage = self.stages[0] if self.stages else ""
        require(message["sender"] == i and message["type"] == f"{stage}-reply", "SA-15")
        require(i in self.asked and i not in self.answers[stage], "SA-15")
        u2, u3 = sorted(self.answers["share"]), sorted(self.answers["upload"])
        if stage == "advertise":
            require(message["bundle"]["client"] == i, "SA-1")
            self.setting.check_bundles([*self.bundles(), message["bundle"]])
        if stage == "share":
            others = [j for j in sorted(self.answers["advertise"]) if j != i]
            require([j for j, _ in message["shares"]] == others, "SA-16")
        if stage == "upload":
            unpack(message["vector"], self.setting.b, self.setting.d)
        if stage == "consistency":
            statement = self.setting.consistency(self.setting.cohort(self.bundles()), u2, u3)
            domain, public = f"{N} consistency", self.setting.roster[i]
            require(is_signed(public, domain, statement, message["signature"]), "SA-2")
        if stage == "unmask":
            asked = [(owner, "seed" if owner in u3 else "key") for owner in u2]
            require([(owner, kind) for owner, kind, _ in message["shares"]] == asked, "SA-16")
            require(all(int.from_bytes(share, "big") < P for _, _, share in message["shares"]), "decode")
        self.answers[stage][i] = message

    def advance(self) -> None:
        stage = self.stages[0]
        self.asked = sorted(self.answers[stage])
        require(len(self.asked) >= self.setting.t, "too few")
        if stage == "unmask":
            self.total = self.unmask()
        self.stages.pop(0)

    def unmask(self) -> list[int]:
        setting, b, d = self.setting, self.setting.b, self.setting.d
        u1 = {bundle["client"]: bundle for bundle in self.bundles()}
        cohort = setting.cohort(self.bundles())
        u2, u3 = sorted(self.answers["share"]), sorted(self.answers["upload"])
        holders = sorted(self.answers["unmask"])[: setting.t]
        total = [0] * d
        for i in u3:
            uploaded = unpack(self.answers["upload"][i]["vector"], b, d)
            total = [x + y for x, y in zip(total, uploaded, strict=True)]
        for position, owner in enumerate(u2):
            shares = {
                j: int.from_bytes(self.answers["unmask"][j]["shares"][position][2], "big") for j in holders
            }
            value = recover(shares)
            require(value < 2**256, "SA-12")
            secret = value.to_bytes(32, "big")
            if owner in u3:
                require(setting.commitment(owner, secret) == u1[owner]["seed_commitment"], "SA-12")
                key = setting.key(secret, cohort, b"self mask", u32(owner), b"update")
                total = [x - m for x, m in zip(total, mask(key, b, d), strict=True)]
                continue
            require(x25519_public(secret) == u1[owner]["mask_key"], "SA-12")
            for i in u3:
                low, high = min(i, owner), max(i, owner)
                agreed = dh(secret, u1[i]["mask_key"])
                key = setting.key(agreed, cohort, b"pair mask", u32(low), u32(high), b"update")
                added = 1 if owner > i else -1
                total = [x - added * m for x, m in zip(total, mask(key, b, d), strict=True)]
        return [x % 2**b for x in total]
