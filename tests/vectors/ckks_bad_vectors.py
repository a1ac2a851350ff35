"""Messages that must be refused: each a request of a good round with some fields changed, and the reason.

A change has a path into the message and one of: a value (bytes as hex digits), ``from``, the path of what to
put there instead, ``at`` with the bytes that replace those from there on, or a ``length`` to cut to.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from reference.ckks_primitives import pack_rows, unpack_rows
from reference.secagg_wire import pack_message, unpack_message
from vectors.ckks_play import Case, Play

Path = Sequence[Any]


def changed(data: bytes, changes: Sequence[Case]) -> bytes:
    """The message with its changes; with no path, the bytes themselves."""
    message = unpack_message(data)
    before = deepcopy(message)
    for change in changes:
        if not change["path"]:
            return data + bytes.fromhex(change["value"])
        *way, last = change["path"]
        place = _found(message, way)
        if "from" in change:
            place[last] = _found(before, change["from"])
        elif "at" in change:
            new = bytes.fromhex(change["value"])
            place[last] = place[last][: change["at"]] + new + place[last][change["at"] + len(new) :]
        elif "length" in change:
            place[last] = place[last][: change["length"]]
        else:
            place[last] = _plain(change["value"])
    return pack_message(message)


def _found(message: Any, path: Path) -> Any:
    for step in path:
        message = message[step]
    return message


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return bytes.fromhex(value)
    return [_plain(item) for item in value] if isinstance(value, list) else value


class _Maker:
    """Bad requests to one party in one stage of a run."""

    def __init__(self, play: Play, round_: int, stage: str, party: int, turn: int = 0) -> None:
        self.play, self.where = play, {"round": round_, "stage": stage, "turn": turn, "party": party}
        found = [requests for r, s, requests, _ in play.sent if (r, s) == (round_, stage)]
        self.message = unpack_message(found[turn][party])

    def __call__(self, about: str, error: str, *changes: Case, after: bool = False) -> Case:
        run = {"run": f"ckks_round_{self.play.name}", **self.where, "after": after}
        return {"about": about, **run, "changes": list(changes), "error": error}


def _put(*path: Any, value: Any) -> Case:
    return {"path": list(path), "value": value}


def _flip(data: bytes, at: int = 0) -> Case:
    return {"at": at, "value": bytes([data[at] ^ 1]).hex()}


def _moved(data: bytes, primes: list[int], count: int, place: tuple[int, int], by: int) -> Case:
    """The bytes that change when one residue of an element, (row, coefficient), is moved."""
    rows = unpack_rows(data, primes, count)
    k, r = place
    rows[k][r] = (rows[k][r] + by) % primes[k]
    new = pack_rows(rows, primes)
    differing = [at for at in range(len(data)) if new[at] != data[at]]
    return {"at": differing[0], "value": new[differing[0] : differing[-1] + 1].hex()}


def _of_opening(plays: dict[str, Play]) -> dict[str, Case]:
    one, all_ = _Maker(plays["authority"], 3, "open", 0), _Maker(plays["committee"], 1, "open", 4)
    seals, ring = one.message["seals"], plays["authority"].agreed.ring
    layout, half, p_1 = plays["authority"].agreed.layout, ring.primes[0] // 2, ring.primes[1]
    first, last = one.message["chunks"][0][0], one.message["chunks"][1][0]
    noisy = _moved(first, ring.q, layout.used(0), (0, 0), half)
    overfull = _moved(first, ring.q, layout.used(0), (1, 0), p_1 // 2)
    behind = _moved(last, ring.q, layout.used(1), (1, layout.used(1) - 1), layout.base)
    of_chunk, of_all = ("chunks", 0, 0), ("chunks", 0, 1)
    whole = [{"path": ["seals", k], "from": ["seals", k]} for k in range(3)]
    return {
        "few_clients": one(
            "Two clients are in the sum, and m is 3.", "CK-12", {"path": ["seals"], "length": 2}
        ),
        "repeated_client": one(
            "Client 1 is in the sum twice.", "CK-12", {"path": ["seals", 1], "from": ["seals", 0]}
        ),
        "renamed_client": one(
            "The upload of client 1 stands for client 2 too.",
            "CK-12",
            {"path": ["seals", 1, "digests"], "from": ["seals", 0, "digests"]},
            {"path": ["seals", 1, "signature"], "from": ["seals", 0, "signature"]},
        ),
        "wrong_digest": one(
            "A digest in a seal is another.",
            "CK-12",
            {"path": ["seals", 0, "digests"], **_flip(seals[0]["digests"])},
        ),
        "forged_seal": one(
            "A seal is not signed.",
            "CK-12",
            {"path": ["seals", 2, "signature"], **_flip(seals[2]["signature"])},
        ),
        "seal_of_nobody": one(
            "A seal names a client beyond n.", "CK-12", _put("seals", 3, "client", value=5)
        ),
        "wrong_key_name": one(
            "The sum of another key.", "CK-12", {"path": ["key"], **_flip(one.message["key"])}
        ),
        "wrong_round": one("A round that is not open.", "CK-13", _put("round", value=4)),
        "no_seals": one("No seals.", "CK-12", _put("seals", value=[])),
        "chunk_beyond": one("Chunks beyond the last.", "CK-15", _put("chunk", value=1)),
        "other_second": one(
            "The c_1 of client 1 stands for that of client 2.",
            "CK-12",
            {"path": [*of_all, 1], "from": [*of_all, 0]},
        ),
        "other_chunk": one(
            "The c_1 of the second chunk stands for that of the first.",
            "CK-12",
            {"path": [*of_all, 0], "from": ["chunks", 1, 1, 0]},
        ),
        "few_seconds": one("A c_1 is missing.", "CK-12", {"path": [*of_all], "length": 3}),
        "residue": one(
            "The first residue of the sum of c_0 is not below its prime.",
            "decode",
            {"path": [*of_chunk], "at": 0, "value": "ffffff"},
        ),
        "truncated": one(
            "The sum of c_0 lacks a byte.", "decode", {"path": [*of_chunk], "length": len(first) - 1}
        ),
        "empty": one("The sum of c_0 is empty.", "decode", _put(*of_chunk, value="")),
        "noise": one(
            "A coefficient of the sum of c_0 is off by half of p_0, in its residue modulo p_0.",
            "CK-4",
            {"path": [*of_chunk], **noisy},
        ),
        "overfull": one(
            "A coefficient of the sum of c_0 is off by half of p_1, in its residue modulo p_1.",
            "CK-4",
            {"path": [*of_chunk], **overfull},
        ),
        "behind_the_last": one(
            "The place behind the last value holds a one.", "CK-4", {"path": ["chunks", 1, 0], **behind}
        ),
        "second_sum": one(
            "Another sum of a round that was opened, without client 4.",
            "CK-13",
            {"path": ["seals"], "length": 3},
            *({"path": ["chunks", k, 1], "length": 3} for k in range(2)),
            after=True,
        ),
        "same_chunk": one("A chunk that was answered, again.", "CK-15", *whole, after=True),
        "first_to_committee": all_(
            "A holder of a share is sent a c_0.", "CK-12", _put(*of_chunk, value="00")
        ),
        "second_of_committee": all_(
            "The c_1 of client 2 stands for that of client 5.",
            "CK-12",
            {"path": [*of_all, 4], "from": [*of_all, 1]},
        ),
        "session": one(
            "Of another session.", "CK-17", {"path": ["session"], **_flip(one.message["session"])}
        ),
        "version": one("Of another version.", "decode", _put("version", value=2)),
        "trailing_byte": one("A byte too many.", "decode", _put(value="00")),
    }


def _of_uploads(plays: dict[str, Play]) -> dict[str, Case]:
    here = _Maker(plays["committee"], 1, "upload", 3)
    key = here.message["key"]
    return {
        "few_signatures": here(
            "Two holders signed the key, and t is 3.", "CK-9", {"path": ["key", "signatures"], "length": 2}
        ),
        "forged_key": here(
            "A signature under the key is not one.",
            "CK-9",
            {"path": ["key", "signatures", 1, 1], **_flip(key["signatures"][1][1])},
        ),
        "signed_by_client": here(
            "Client 3, no holder, signs the key.", "CK-9", _put("key", "signatures", 1, 0, value=3)
        ),
        "changed_key": here(
            "b is not the one that was signed.", "CK-9", {"path": ["key", "public"], **_flip(key["public"])}
        ),
        "residue_of_key": here(
            "A residue of b is not below its prime.",
            "decode",
            {"path": ["key", "public"], "at": 0, "value": "ff" * 8},
        ),
        "other_makers": here(
            "The key names other makers.", "CK-9", {"path": ["key", "members"], "length": 3}
        ),
        "other_number": here("The key has another number.", "CK-9", _put("key", "number", value=2)),
        "no_key": here("A client that has no key is shown none.", "CK-9", {"path": ["key"], "value": None}),
        "upload_again": here("A second upload in a round.", "CK-11", after=True),
        "upload_of_other_round": here("The upload of another round.", "CK-17", _put("round", value=2)),
    }


def _of_keys(plays: dict[str, Play]) -> dict[str, Case]:
    play, again = plays["committee"], plays["committee_again"]
    deal, commit = _Maker(play, 1, "deal", 2), _Maker(play, 1, "commit", 2)
    reveal, confirm = _Maker(play, 1, "reveal", 2), _Maker(play, 1, "confirm", 2)
    repeated = _Maker(again, 7, "commit", 2, turn=2)
    keys, boxes = deal.message["keys"], commit.message["shares"]
    shown, parts = reveal.message["commitments"], confirm.message["parts"]
    return {
        "few_advertised": deal("Two keys, and t is 3.", "CK-5", {"path": ["keys"], "length": 2}),
        "own_key_changed": deal(
            "The holder's own key is another.", "CK-5", {"path": ["keys", 1, 1], **_flip(keys[1][1])}
        ),
        "low_order_key": deal("A key of low order.", "CK-5", _put("keys", 0, 1, value="00" * 32)),
        "equal_keys": deal(
            "Two holders have one key.", "CK-5", {"path": ["keys", 0, 1], "from": ["keys", 2, 1]}
        ),
        "forged_advertisement": deal(
            "A key is not signed.", "CK-5", {"path": ["keys", 3, 2], **_flip(keys[3][2])}
        ),
        "few_makers": commit(
            "Two would make the key, and t is 3.", "CK-6", {"path": ["members"], "length": 2}
        ),
        "deal_missing": commit("What a maker dealt is missing.", "CK-6", {"path": ["shares"], "length": 2}),
        "deal_changed": commit(
            "What was dealt does not open.", "decode", {"path": ["shares", 0, 1], **_flip(boxes[0][1])}
        ),
        "deal_of_another": commit(
            "What one holder dealt stands for what another did.",
            "decode",
            {"path": ["shares", 0, 1], "from": ["shares", 1, 1]},
        ),
        "commit_of_other_number": commit("Of a key that is not being made.", "CK-7", _put("number", value=2)),
        "commitment_changed": reveal(
            "A commitment is not the one that was signed.",
            "CK-6",
            {"path": ["commitments", 2, 1], **_flip(shown[2][1])},
        ),
        "own_commitment_changed": reveal(
            "The holder's own commitment is another.",
            "CK-6",
            {"path": ["commitments", 1, 1], **_flip(shown[1][1])},
        ),
        "commitment_missing": reveal(
            "A commitment is missing.", "CK-6", {"path": ["commitments"], "length": 3}
        ),
        "part_changed": confirm(
            "A part is not the one that was committed to.",
            "CK-8",
            {"path": ["parts", 0, 1], **_flip(parts[0][1])},
        ),
        "part_missing": confirm("A part is missing.", "CK-8", {"path": ["parts"], "length": 3}),
        "commit_again_with_more": repeated(
            "The stage is repeated with a holder that was lost.", "CK-7", _put("members", value=[1, 2, 4])
        ),
        "commit_again_same_number": repeated(
            "The stage is repeated under the number that it had.", "CK-7", _put("number", value=2)
        ),
    }


def bad(plays: dict[str, Play]) -> dict[str, Case]:
    """Every bad case by its file's name."""
    made = {**_of_opening(plays), **_of_uploads(plays), **_of_keys(plays)}
    return {f"ckks_bad_{name}": case for name, case in made.items()}
