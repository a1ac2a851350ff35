"""Writes protocols/vectors/v1/ckks_*.json from the reference implementation.

    python tests/vectors/ckks_vectors.py

A case is written once and for ever: a change of the protocol is a new version with vectors of its own.
Elements of R_q are shown by the SHA-256 of their Pack and the first residues of each row.  Ciphertexts are
textbook encryptions, from u = Ternary(seed) and e_j = Gauss(seed, 11); those of SEAL differ only in where the
randomness comes from, as ``ckks_seal`` shows.  Messages longer than a kilobyte are shown by length and hash.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))

from vectors.ckks_bad_vectors import bad  # noqa: E402 - found by the line above when run as a program
from vectors.ckks_play import Play  # noqa: E402
from vectors.ckks_steps import Case, ring_of, steps  # noqa: E402

DIRECTORY = ROOT / "protocols" / "vectors" / "v1"

#: Rounds are played with parameters that keep files and times small, and would do for a run.
RING = {"degree": 4096, "sums_per_key": 2, "statistical_bits": 20}
SOLE = (4096, 18, 16, 1, 31)
COMMITTEE = (4096, 50, 16, 1, 31)
FLOOD = 3 * 2**66


def parameters(
    mode: str,
    holders: Sequence[int],
    threshold: int,
    *,
    clients: int,
    dimension: int,
    malicious: bool = True,
    bound: int = 3,
    digits: int = 1,
    bits: tuple[int, int, int, int, int] = SOLE,
) -> Case:
    ring = ring_of(*bits)
    return {
        **RING,
        "mode": mode,
        "holders": list(holders),
        "threshold": threshold,
        "clients": clients,
        "min_survivors": 3,
        "max_colluders": 1,
        "malicious": malicious,
        "dimension": dimension,
        "bound": bound,
        "digits": digits,
        "noise_prime": ring.primes[0],
        "message_primes": list(ring.primes[1:]),
        "special_prime": ring.special,
        "flood_variance": FLOOD if threshold > 1 else 0,
    }


def plays() -> dict[str, Play]:
    """The runs in which all is well, by name."""
    authority = parameters("authority", [0], 1, clients=4, dimension=8201, bound=1, digits=2)
    committee = parameters("threshold", [1, 2, 4, 5], 3, clients=5, dimension=10, bits=COMMITTEE)
    again = parameters("threshold", [1, 2, 3, 4], 2, clients=5, dimension=10, malicious=False, bits=COMMITTEE)
    shared_key = parameters("shared-key", [1, 2, 3], 1, clients=3, dimension=10)
    made = [
        Play("authority", "Two rounds, two chunks; in the second 2 is lost before it uploads.", authority)
        .round(3)
        .round(5, {2: "upload"}),
        Play(
            "committee",
            "Four holders, threshold three; in the second round 3 is lost before it uploads, and holder 5"
            " before it answers.",
            committee,
        )
        .round(1)
        .round(2, {3: "upload", 5: "open"}),
        Play(
            "committee_again",
            "Semi-honest; 1 is lost before it commits and 3 before it reveals: stage 3 is repeated twice.",
            again,
        ).round(7, {1: "commit", 3: "reveal"}),
        Play(
            "shared_key", "Every client holds the key; the first that answers opens the sum.", shared_key
        ).round(0),
    ]
    return {play.name: play for play in made}


def cases(played: dict[str, Play]) -> dict[str, Case]:
    """Every file by its name."""
    rounds = {f"ckks_round_{name}": play.case() for name, play in played.items()}
    return {**steps(), **rounds, **bad(played)}


def main() -> None:
    """Write every case, and drop the files of those that are no more."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    written_cases = cases(plays())
    for old in DIRECTORY.glob("ckks_*.json"):
        if old.stem not in written_cases:
            old.unlink()
    for name, case in written_cases.items():
        (DIRECTORY / f"{name}.json").write_text(json.dumps(case, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
