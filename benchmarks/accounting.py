"""The accountant against published values, and its time for many rounds.

    python benchmarks/accounting.py [--json FILE] [--quick]

Reference values at delta 1e-5 under add-or-remove-one (1e-4 buckets); 200 distinct rounds with both figures
after each one; 10,000 rounds with both figures after each one (--quick: 500), in blocks, to show a constant
time a round.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

from fedpriv.dp import PoissonGaussian, RunningEpsilon, epsilon_pld, epsilon_rdp, frontier

DELTA = 1e-5
PUBLISHED = [  # sigma, rate, rounds, by PLD, by RDP
    (0.8, 0.01, 10_000, 10.0537, 10.935),
    (1.0, 64 / 60_000, 14_062, 0.6112, 0.8724),
    (1.1, 256 / 60_000, 14_040, 2.3796, 2.594),
]
BLOCKS = 5


def references() -> list[dict[str, Any]]:
    rows = []
    print(f"{'sigma':>6} {'rate':>9} {'rounds':>7} {'PLD':>9} {'published':>9} {'RDP':>9} {'published':>9}")
    for sigma, rate, rounds, by_pld, by_rdp in PUBLISHED:
        counted = [(PoissonGaussian(sigma, rate), rounds)]
        start = time.perf_counter()
        ours = epsilon_pld(counted, DELTA), epsilon_rdp(counted, DELTA)
        seconds = time.perf_counter() - start
        print(f"{sigma:>6} {rate:>9.6f} {rounds:>7} {ours[0]:>9.4f} {by_pld:>9} {ours[1]:>9.4f} {by_rdp:>9}")
        rows.append(
            {
                "sigma": sigma,
                "rate": rate,
                "rounds": rounds,
                "epsilon_pld": ours[0],
                "published_pld": by_pld,
                "epsilon_rdp": ours[1],
                "published_rdp": by_rdp,
                "seconds": seconds,
            }
        )
    return rows


def distinct(rounds: int = 200) -> dict[str, Any]:
    events = [PoissonGaussian(1.0 + 0.003 * i, 0.05) for i in range(rounds)]
    start = time.perf_counter()
    spent = RunningEpsilon()
    for event in events:
        spent.add(event)
        figures = spent.pld(DELTA), spent.rdp(DELTA)
    seconds = time.perf_counter() - start
    final = epsilon_pld([(event, 1) for event in events], DELTA)
    print(f"{rounds} distinct rounds, both figures after each: {seconds:.2f} s in all")
    print(f"  at the end: PLD {figures[0]:.4f}, RDP {figures[1]:.4f}; report {final:.4f}")
    return {
        "rounds": rounds,
        "seconds": seconds,
        "epsilon_pld": figures[0],
        "epsilon_rdp": figures[1],
        "epsilon_report": final,
    }


def long_run(rounds: int) -> dict[str, Any]:
    event = PoissonGaussian(1.0, 0.01)
    spent = RunningEpsilon()
    blocks = []
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for _ in range(rounds // BLOCKS):
            spent.add(event)
            figures = spent.pld(DELTA), spent.rdp(DELTA)
        blocks.append((time.perf_counter() - start) / (rounds // BLOCKS))
    at_once = epsilon_pld([(event, rounds)], DELTA)
    shown = ", ".join(f"{seconds * 1e3:.1f}" for seconds in blocks)
    print(f"{rounds} rounds, both figures after each: ms a round in {BLOCKS} blocks: {shown}")
    print(f"  at the end: PLD {figures[0]:.4f}, RDP {figures[1]:.4f}; report {at_once:.4f}")
    return {
        "rounds": rounds,
        "seconds_a_round": blocks,
        "epsilon_pld": figures[0],
        "epsilon_rdp": figures[1],
        "epsilon_report": at_once,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Values and speed of the accountant.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="500 rounds for 10,000")
    arguments = parser.parse_args()
    result = {
        "benchmark": "accounting",
        "machine": platform.machine(),
        "delta": DELTA,
        "references": references(),
        "distinct": distinct(),
        "long_run": long_run(500 if arguments.quick else 10_000),
    }
    start = time.perf_counter()
    points = frontier([1.0, 2.0, 4.0, 8.0], [10, 50, 200, 1000], 0.05, DELTA)
    result["frontier"] = {"points": len(points), "seconds": time.perf_counter() - start}
    print(f"frontier of {len(points)} points: {result['frontier']['seconds']:.2f} s")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
