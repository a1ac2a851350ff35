"""Makes protocols/vectors/v1/{checkpoint,withdrawal,marks}*.json; run it to write them again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fedpriv.crypto import SigningKey, derive_key
from fedpriv.data import canonical_image, canonical_text
from fedpriv.dp import PoissonGaussian, event_to_dict
from fedpriv.ledger import Checkpoint, Head
from fedpriv.ledger.countersigned import roster_digest, sign_withdrawal
from fedpriv.ledger.marks import Marks, marks_of
from fedpriv.ledger.rows import Row, genesis, seal

DIRECTORY = Path(__file__).resolve().parents[2] / "protocols" / "vectors" / "v1"
DATASET, RUN, TIME = "a1" * 32, "run-1", "2026-01-31T12:00:00Z"
SERVER = SigningKey.from_seed(bytes(range(32)))
CLIENTS = {number: SigningKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3)}
TEXTS = [
    "a fine film",
    "A fine film",
    "  a\u00a0fine \n film ",
    "caf\u00e9",
    "cafe\u0301",
    "",
    "\U0001f600 x",
]
IMAGES = {
    "grey, 2 x 3": np.arange(6, dtype=np.uint8).reshape(2, 3, 1),
    "the same in three channels": np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, axis=2),
    "the same pixels, 3 x 2": np.arange(6, dtype=np.uint8).reshape(3, 2, 1),
    "in colour, 1 x 2": np.array([[[255, 0, 0], [0, 0, 255]]], dtype=np.uint8),
    "one value apart": np.array([[[255, 0, 0], [0, 1, 255]]], dtype=np.uint8),
}

Case = dict[str, Any]


def rows() -> list[Row]:
    """A server's chain: a budget, a plan, and a round reserved and released."""
    event = event_to_dict(PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.05))
    plan = {
        "run": RUN,
        "event": event,
        "rounds": 2,
        "rule": "committed-plan PLD",
        "epsilon": "0.5",
        "details": {},
    }
    bodies: list[tuple[str, dict[str, object]]] = [
        ("BUDGET", {"name": "films", "epsilon": "3.0", "delta": "1e-05"}),
        ("PLAN", plan),
        ("RESERVE", {"run": RUN, "round": 1, "details": {}}),
        ("RELEASE", {"run": RUN, "round": 1, "details": {"survivors": [1, 2, 3]}}),
    ]
    made: list[Row] = []
    for seq, (kind, body) in enumerate(bodies):
        prev = made[-1].hash if made else genesis(DATASET)
        made.append(seal(SERVER, seq=seq, dataset=DATASET, kind=kind, time=TIME, body=body, prev=prev))
    return made


def checkpoints() -> dict[str, Case]:
    """A checkpoint, and others that were tampered with; ``finds`` is who signed wrongly."""
    last = rows()[-1]
    head = Head.of(last)
    signed = {number: (key.public, head.countersign(key)) for number, key in CLIENTS.items()}
    sound = Checkpoint(head, last.signature, RUN, 1, signed).to_dict()
    cases: dict[str, Case] = {}

    def add(name: str, what: str, finds: list[str], edit: Callable[[dict[str, Any]], object]) -> None:
        changed = copy.deepcopy(sound)
        edit(changed)
        cases[name] = {"description": what, "checkpoint": changed, "finds": finds}

    def swapped(value: dict[str, Any]) -> None:
        one, two = value["countersignatures"]["1"], value["countersignatures"]["2"]
        one["signature"], two["signature"] = two["signature"], one["signature"]

    everybody = ["1", "2", "3"]
    add("checkpoint", "three clients signed the head after a released round", [], lambda value: None)
    add("checkpoint_bad_seq", "another row's number", everybody, lambda value: value.update(seq=2))
    add(
        "checkpoint_bad_dataset", "another data set", everybody, lambda value: value.update(dataset="b2" * 32)
    )
    add(
        "checkpoint_bad_hash",
        "another row",
        ["server", *everybody],
        lambda value: value.update(hash="00" * 32),
    )
    add("checkpoint_bad_swapped", "two clients' signatures swapped", ["1", "2"], swapped)
    add("checkpoint_bad_field", "a field too many", ["form"], lambda value: value.update(note=""))
    cases["checkpoint"]["seeds"] = {str(number): key.seed.hex() for number, key in CLIENTS.items()}
    keys = {number: key.public for number, key in CLIENTS.items()}
    cases["checkpoint"]["roster_digest"] = roster_digest(keys)
    return cases


def withdrawals() -> dict[str, Case]:
    """A client's word that it sent nothing in a round, and the same word said of another round."""
    reserve, key = rows()[2], CLIENTS[1]
    said = {"dataset": DATASET, "run": RUN, "round": 1, "reserve": reserve.hash.hex()}
    word = sign_withdrawal(key, reserve).hex()
    common = {"seed": key.seed.hex(), "key": key.public.hex(), "signature": word}
    return {
        "withdrawal": {
            "description": "client 1 withdraws from round 1",
            "said": said,
            "holds": True,
            **common,
        },
        "withdrawal_bad_round": {
            "description": "the same word shown for round 2",
            "said": said | {"round": 2},
            "holds": False,
            **common,
        },
    }


def marks() -> dict[str, Case]:
    """Marks of texts, the digest of a set of them, and the names that it gets; marks of images."""
    salt = derive_key(SERVER.seed, salt=b"", info=(b"fedpriv/ledger/salt/v1",))
    found = marks_of(map(canonical_text, TEXTS), salt)
    one = Marks.of(found)
    return {
        "marks": {
            "description": "marks of texts under the salt of a signing seed; texts that are alike have one",
            "seed": SERVER.seed.hex(),
            "salt": salt.hex(),
            "texts": TEXTS,
            "marks": [f"{int(mark):016x}" for mark in found],
            "digest": one.digest().hex(),
            "name": one.name(salt),
            "name_of_version_2026": one.name(salt, "2026"),
        },
        "marks_of_images": {
            "description": "marks of images, shape (height, width, channels); one that is grey has one mark",
            "salt": salt.hex(),
            "images": [
                {
                    "about": about,
                    "shape": [*image.shape],
                    "pixels": image.tobytes().hex(),
                    "mark": f"{mark:016x}",
                }
                for (about, image), mark in zip(
                    IMAGES.items(),
                    marks_of(map(canonical_image, IMAGES.values()), salt).tolist(),
                    strict=True,
                )
            ],
        },
    }


def cases() -> dict[str, Case]:
    """All files by their names."""
    return checkpoints() | withdrawals() | marks()


def main() -> None:
    for name, value in cases().items():
        text = json.dumps(value, indent=1, ensure_ascii=True, sort_keys=True)
        (DIRECTORY / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
