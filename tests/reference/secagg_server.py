"""The server of the secure summation protocol, from protocols/secagg/ alone; see `reference.secagg`.

Nothing is folded in as it comes: uploads are kept, and summed and unmasked when the last stage closes.
"""

from __future__ import annotations

from reference.secagg import MADE_WITHIN, Cohort, Setting, Vectors
from reference.secagg_primitives import (
    N,
    P,
    is_signed,
    mask,
    recover,
    set_bytes,
    tree,
    tree_path,
    unpack,
    x25519_public,
)
from reference.secagg_wire import REQUESTS, Message, check_shape, pack_message, require, unpack_message


class Server:
    """The server of a run: ``begin`` each round, then ``requests``, ``receive`` and ``advance`` by stages."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.number = -1
        self.cohort: Cohort | None = None
        self.headers: dict[int, Message] = {}
        self.u3: list[int] = []

    def begin(
        self, number: int, context: bytes, *, invite: list[int] | None = None, prepare: bool = False
    ) -> None:
        """Open a round; those invited (all, if not given) that sent no keys ahead are asked for them."""
        followed = number == self.number + 1
        came = {i: self.headers[i] for i in self.u3 if self.headers[i]["bundle"]} if followed else {}
        invited = set(self.setting.roster) if invite is None else set(invite)
        had_shares = {j for header in came.values() for j, _ in header["shares"]}
        strangers = invited - had_shares - set(came)
        enough = not strangers or self.setting.m - len(strangers) >= self.setting.t
        self.ahead = came if len(came) >= self.setting.m and enough else {}
        joining = [i for i in sorted(invited | set(came)) if i not in self.ahead]
        self.bundles = {i: header["bundle"] for i, header in self.ahead.items()}
        self.number, self.session = number, self.setting.session(number, context)
        self.prepare = prepare
        self.cohort = None
        self.u2: list[int] = []
        self.u3 = []
        self.mail: dict[int, dict[int, bytes]] = {}
        self.headers = {}
        self.parts: dict[int, list[bytes]] = {}
        self.signatures: dict[int, bytes] = {}
        self.shares: dict[int, dict[int, tuple[str, list[int]]]] = {}
        self.level_secrets: dict[int, bytes] = {}
        self.sums: Vectors | None = None
        check = ["consistency"] if self.setting.mode else []
        self.stages = ["advertise", "share", "upload", *check, "unmask"]
        self.asked, self.heard = sorted(joining), set[int]()
        if not joining:
            self.advance()

    def make_cohort(self) -> None:
        members = sorted(self.bundles)
        require(len(members) >= self.setting.m, "too few")
        bundles = [self.bundles[i] for i in members]
        self.leaves = [self.setting.leaf(self.number, bundle) for bundle in bundles]
        self.cohort = Cohort(self.setting, self.session, members, bundles, tree(self.leaves))

    def set(self, members: list[int]) -> bytes:
        return set_bytes(members, self.setting.n)

    def view(self, i: int) -> Message:
        assert self.cohort is not None
        members = self.cohort.members
        shown = members if self.setting.complete else sorted([i, *self.cohort.neighbours(i)])
        paths = [] if self.setting.complete else [tree_path(self.leaves, members.index(j)) for j in shown]
        return {"members": self.set(members), "bundles": [self.bundles[j] for j in shown], "paths": paths}

    def requests(self) -> dict[int, bytes]:
        head = {"type": f"{self.stages[0]}-request", "session": self.session, "version": 1}
        return {i: pack_message({**head, **self.fields(i)}) for i in self.asked}

    def fields(self, i: int) -> Message:
        stage, cohort = self.stages[0], self.cohort
        if cohort is None:
            return {}
        if stage == "share":
            return {"view": self.view(i)}
        if stage == "upload":
            near = [j for j in cohort.neighbours(i) if j in self.u2]
            early = {j: self.sealed_by(j) for j in near if j in self.ahead}
            return {
                "view": self.view(i) if i in self.ahead else None,
                "sharers": self.set(self.u2),
                "shares": [(j, self.mail[j][i]) for j in near if j in self.mail],
                "early": [(j, sealed[i]) for j, sealed in early.items() if i in sealed],
                "prepare": self.prepare,
            }
        if stage == "consistency":
            near = [j for j in cohort.neighbours(i) if j in self.u3] if self.setting.shows_uploads else []
            uploads = [(j, self.headers[j]["signature"]) for j in near]
            return {"survivors": self.set(self.u3), "uploads": uploads}
        holders = cohort.holders(i)
        return {
            "survivors": self.set(self.u3),
            "dropped": self.set([j for j in self.u2 if j not in self.u3]),
            "signatures": [(j, self.signatures[j]) for j in sorted(self.signatures) if j in holders],
        }

    def sealed_by(self, j: int) -> dict[int, bytes]:
        """What was delivered of client j's shares: receiver -> sealed."""
        return self.mail[j] if j in self.mail else dict(self.ahead[j]["shares"])

    def receive(self, i: int, data: bytes) -> None:
        require(len(data) <= self.setting.reply_limit(), "decode")
        message = unpack_message(data)
        check_shape(message, self.setting.n, len(self.setting.levels))
        require(message["type"] not in REQUESTS, "decode")
        require(message["session"] == self.session, "SA-4")
        stage = self.stages[0] if self.stages else ""
        kinds = ["upload-header", "upload-part"] if stage == "upload" else [f"{stage}-reply"]
        require(message["sender"] == i and message["type"] in kinds, "SA-15")
        require(i in self.asked and i not in self.heard, "SA-15")
        finished = getattr(self, "take_" + message["type"].replace("-", "_").replace("_reply", ""))(
            i, message
        )
        if finished:
            self.heard.add(i)

    def take_advertise(self, i: int, message: Message) -> bool:
        bundle = message["bundle"]
        require(bundle["client"] == i, "SA-1")
        self.setting.check_bundles(self.number, [*self.bundles.values(), bundle])
        require(bundle["previous"] == MADE_WITHIN, "SA-6")
        self.bundles[i] = bundle
        return True

    def take_share(self, i: int, message: Message) -> bool:
        assert self.cohort is not None
        holders = [j for j in self.cohort.holders(i) if j != i]
        require([j for j, _ in message["shares"]] == holders, "SA-16")
        self.mail[i] = dict(message["shares"])
        return True

    def take_upload_header(self, i: int, message: Message) -> bool:
        assert self.cohort is not None
        require(i not in self.headers, "SA-15")
        bundle = message["bundle"]
        require((bundle is not None) == self.prepare, "SA-16")
        others = [j for j in self.cohort.members if j != i] if self.prepare else []
        if bundle is not None:
            require(bundle["client"] == i, "SA-1")
            known = [header["bundle"] for header in self.headers.values()]
            self.setting.check_bundles(self.number + 1, [*known, bundle])
            require(bundle["previous"] == self.cohort.hash, "SA-6")
        require([j for j, _ in message["shares"]] == others, "SA-16")
        signature = message["signature"]
        require((signature is not None) == self.setting.shows_uploads, "SA-2")
        require(signature is None or self.cohort.is_upload_signed(i, self.u2, signature), "SA-2")
        self.headers[i] = message
        self.parts[i] = []
        return False

    def take_upload_part(self, i: int, message: Message) -> bool:
        require(i in self.headers, "SA-16")
        parts = self.setting.parts()
        require(message["part"] == len(self.parts[i]), "SA-16")
        name, _, values = parts[message["part"]]
        unpack(message["data"], self.setting.sizes[name][0], values)
        self.parts[i].append(message["data"])
        return len(self.parts[i]) == len(parts)

    def take_consistency(self, i: int, message: Message) -> bool:
        assert self.cohort is not None
        statement, public = self.cohort.consistency(self.u2, self.u3), self.setting.roster[i]
        require(is_signed(public, f"{N} consistency", statement, message["signature"]), "SA-2")
        self.signatures[i] = message["signature"]
        return True

    def take_unmask(self, i: int, message: Message) -> bool:
        assert self.cohort is not None
        owners = [owner for owner, _, _ in message["shares"]]
        dealt = [j for j in self.u2 if i in self.cohort.holders(j) and (j == i or i in self.sealed_by(j))]
        # Who joined within the round may no longer be able to open what was sealed for it ahead.
        needed = [j for j in dealt if i in self.ahead or j not in self.ahead]
        require(set(needed) <= set(owners) <= set(dealt), "SA-16")
        for owner, kind, _ in message["shares"]:
            require(kind == ("seed" if owner in self.u3 else "key"), "SA-16")
        length = 66 if self.setting.level(len(self.u3)) else 33
        require(all(kind == "key" or len(share) == length for _, kind, share in message["shares"]), "SA-18")
        for owner, kind, share in message["shares"]:
            revealed = [int.from_bytes(share[at : at + 33], "big") for at in range(0, len(share), 33)]
            require(max(revealed) < P, "decode")
            self.shares.setdefault(owner, {})[i] = kind, revealed
        return True

    def advance(self) -> None:
        """Close the stage with those who answered."""
        stage, left = self.stages.pop(0), sorted(self.heard)
        self.heard = set()
        if stage == "advertise":
            self.make_cohort()
            self.asked = left
            if not left:
                self.stages.pop(0)
                self.u2 = self.asked = sorted(self.ahead)
            return
        if stage == "share":
            self.u2 = left = sorted([*left, *self.ahead])
        if stage == "upload":
            self.u3 = left
        least = self.setting.t if stage in ("consistency", "unmask") else self.setting.m
        require(len(left) >= least, "too few")
        self.asked = left if self.setting.complete else [i for i in left if self.can_answer(i, left)]
        if stage == "unmask":
            self.sums = self.unmask()

    def can_answer(self, i: int, left: list[int]) -> bool:
        assert self.cohort is not None
        return len(set(self.cohort.neighbours(i)) & set(left)) >= self.setting.t

    def uploaded(self, i: int) -> Vectors:
        vectors: Vectors = {name: [] for name in self.setting.sizes}
        for (name, _, values), data in zip(self.setting.parts(), self.parts[i], strict=True):
            vectors[name] += unpack(data, self.setting.sizes[name][0], values)
        return vectors

    def unmask(self) -> Vectors:
        cohort = self.cohort
        assert cohort is not None
        total = {name: [0] * d for name, (_, d) in self.setting.sizes.items()}
        removed: list[tuple[str, bytes, int]] = []
        for i in self.u3:
            for name, y in self.uploaded(i).items():
                total[name] = [a + b for a, b in zip(total[name], y, strict=True)]
            seed = self.secret(i)
            require(
                self.setting.commitment(self.number, i, seed) == self.bundles[i]["seed_commitment"], "SA-12"
            )
            removed += [(name, cohort.own_mask(seed, i, name), 1) for name in total]
            self.recover_level(i)
        for i in self.u2:
            near = [j for j in cohort.neighbours(i) if j in self.u3]
            if i in self.u3 or not near:
                continue
            s = self.secret(i)
            require(x25519_public(s) == self.bundles[i]["mask_key"], "SA-12")
            for j in near:
                added = 1 if i > j else -1
                removed += [(name, cohort.pair_mask(s, i, j, name), added) for name in total]
        for name, key, added in removed:
            stream = mask(key, *self.setting.sizes[name])
            total[name] = [a - added * b for a, b in zip(total[name], stream, strict=True)]
        return {name: [a % 2 ** self.setting.sizes[name][0] for a in total[name]] for name in total}

    def recover_level(self, owner: int) -> None:
        """The owner's secret of the level that was reached, if it is the one committed to (SA-18)."""
        k = self.setting.level(len(self.u3))
        value = self.recovered(owner, 1) if k else 2**256
        if value >= 2**256:
            return
        secret = value.to_bytes(32, "big")
        chain = self.setting.level_secrets(self.number, owner, k, secret)
        if chain[0] == self.bundles[owner]["level_commitment"]:
            self.level_secrets[owner] = secret

    def recovered(self, owner: int, position: int) -> int:
        shares = self.shares.get(owner, {})
        require(len(shares) >= self.setting.t, "too few")
        return recover({j: shares[j][1][position] for j in sorted(shares)[: self.setting.t]})

    def secret(self, owner: int) -> bytes:
        value = self.recovered(owner, 0)
        require(value < 2**256, "SA-12")
        return value.to_bytes(32, "big")
