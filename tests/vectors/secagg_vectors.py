"""Writes protocols/vectors/v2/secagg_*.json from the reference implementation.

    python tests/vectors/secagg_vectors.py

A case is written once and for ever: a change of the protocol is a new version with vectors of its own.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))

from reference.secagg import Vectors  # noqa: E402 - found by the line above when run as a program
from reference.secagg_primitives import hash_, mask  # noqa: E402
from vectors.secagg_bad_vectors import bad  # noqa: E402
from vectors.secagg_play import Case, Play  # noqa: E402

DIRECTORY = ROOT / "protocols" / "vectors" / "v2"

DROPOUTS = (
    "Seven clients, threshold four: 1 is lost before it advertises, 6 before it shares, 3 before it uploads; "
    "four remain."
)
LATE = "Five clients, one colluder is tolerated; 2 is lost before it signs: it is in the sum."
SEMI_HONEST = (
    "Semi-honest mode. Round 1 is prepared in round 0 and takes two exchanges; 2 is lost before it uploads. "
    "In round 2 it comes back, and opens what was dealt ahead to the key it had, though it was never shown "
    "that cohort. Round 3 is prepared and skipped: round 4 starts with new keys for all."
)
WIDTHS = "Four vectors of different widths; 5 is lost before it advertises, 4 before it uploads."
PREPARED = (
    "Three rounds of seven clients, threshold four, each prepared in the one before. In the first 5 is away "
    "and 4 is lost before it uploads. In the second both join, 4 with the key that opens what was dealt "
    "ahead to it, and 2 is lost before it unmasks. In the third nobody joins, and 1 is lost before it "
    "uploads."
)
MISSED = (
    "Three rounds of four clients, threshold three. The second is prepared in the first, begins with the "
    "upload, and never reaches 2, which had made keys for it. In the third 2 joins, and opens what was dealt "
    "ahead to those keys; 1 is lost before it unmasks, and without the shares of 2 there is no sum."
)
SPARSE = (
    "Nine clients on a graph of degree four, threshold three: 1 is lost before it advertises, 8 before it "
    "uploads."
)
SPARSE_SEMI_HONEST = (
    "Seven clients on a graph of degree four in semi-honest mode; 3 is lost before it uploads, 6 before it "
    "unmasks."
)
LEVELS = (
    "Six clients, threshold four, levels at five and six survivors. Nobody is lost, and the second level is "
    "reached; in the round that was prepared meanwhile 3 is lost before it uploads, and the first is; in the "
    "next 3 joins, 1 and 6 are lost before they upload, and no level is reached."
)
PARTS = (
    "Three clients, threshold two; 2 is lost before it uploads. One of the two vectors has two parts, and "
    "its masks go on where the first part ends. Of messages over 4096 bytes the length and the SHA-256 are "
    "given, of each sum the SHA-256 of its values, 8 bytes each, little-endian."
)
RULE = "value k of each vector of client i, from k = 0, is i (k + 1)^2 mod 2^b"
LONG = 4096


def plays() -> dict[str, Play]:
    """The runs in which all is well, by name."""
    widths = [("bits", 1, 11), ("metrics", 62, 2), ("update", 20, 5), ("weight", 16, 3)]
    made = [
        Play("all", "Nobody is lost.", 3).round(7),
        Play("dropouts", DROPOUTS, 7, [("update", 33, 4)]).round(
            7, {1: "advertise", 6: "share", 3: "upload"}
        ),
        Play("late", LATE, 5, [("update", 7, 9)], a=1).round(7, {2: "consistency"}),
        Play("semi_honest", SEMI_HONEST, 3, [("update", 62, 3)], mode=0, t=2)
        .round(0, prepare=True)
        .round(1, {2: "upload"}, invite=[], prepare=True)
        .round(2, prepare=True)
        .round(4),
        Play("widths", WIDTHS, 5, widths).round(7, {5: "advertise", 4: "upload"}),
        Play("prepared", PREPARED, 7, m=5)
        .round(4, {4: "upload"}, away=[5], prepare=True)
        .round(5, {2: "unmask"}, prepare=True)
        .round(6, {1: "upload"}, invite=[]),
        Play("missed", MISSED, 4)
        .round(4, prepare=True)
        .round(5, away=[2], invite=[], prepare=True)
        .round(6, {1: "unmask"}),
        Play("sparse", SPARSE, 9, k=4, t=3, m=6).round(7, {1: "advertise", 8: "upload"}),
        Play("sparse_semi_honest", SPARSE_SEMI_HONEST, 7, k=4, t=2, m=5, mode=0).round(
            7, {3: "upload", 6: "unmask"}
        ),
        Play("levels", LEVELS, 6, [("update", 20, 3)], levels=[5, 6])
        .round(7, prepare=True)
        .round(8, {3: "upload"}, prepare=True)
        .round(9, {1: "upload", 6: "upload"}),
    ]
    return {play.name: play for play in made}


def masks() -> Case:
    """Masks by word width, where they begin, where one segment follows another, and as a whole."""
    about = "Words of Mask(key) from `first` on; the SHA-256 of all d, little-endian in 2, 4 or 8 bytes."
    key = hash_("masks of the vectors")
    made = []
    for b, d in ((16, 3 * 2**18), (20, 2**18 + 1), (62, 2**17)):
        words, width = mask(key, b, d), 2 if b <= 16 else 4 if b <= 32 else 8
        raw = b"".join(word.to_bytes(width, "little") for word in words)
        segment = 2**19 // width
        pieces = [{"first": first, "words": words[first : first + 4]} for first in (0, segment - 2, d - 4)]
        made.append({"b": b, "d": d, "pieces": pieces, "sha256": hashlib.sha256(raw).hexdigest()})
    return {"about": about, "version": 2, "key": key.hex(), "masks": made}


class ByRule(Play):
    """A run whose vectors are too long to be listed."""

    def draw(self, number: int, i: int) -> Vectors:
        """A client's vectors, the same in every round."""
        return by_rule(self.inputs, i)


def by_rule(setting: Case, i: int) -> Vectors:
    """The vectors of client i as `RULE` has them."""
    return {
        vector["name"]: [i * (k + 1) ** 2 % 2 ** vector["b"] for k in range(vector["d"])]
        for vector in setting["vectors"]
    }


def in_parts() -> Case:
    """A run whose upload has several parts; what is long is published by its digest."""
    vectors = [("metrics", 62, 2), ("update", 17, 2**18 + 3)]
    case = ByRule("parts", PARTS, 3, vectors, t=2, m=2).round(7, {2: "upload"}).case()
    (played,) = case["rounds"]
    del played["vectors"]
    for stage in played["stages"]:
        replies = stage["replies"].items()
        stage["replies"] = {i: [shown(bytes.fromhex(message)) for message in sent] for i, sent in replies}
    played["sums"] = {name: shown_sum(total) for name, total in played["sums"].items()}
    return {**case, "vectors": RULE}


def shown(message: bytes) -> str | Case:
    """A message as it is published: in hex, or its length and digest."""
    if len(message) <= LONG:
        return message.hex()
    return {"bytes": len(message), "sha256": hashlib.sha256(message).hexdigest()}


def shown_sum(total: list[int]) -> str:
    """The SHA-256 of a sum, 8 bytes a value, little-endian."""
    return hashlib.sha256(b"".join(value.to_bytes(8, "little") for value in total)).hexdigest()


def cases() -> dict[str, Case]:
    """Every file by its name."""
    made = plays()
    good = {f"secagg_round_{name}": play.case() for name, play in made.items()}
    return {**good, **bad(made), "secagg_masks": masks(), "secagg_parts": in_parts()}


def main() -> None:
    """Write every case, and drop the files of those that are no more."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    written = cases()
    for old in DIRECTORY.glob("secagg_*.json"):
        if old.stem not in written:
            old.unlink()
    for name, case in written.items():
        (DIRECTORY / f"{name}.json").write_text(json.dumps(case, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
