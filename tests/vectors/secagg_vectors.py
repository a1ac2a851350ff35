"""Writes protocols/vectors/v1/secagg_*.json from the reference implementation.

    python tests/vectors/secagg_vectors.py

A case is written once and for ever: a change of the protocol is a new version with vectors of its own.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))

from reference import secagg as reference  # noqa: E402 - found by the line above when run as a program
from reference.secagg_wire import pack_message, unpack_message  # noqa: E402

DIRECTORY = ROOT / "protocols" / "vectors" / "v1"
Case = dict[str, Any]


def rand_of(key: str) -> Callable[[int], bytes]:
    """The bytes of the AES-256-CTR stream of a key (hex), zero counter, one piece after the other."""
    stream, position = reference.keystream(bytes.fromhex(key), 65536), 0

    def rand(count: int) -> bytes:
        nonlocal position
        position += count
        return stream[position - count : position]

    return rand


def _tag(*words: object) -> str:
    return reference.hash_("fedpriv vectors", *(str(word).encode() for word in words)).hex()


class Play:
    """One honest round of the reference, with clients lost from given stages on."""

    def __init__(self, name: str, n: int, b: int, d: int, check: int = 1, a: int = 0) -> None:
        setting = {
            "n": n,
            "t": (n + a) // 2 + 1,
            "b": b,
            "d": d,
            "a": a,
            "check": check,
            "run_id": _tag(name, "run")[:32],
            "round": 7,
            "context": _tag(name, "context"),
            "identities": {str(i): _tag(name, "identity", i) for i in range(1, n + 1)},
        }
        draws = {
            i: reference.keystream(bytes.fromhex(_tag(name, "vector", i)), 8 * d) for i in range(1, n + 1)
        }
        self.inputs: Case = {
            "setting": setting,
            "entropy": {str(i): _tag(name, "entropy", i) for i in range(1, n + 1)},
            "vectors": {
                str(i): [int.from_bytes(draw[8 * k : 8 * k + 8], "big") % 2**b for k in range(d)]
                for i, draw in draws.items()
            },
        }
        self.setting = reference.Setting(setting)
        self.clients = {
            i: reference.Client(
                self.setting,
                i,
                rand_of(self.inputs["entropy"][str(i)]),
                self.inputs["vectors"][str(i)],
            )
            for i in range(1, n + 1)
        }
        self.server = reference.Server(self.setting)
        self.stages: list[Case] = []

    def run(self, lost: dict[int, str]) -> Play:
        order = list(self.server.stages)
        for now in order:
            requests = self.server.requests()
            replies = {}
            for i, request in requests.items():
                if i not in lost or order.index(now) < order.index(lost[i]):
                    replies[i] = self.clients[i].handle(request)
                    self.server.receive(i, replies[i])
            self.server.advance()
            self.stages.append(
                {
                    "stage": now,
                    "requests": {str(i): data.hex() for i, data in requests.items()},
                    "replies": {str(i): data.hex() for i, data in replies.items()},
                }
            )
        return self

    def request(self, stage: str, i: int) -> reference.Message:
        return unpack_message(bytes.fromhex(self._stage(stage)["requests"][str(i)]))

    def reply(self, stage: str, i: int) -> reference.Message:
        return unpack_message(bytes.fromhex(self._stage(stage)["replies"][str(i)]))

    def _stage(self, name: str) -> Case:
        return next(stage for stage in self.stages if stage["stage"] == name)

    def to_client(self, i: int, before: int, message: Any, error: str, about: str) -> Case:
        """Client i has answered its first ``before`` requests, and is then given ``message``."""
        data = message if isinstance(message, bytes) else pack_message(message)
        answered = [stage["requests"][str(i)] for stage in self.stages[:before]]
        fault = {"client": i, "before": answered, "message": data.hex(), "error": error}
        return {"about": about, "version": 1, **self.inputs, **fault}

    def to_server(
        self, i: int, stage: str, message: Any, error: str, about: str, *, closing: bool = False
    ) -> Case:
        """The server has heard all but client i in ``stage``, and is then given ``message`` as client i's."""
        data = message if isinstance(message, bytes) else pack_message(message)
        order = [played["stage"] for played in self.stages]
        before = [played["replies"] for played in self.stages[: order.index(stage) + 1]]
        before[-1] = {j: reply for j, reply in before[-1].items() if j != str(i)}
        fault = {"from": i, "before": before, "message": data.hex(), "error": error, "at_closing": closing}
        return {"about": about, "version": 1, **self.inputs, **fault}


def _round(about: str, play: Play) -> Case:
    first = next(iter(play.clients.values()))
    cohort = next(client for client in play.clients.values() if hasattr(client, "held"))
    mask_keys = {}
    for i, client in play.clients.items():
        if hasattr(client, "held"):
            mask_keys[str(i)] = client.own_mask().hex()
            mask_keys |= {f"{i},{j}": client.pair_mask(j).hex() for j in client.u1 if j > i}
    return {
        "about": about,
        "version": 1,
        **play.inputs,
        "session": first.setting.session.hex(),
        "cohort": cohort.cohort.hex(),
        "mask_keys": mask_keys,
        "stages": play.stages,
        "survivors": sorted(play.server.answers["upload"]),
        "sum": play.server.total,
    }


def rounds() -> dict[str, Case]:
    """The cases in which all is well."""
    return {
        "secagg_round_all": _round("Nobody is lost.", Play("all", 3, 20, 5).run({})),
        "secagg_round_dropouts": _round(
            "Seven clients, threshold four: 1 is lost before it advertises, 6 before it shares, 3 before it "
            "uploads; four remain.",
            Play("dropouts", 7, 33, 4).run({1: "advertise", 6: "share", 3: "upload"}),
        ),
        "secagg_round_late": _round(
            "One colluder is tolerated; 2 is lost before it signs, 5 before it unmasks: both are in the sum.",
            Play("late", 6, 7, 9, a=1).run({2: "consistency", 5: "unmask"}),
        ),
        "secagg_round_no_check": _round(
            "Without the consistency check; 2 is lost before it uploads.",
            Play("no check", 3, 62, 3, check=0).run({2: "upload"}),
        ),
        "secagg_round_16_bits": _round("16-bit words.", Play("16 bits", 4, 16, 6).run({4: "upload"})),
    }


def bad() -> dict[str, Case]:
    """The cases in which a message must be refused, and the clause it breaks ('decode': no message)."""
    play = Play("bad", 4, 12, 3).run({4: "upload"})
    return {
        f"secagg_bad_{name}": case for name, case in (*_bad_bytes(play), *_bad_keys(play), *_bad_late(play))
    }


_Named = list[tuple[str, Case]]


def _bad_bytes(play: Play) -> _Named:
    first = play.request("advertise", 1)
    data = pack_message(first)
    session = first["session"]
    reordered = {"type": first["type"], "version": 1, "session": session}
    return [
        ("trailing_byte", play.to_client(1, 0, data + b"\0", "decode", "A byte after the message.")),
        ("truncated", play.to_client(1, 0, data[:-1], "decode", "The last byte is missing.")),
        ("empty", play.to_client(1, 0, b"", "decode", "No bytes.")),
        (
            "unknown_field",
            play.to_client(1, 0, {**first, "x": 1}, "decode", "A field that is not in the schema."),
        ),
        (
            "missing_field",
            play.to_client(1, 0, {"type": first["type"], "session": session}, "decode", "No version."),
        ),
        ("field_order", play.to_client(1, 0, reordered, "decode", "The fields in another order.")),
        ("long_integer", play.to_client(1, 0, data[:-1] + b"\xcc\x01", "decode", "1 in two bytes.")),
        ("version", play.to_client(1, 0, {**first, "version": 2}, "decode", "Another protocol version.")),
        ("short_session", play.to_client(1, 0, {**first, "session": session[:31]}, "decode", "31 bytes.")),
        ("too_long", play.to_client(1, 0, data + bytes(4096), "decode", "Longer than any message.")),
        (
            "session",
            play.to_client(1, 0, {**first, "session": bytes(32)}, "SA-4", "A message of another session."),
        ),
        ("order", play.to_client(1, 0, play.request("share", 1), "SA-15", "The second request comes first.")),
        ("repeat", play.to_client(1, 1, first, "SA-15", "The first request comes again.")),
    ]


def _bad_keys(play: Play) -> _Named:
    request = play.request("share", 1)

    def changed(i: int, *, signed: bool = True, **fields: Any) -> reference.Message:
        message = copy.deepcopy(request)
        bundle = message["bundles"][i - 1]
        bundle.update(fields)
        if signed:
            seed = play.setting.identities[i]
            bundle["signature"] = reference.sign(
                seed, f"{reference.N} bundle", play.setting.statement(bundle)
            )
        return message

    own_key = reference.x25519_public(bytes(range(32)))
    third = request["bundles"][2]["mask_key"]
    second = request["bundles"][1]["mask_key"]
    top_bit = second[:31] + bytes([second[31] | 0x80])
    order_eight = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
    stranger = copy.deepcopy(request)
    stranger["bundles"][3]["client"] = 9
    unordered = {**request, "bundles": list(reversed(request["bundles"]))}
    cases = [
        ("substituted_key", changed(2, signed=False, mask_key=own_key), "SA-1", "A mask key not signed for."),
        (
            "substituted_commitment",
            changed(2, signed=False, seed_commitment=bytes(32)),
            "SA-1",
            "Not signed for.",
        ),
        ("zero_key", changed(2, mask_key=bytes(32)), "SA-1", "A mask key of low order, well signed."),
        ("low_order_key", changed(2, cipher_key=order_eight), "SA-1", "A key of order eight, well signed."),
        ("second_encoding", changed(2, mask_key=top_bit), "SA-1", "A key with its top bit set, well signed."),
        ("duplicate_key", changed(2, mask_key=third), "SA-1", "Another client's mask key, well signed."),
        (
            "one_key_for_both",
            changed(2, cipher_key=second),
            "SA-1",
            "One key for masks and shares, well signed.",
        ),
        ("unknown_client", stranger, "SA-1", "A client that is not in the roster."),
        ("own_keys_changed", changed(1, mask_key=own_key), "SA-1", "The receiver's own keys, changed."),
        (
            "own_keys_missing",
            {**request, "bundles": request["bundles"][1:]},
            "SA-1",
            "The receiver is left out.",
        ),
        (
            "few_advertised",
            {**request, "bundles": request["bundles"][:2]},
            "SA-9",
            "Fewer than the threshold.",
        ),
        ("unordered", unordered, "decode", "The list descends."),
        (
            "client_twice",
            {**request, "bundles": request["bundles"][:2] * 2},
            "decode",
            "Clients stand twice.",
        ),
    ]
    return [(name, play.to_client(1, 1, message, error, about)) for name, message, error, about in cases]


def _bad_late(play: Play) -> _Named:
    upload, consistency, unmask = (play.request(stage, 1) for stage in ("upload", "consistency", "unmask"))
    source, sealed = upload["shares"][0]
    broken = {**upload, "shares": [[source, sealed[:-1] + bytes([sealed[-1] ^ 1])], *upload["shares"][1:]]}
    swapped = {**upload, "shares": [[source, upload["shares"][1][1]], *upload["shares"][1:]]}
    few = {**upload, "shares": upload["shares"][:1]}
    dead = {**consistency, "survivors": [2, 3, 4]}
    both = {**unmask, "survivors": [1, 2, 3], "dropped": [3, 4]}
    other = {**unmask, "survivors": [1, 2, 3, 4], "dropped": []}
    forgotten = {**unmask, "dropped": []}
    signer, signature = unmask["signatures"][1]
    forged = {
        **unmask,
        "signatures": [[signer, signature[::-1]] if s[0] == signer else s for s in unmask["signatures"]],
    }
    borrowed = {
        **unmask,
        "signatures": [[2, unmask["signatures"][0][1]] if s[0] == 2 else s for s in unmask["signatures"]],
    }
    reply, revealed = play.reply("upload", 2), play.reply("unmask", 2)
    padded = reply["vector"][:-1] + bytes([reply["vector"][-1] | 0xF0])

    def changed_share(position: int, **kind: str) -> reference.Message:
        message = copy.deepcopy(revealed)
        owner, name, share = message["shares"][position]
        value = (int.from_bytes(share, "big") + (0 if kind else 1)) % reference.P
        message["shares"][position] = [owner, kind.get("kind", name), value.to_bytes(33, "big")]
        return message

    doubled = {**revealed, "shares": [[1, "key", revealed["shares"][0][2]], *revealed["shares"]]}
    large = copy.deepcopy(revealed)
    large["shares"][0][2] = reference.P.to_bytes(33, "big")
    signed = {**play.reply("consistency", 2), "signature": play.reply("consistency", 1)["signature"]}
    client = play.to_client
    server = play.to_server
    return [
        ("sealed_shares", client(1, 2, broken, "SA-7", "A bit of a sealed share is flipped.")),
        (
            "shares_of_another",
            client(1, 2, swapped, "SA-7", "The shares of client 3 in the name of client 2."),
        ),
        ("few_sharers", client(1, 2, few, "SA-9", "Fewer sharers than the threshold.")),
        ("told_dead", client(1, 3, dead, "SA-3", "The receiver is said to have dropped.")),
        ("few_survivors", client(1, 3, {**consistency, "survivors": [1, 2]}, "SA-9", "Below the threshold.")),
        ("alive_and_dead", client(1, 4, both, "SA-3", "Client 3 in both lists.")),
        ("dropped_left_out", client(1, 4, forgotten, "SA-3", "The lists are not all the sharers.")),
        ("other_survivors", client(1, 4, other, "SA-2", "Another list than the one signed.")),
        (
            "few_signatures",
            client(1, 4, {**unmask, "signatures": unmask["signatures"][:2]}, "SA-2", "Two of three."),
        ),
        ("forged_signature", client(1, 4, forged, "SA-2", "Not a signature.")),
        ("borrowed_signature", client(1, 4, borrowed, "SA-2", "One client's signature in another's name.")),
        ("second_answer", client(1, 5, unmask, "SA-15", "The unmask request comes again.")),
        (
            "upload_length",
            server(2, "upload", {**reply, "vector": reply["vector"] + b"\0"}, "decode", "Longer."),
        ),
        (
            "upload_padding",
            server(2, "upload", {**reply, "vector": padded}, "decode", "Padding is not zero."),
        ),
        ("sender", server(2, "upload", {**reply, "sender": 3}, "SA-15", "In the name of another client.")),
        ("survivor_signature", server(2, "consistency", signed, "SA-2", "Another client's signature.")),
        ("both_kinds", server(2, "unmask", doubled, "decode", "Two shares of one owner.")),
        (
            "wrong_kind",
            server(2, "unmask", changed_share(0, kind="key"), "SA-16", "A key share of a survivor."),
        ),
        ("share_too_large", server(2, "unmask", large, "decode", "A share equal to the prime.")),
        (
            "recovered_seed",
            server(2, "unmask", changed_share(0), "SA-12", "A false share of b.", closing=True),
        ),
        (
            "recovered_key",
            server(2, "unmask", changed_share(3), "SA-12", "A false share of s.", closing=True),
        ),
    ]


def main() -> None:
    """Write every case."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, case in {**rounds(), **bad()}.items():
        (DIRECTORY / f"{name}.json").write_text(json.dumps(case, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
