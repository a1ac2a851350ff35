"""The secure summation protocol once more, written from protocols/secagg/ and nothing else.

Slow and obvious on purpose: everything is kept, nothing is streamed, and all the server's work is done when a
stage closes.  It shares no code with the package, so that the two can only agree where the spec says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from reference.graph import neighbours
from reference.secagg_primitives import (
    N,
    P,
    dh,
    frame,
    hash_,
    identity_public,
    is_good_key,
    is_signed,
    kdf,
    mask,
    pack,
    set_bytes,
    set_members,
    share_secret,
    sign,
    tree,
    tree_root,
    u32,
    u64,
    x25519_public,
)
from reference.secagg_wire import (
    REQUESTS,
    Message,
    Refused,
    check_shape,
    pack_message,
    require,
    unpack_message,
)

PART_VALUES = 2**18
MADE_WITHIN = bytes(32)
Vectors = dict[str, list[int]]
Rand = Callable[[int], bytes]


class Setting:
    """What was agreed beforehand for a run, as in the vectors' ``setting`` (sections 1 and 3)."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.n, self.k, self.t, self.m = (int(setting[name]) for name in ("n", "k", "t", "m"))
        self.mode = setting["mode"]
        self.complete = self.k == self.n - 1
        self.shows_uploads = bool(self.mode) and not self.complete
        self.levels = [int(level) for level in setting.get("levels", [])]
        self.sizes = {vector["name"]: (vector["b"], vector["d"]) for vector in setting["vectors"]}
        self.identities = {int(i): bytes.fromhex(seed) for i, seed in setting["identities"].items()}
        self.roster = {i: identity_public(seed) for i, seed in sorted(self.identities.items())}
        described = frame(*(frame(name.encode(), u64(b), u64(d)) for name, (b, d) in self.sizes.items()))
        parameters = b"".join(u64(setting[name]) for name in ("n", "k", "t", "m", "a", "mode")) + described
        if self.levels:
            parameters += frame(b"levels", *(u64(level) for level in self.levels))
        roster_hash = hash_(f"{N} roster", *(u32(i) + key for i, key in self.roster.items()))
        run_id = bytes.fromhex(setting["run_id"])
        self.group = hash_(f"{N} group", u32(1), run_id, parameters, roster_hash)

    def session(self, number: int, context: bytes) -> bytes:
        return hash_(f"{N} session", self.group, u64(number), context)

    def parts(self) -> list[tuple[str, int, int]]:
        """(name, first value, values) of each part of an upload, in order."""
        return [
            (name, start, min(PART_VALUES, d - start))
            for name, (_, d) in self.sizes.items()
            for start in range(0, d, PART_VALUES)
        ]

    def request_limit(self) -> int:
        path = 32 * (self.n - 1).bit_length()
        return 2048 + 2 * ((self.n + 7) // 8) + (512 + path + 33 * len(self.levels)) * (self.k + 1)

    def reply_limit(self) -> int:
        return max(self.request_limit(), 2**21 + 256)

    def commitment(self, number: int, i: int, seed: bytes) -> bytes:
        return hash_(f"{N} seed commitment", self.group, u64(number), u32(i), seed)

    def statement(self, number: int, bundle: Message) -> bytes:
        names = ["cipher_key", "mask_key", "seed_commitment", "previous"]
        keys = [bundle[name] for name in (*names, "level_commitment") if name in names or self.levels]
        return frame(self.group, u64(number), u32(bundle["client"]), *keys)

    def leaf(self, number: int, bundle: Message) -> bytes:
        return hash_(f"{N} leaf", self.statement(number, bundle))

    def check_bundles(self, number: int, bundles: list[Message]) -> None:
        keys = [bundle[name] for bundle in bundles for name in ("cipher_key", "mask_key")]
        require(all(bundle["client"] in self.roster for bundle in bundles), "SA-1")
        require(len(set(keys)) == len(keys) and all(is_good_key(key) for key in keys), "SA-1")
        for bundle in bundles:
            public, statement = self.roster[bundle["client"]], self.statement(number, bundle)
            require(is_signed(public, f"{N} bundle", statement, bundle["signature"]), "SA-1")

    def level(self, u: int) -> int:
        """Which level u survivors reach."""
        return len([level for level in self.levels if level <= u])

    def level_below(self, number: int, i: int, k: int, secret: bytes) -> bytes:
        return hash_(f"{N} level", u64(number), u32(i), u32(k), secret)

    def level_secrets(self, number: int, i: int, k: int, secret: bytes) -> list[bytes]:
        """s_0 to s_k from s_k."""
        if k == 0:
            return [secret]
        return [*self.level_secrets(number, i, k - 1, self.level_below(number, i, k, secret)), secret]

    def share_key(self, agreed: bytes, number: int, source: int, destination: int) -> bytes:
        return kdf(agreed, self.group, N.encode(), b"share", u64(number), u32(source), u32(destination))

    def share_data(self, number: int, bundle: Message, destination: int, key: bytes) -> bytes:
        leaf = self.leaf(number, bundle)
        return frame(b"share", self.group, u64(number), u32(bundle["client"]), u32(destination), leaf, key)


class Cohort:
    """U1 of a round as one party knows it: on a sparse graph a client knows its own corner only."""

    def __init__(
        self, setting: Setting, session: bytes, members: list[int], bundles: list[Message], root: bytes
    ) -> None:
        self.setting, self.session, self.members = setting, session, members
        self.bundles = {bundle["client"]: bundle for bundle in bundles}
        self.hash = hash_(f"{N} cohort", session, set_bytes(members, setting.n), root)

    def neighbours(self, i: int) -> list[int]:
        if self.setting.complete:
            return [j for j in self.members if j != i]
        seed, rank = hash_(f"{N} graph", self.hash), self.members.index(i)
        return [self.members[r] for r in neighbours(seed, len(self.members), self.setting.k, rank)]

    def holders(self, i: int) -> list[int]:
        return self.members if self.setting.complete else self.neighbours(i)

    def pair_mask(self, s: bytes, i: int, j: int, name: str) -> bytes:
        agreed = dh(s, self.bundles[j]["mask_key"])
        ends = u32(min(i, j)), u32(max(i, j))
        return kdf(agreed, self.hash, N.encode(), b"pair mask", *ends, name.encode())

    def own_mask(self, seed: bytes, i: int, name: str) -> bytes:
        return kdf(seed, self.hash, N.encode(), b"self mask", u32(i), name.encode())

    def consistency(self, u2: list[int], u3: list[int]) -> bytes:
        n = self.setting.n
        return frame(self.session, self.hash, set_bytes(u2, n), set_bytes(u3, n))

    def sharers(self, u2: list[int]) -> bytes:
        return frame(self.session, self.hash, set_bytes(u2, self.setting.n))

    def is_upload_signed(self, i: int, u2: list[int], signature: bytes) -> bool:
        return is_signed(self.setting.roster[i], f"{N} sharers", self.sharers(u2), signature)


class Keys:
    """What a client draws for one round (section 3), and the shares of it that the client keeps.

    ``top`` is its secret of the highest level, where there are levels.
    """

    def __init__(
        self, setting: Setting, number: int, i: int, rand: Rand, previous: bytes, top: bytes
    ) -> None:
        self.number, self.top = number, top
        self.c, self.s, self.seed = rand(32), rand(32), rand(32)
        self.own_shares: tuple[int, ...] | None = None
        self.levels: list[bytes] = []
        committed: Message = {}
        if setting.levels:
            commitment, *self.levels = setting.level_secrets(number, i, len(setting.levels), top)
            committed = {"level_commitment": commitment}
        self.bundle: Message = {
            "client": i,
            "cipher_key": x25519_public(self.c),
            "mask_key": x25519_public(self.s),
            "seed_commitment": setting.commitment(number, i, self.seed),
            "previous": previous,
        }
        statement = setting.statement(number, {**self.bundle, **committed})
        self.bundle["signature"] = sign(setting.identities[i], f"{N} bundle", statement)
        self.bundle |= committed

    def deal(
        self, setting: Setting, holders: list[int], public: dict[int, bytes], rand: Rand
    ) -> list[tuple[int, bytes]]:
        """Share all secrets among the holders, sealing for each under its key C in ``public``."""
        i = self.bundle["client"]
        secrets = [self.seed, self.s, *self.levels]
        sharings = [share_secret(secret, setting.t, holders, rand) for secret in secrets]
        sealed = []
        for j in holders:
            if j == i:
                self.own_shares = tuple(sharing[i] for sharing in sharings)
                continue
            nonce = rand(12)
            key = setting.share_key(dh(self.c, public[j]), self.number, i, j)
            data = setting.share_data(self.number, self.bundle, j, public[j])
            plain = b"".join(sharing[j].to_bytes(33, "big") for sharing in sharings)
            sealed.append((j, nonce + AESGCM(key).encrypt(nonce, plain, data)))
        return sealed


class Client:
    """One client of a run: ``begin`` each round, then ``handle`` what the server sends."""

    def __init__(self, setting: Setting, i: int, rand: Rand) -> None:
        self.setting, self.i, self.rand = setting, i, rand
        self.number = -1
        self.keys: Keys | None = None  # of this round
        self.ahead: Keys | None = None  # of the next
        self.old_c: bytes | None = None  # c of the round before
        self.cohort: Cohort | None = None
        self.state = "answered"

    def begin(self, number: int, context: bytes, x: Vectors) -> None:
        require(number > self.number, "SA-6")
        followed = number == self.number + 1
        self.before = self.cohort if followed else None
        last = self.keys if followed else self.ahead
        self.old_c = last.c if last and last.number == number - 1 else None
        self.keys = self.ahead if followed else None
        self.ahead = self.cohort = None
        self.number, self.x, self.session = number, x, self.setting.session(number, context)
        self.u2: list[int] = []
        self.u3: list[int] = []
        self.held: dict[int, tuple[int, ...]] = {}
        self.state = "new"
        self.top = self.keys.top if self.keys else self.draw_top()

    def draw_top(self) -> bytes:
        return self.rand(32) if self.setting.levels else b""

    def handle(self, data: bytes) -> list[bytes]:
        require(len(data) <= self.setting.request_limit(), "decode")
        message = unpack_message(data)
        check_shape(message, self.setting.n, len(self.setting.levels))
        require(message["type"] in REQUESTS, "decode")
        require(message["session"] == self.session, "SA-4")
        kind = message["type"].replace("-request", "")
        last = "signed" if self.setting.mode else "uploaded"
        following = {
            ("new", "advertise"): "advertised",
            ("advertised", "share"): "shared",
            ("shared", "upload"): "uploaded",
            ("uploaded", "consistency"): "signed",
            (last, "unmask"): "answered",
        }
        if self.keys is not None:
            following["new", "upload"] = "uploaded"
        if not self.setting.mode:
            following.pop(("uploaded", "consistency"))
        require((self.state, kind) in following, "SA-15")
        reply: list[bytes] = getattr(self, kind)(message)
        self.state = following[self.state, kind]
        return reply

    def encode(self, kind: str, **fields: Any) -> bytes:
        head = {"type": kind, "session": self.session, "version": 1, "sender": self.i}
        return pack_message({**head, **fields})

    def members(self, data: bytes) -> list[int]:
        return set_members(data, self.setting.n)

    def advertise(self, message: Message) -> list[bytes]:
        self.keys = Keys(self.setting, self.number, self.i, self.rand, MADE_WITHIN, self.top)
        return [self.encode("advertise-reply", bundle=self.keys.bundle)]

    def look_at(self, view: Message) -> Cohort:
        """Check a view of U1, and give the cohort that it shows."""
        setting, members, bundles = self.setting, self.members(view["members"]), view["bundles"]
        assert self.keys is not None
        require(self.keys.bundle in bundles and self.i in members, "SA-1")
        setting.check_bundles(self.number, bundles)
        named = {bundle["previous"] for bundle in bundles} - {MADE_WITHIN}
        require(setting.complete or not named, "SA-6")
        require(len(named | ({self.before.hash} if self.before and named else set())) <= 1, "SA-6")
        require(len(members) >= setting.m, "SA-9")
        leaves = [setting.leaf(self.number, bundle) for bundle in bundles]
        shown = [bundle["client"] for bundle in bundles]
        if setting.complete:
            require(shown == members and view["paths"] == [], "SA-17")
            return Cohort(setting, self.session, members, bundles, tree(leaves))
        require(len(members) > setting.k, "SA-9")
        require(set(shown) <= set(members) and len(view["paths"]) == len(shown), "SA-17")
        roots = {
            tree_root(leaf, members.index(j), len(members), path)
            for leaf, j, path in zip(leaves, shown, view["paths"], strict=True)
        }
        require(len(roots) == 1, "SA-17")
        cohort = Cohort(setting, self.session, members, bundles, roots.pop())
        require([j for j in shown if j != self.i] == cohort.neighbours(self.i), "SA-17")
        return cohort

    def share(self, message: Message) -> list[bytes]:
        self.cohort = cohort = self.look_at(message["view"])
        assert self.keys is not None
        public = {j: bundle["cipher_key"] for j, bundle in cohort.bundles.items()}
        sealed = self.keys.deal(self.setting, cohort.holders(self.i), public, self.rand)
        return [self.encode("share-reply", shares=sealed)]

    def upload(self, message: Message) -> list[bytes]:
        setting, keys = self.setting, self.keys
        assert keys is not None
        if self.state == "shared":
            require(message["view"] is None, "SA-17")
            cohort = self.cohort
        else:
            require(message["view"] is not None, "SA-17")
            cohort = self.look_at(message["view"])
        assert cohort is not None
        u2 = self.members(message["sharers"])
        require(set(u2) <= set(cohort.members) and self.i in u2, "SA-1")
        near = [j for j in cohort.neighbours(self.i) if j in u2]
        require(len(u2) >= setting.m and (setting.complete or len(near) >= setting.t), "SA-9")
        dealt_ahead = [j for j in near if cohort.bundles[j]["previous"] != MADE_WITHIN]
        within = [j for j in near if j not in dealt_ahead]
        shares, early = dict(message["shares"]), dict(message["early"])
        require(set(shares) <= set(within) and set(early) <= set(dealt_ahead), "SA-1")
        require(set(shares) == set(within), "SA-7")
        require(self.state == "shared" or set(early) == set(dealt_ahead), "SA-7")
        held = {} if keys.own_shares is None else {self.i: keys.own_shares}
        held |= {j: self.open(cohort.bundles[j], sealed, keys.c) for j, sealed in shares.items()}
        if self.old_c is not None:
            held |= {j: self.open(cohort.bundles[j], sealed, self.old_c) for j, sealed in early.items()}
        require(setting.complete or not message["prepare"], "SA-15")
        masked = self.masked(cohort, near)
        self.cohort, self.u2, self.held = cohort, u2, held
        header: Message = {"bundle": None, "shares": [], "signature": None}
        if message["prepare"]:
            top = self.draw_top()
            self.ahead = Keys(setting, self.number + 1, self.i, self.rand, cohort.hash, top)
            public = {j: bundle["cipher_key"] for j, bundle in cohort.bundles.items()}
            header["shares"] = self.ahead.deal(setting, cohort.members, public, self.rand)
            header["bundle"] = self.ahead.bundle
        else:
            self.keys = None
        if setting.shows_uploads:
            header["signature"] = sign(setting.identities[self.i], f"{N} sharers", cohort.sharers(u2))
        parts = [
            self.encode(
                "upload-part",
                part=number,
                data=pack(masked[name][start : start + values], setting.sizes[name][0]),
            )
            for number, (name, start, values) in enumerate(setting.parts())
        ]
        return [self.encode("upload-header", **header), *parts]

    def open(self, bundle: Message, sealed: bytes, c: bytes) -> tuple[int, ...]:
        setting, source = self.setting, bundle["client"]
        key = setting.share_key(dh(c, bundle["cipher_key"]), self.number, source, self.i)
        data = setting.share_data(self.number, bundle, self.i, x25519_public(c))
        try:
            plain = AESGCM(key).decrypt(sealed[:12], sealed[12:], data)
        except InvalidTag:
            raise Refused("SA-7") from None
        shares = tuple(int.from_bytes(plain[at : at + 33], "big") for at in range(0, len(plain), 33))
        require(max(shares) < P, "SA-7")
        return shares

    def mask_keys(self, cohort: Cohort, near: list[int]) -> dict[str, str]:
        """The vectors' ``mask_keys`` that this client knows."""
        assert self.keys is not None
        keys = {}
        for name in self.setting.sizes:
            keys[f"{self.i},{name}"] = cohort.own_mask(self.keys.seed, self.i, name).hex()
            for j in near:
                pair = cohort.pair_mask(self.keys.s, self.i, j, name)
                keys[f"{min(self.i, j)},{max(self.i, j)},{name}"] = pair.hex()
        return keys

    def masked(self, cohort: Cohort, near: list[int]) -> Vectors:
        assert self.keys is not None
        self.used_mask_keys = self.mask_keys(cohort, near)
        result = {}
        for name, (b, d) in self.setting.sizes.items():
            y = self.x[name]
            require(len(y) == d and all(0 <= value < 2**b for value in y), "SA-8")
            y = _added(y, mask(cohort.own_mask(self.keys.seed, self.i, name), b, d), 1)
            for j in near:
                stream = mask(cohort.pair_mask(self.keys.s, self.i, j, name), b, d)
                y = _added(y, stream, 1 if j > self.i else -1)
            result[name] = [value % 2**b for value in y]
        return result

    def check_survivors(self, u3: list[int]) -> None:
        assert self.cohort is not None
        require(set(u3) <= set(self.u2) and self.i in u3, "SA-3")
        near = set(self.cohort.neighbours(self.i)) & set(u3)
        require(len(u3) >= self.setting.m, "SA-9")
        require(self.setting.complete or len(near) >= self.setting.t, "SA-9")

    def consistency(self, message: Message) -> list[bytes]:
        u3 = self.members(message["survivors"])
        self.check_survivors(u3)
        assert self.cohort is not None
        near = [j for j in self.cohort.neighbours(self.i) if j in u3] if self.setting.shows_uploads else []
        require([j for j, _ in message["uploads"]] == near, "SA-2")
        shown = [self.cohort.is_upload_signed(j, self.u2, signature) for j, signature in message["uploads"]]
        require(all(shown), "SA-2")
        self.u3, statement = u3, self.cohort.consistency(self.u2, u3)
        signature = sign(self.setting.identities[self.i], f"{N} consistency", statement)
        return [self.encode("consistency-reply", signature=signature)]

    def unmask(self, message: Message) -> list[bytes]:
        u3, dropped = self.members(message["survivors"]), self.members(message["dropped"])
        assert self.cohort is not None
        require(not set(u3) & set(dropped), "SA-3")
        self.check_survivors(u3)
        require(set(u3) | set(dropped) == set(self.u2), "SA-3")
        if self.setting.mode:
            require(u3 == self.u3 and len(message["signatures"]) >= self.setting.t, "SA-2")
            statement = self.cohort.consistency(self.u2, u3)
            for j, signature in message["signatures"]:
                require(j in u3 and j in self.cohort.holders(self.i), "SA-2")
                require(is_signed(self.setting.roster[j], f"{N} consistency", statement, signature), "SA-2")
        else:
            require(message["signatures"] == [], "SA-2")
        shares = []
        level = self.setting.level(len(u3))
        for owner, (seed, key, *levels) in sorted(self.held.items()):
            of_survivor = [seed, levels[level - 1]] if level else [seed]
            kind, revealed = ("seed", of_survivor) if owner in u3 else ("key", [key])
            shares.append((owner, kind, b"".join(share.to_bytes(33, "big") for share in revealed)))
        self.held = {}
        return [self.encode("unmask-reply", shares=shares)]


def _added(x: list[int], y: list[int], factor: int) -> list[int]:
    return [a + factor * b for a, b in zip(x, y, strict=True)]


def clear_sum(vectors: list[Vectors], sizes: dict[str, tuple[int, int]]) -> Vectors:
    """What a round must give for the vectors of its survivors."""
    return {
        name: [sum(column) % 2**b for column in zip(*(vector[name] for vector in vectors), strict=True)]
        for name, (b, _) in sizes.items()
    }
