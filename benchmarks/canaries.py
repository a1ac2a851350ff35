"""An audit with canaries of a distributed, masked run: with its noise, and with the noise switched off.

    python benchmarks/canaries.py [--canaries 1000] [--scenarios sampled whole] [--json FILE]

The pipeline is that of ``examples/quickstart/fedpriv.toml`` (its model, adapter, silos, clip, noise, masks
and epsilon) on a tenth of its films.  In ``sampled`` a record is in each of ten rounds with a probability of
a quarter; in ``whole`` it is in one round, for certain, which hides a canary least.  Half of the canaries, by
a coin each, are records of some silo: sampled, quantised and masked like all others.  The auditor sees the
released sums, and knows the other records, as the guarantee allows: what ``fedpriv audit`` does.

The audit must not refute what the plan claims.  In a build whose clients leave the noise out it must; else
this audit would not notice.  Either failure ends in exit status 1.  ``gaussian`` is a check of the method on
one noisy sum whose epsilon is known.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv import load_config
from fedpriv.audit import CAUTION, Canaries, ClaimAudit, TradeOff, gaussian_delta, try_claim
from fedpriv.crypto import Keystream
from fedpriv.entropy import Entropy
from fedpriv.federation.auditing.audit import judge
from fedpriv.federation.auditing.listening import listen
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.round import RoundRunner
from fedpriv.federation.workplace import prepare

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples" / "quickstart" / "fedpriv.toml"
RESULTS = ROOT / "benchmarks" / "results" / "canaries.json"
RECORDS = 1050  # public and nominal, as in the quickstart
SCENARIOS = {"sampled": (10, 256), "whole": (1, RECORDS)}  # rounds, records expected in each


class WithoutNoise(RoundRunner):
    """The build that must be caught: clients send their sums as they are."""

    def _local_update(
        self, round_: int, client: int, parameters: NDArray[np.float32], party: Any
    ) -> NDArray[np.uint64]:
        return self.plan.grid.to_residues(self.local.contribution(round_, client, parameters))


def run(scenario: str, canaries: int, noisy: bool, folder: str) -> dict[str, object]:
    """Run one scenario with canaries in it, and audit what was released."""
    started = time.perf_counter()
    rounds, batch = SCENARIOS[scenario]
    overrides = [
        "data.test.fraction=0.9",
        f"run.rounds={rounds}",
        f"privacy.expected_batch={batch}",
        f"privacy.records={RECORDS}",
        f"budget.ledger='{folder}/ledger.sqlite'",
    ]
    if not noisy:  # without shares there is no excess of them to take off
        overrides.append("secagg.min_survivors=8")
    config = load_config(CONFIG, overrides)
    work = prepare(config)
    plan = make_plan(config, work)
    heard = listen(
        work,
        plan,
        canaries=canaries,
        rounds=rounds,
        entropy=Entropy(),
        build=RoundRunner if noisy else WithoutNoise,
    )
    found, scores, included = judge(plan, heard), heard.by_name["total"], heard.canaries.included
    return {
        "scenario": scenario,
        "noise": noisy,
        "claimed": plan.epsilon_pld,
        "expected": "not refuted" if noisy else "refuted",
        "as_expected": found.refuted is not noisy,
        "rounds": rounds,
        "sampling_rate": plan.sampling_rate,
        "noise_multiplier": plan.noise.noise_multiplier if noisy else 0.0,
        "dimension": work.manifest.size,
        "records": len(work.dataset.train),
        "canaries_in": int(included.sum()),
        "score_mean_in": float(scores[included].mean()),
        "score_mean_out": float(scores[~included].mean()),
        "score_std_out": float(scores[~included].std()),
        **figures(found),
        "seconds": time.perf_counter() - started,
    }


def gaussian(canaries: int, dimension: int, multiplier: float, delta: float, seed: int) -> dict[str, object]:
    """One sum of canaries with Gaussian noise and nothing else, whose epsilon is known exactly."""
    started = time.perf_counter()
    placed = Canaries.draw(canaries, dimension, 1.0, Keystream(bytes([seed]) * 32).words)
    total = np.random.default_rng(seed).normal(0.0, multiplier, dimension)
    for j in np.flatnonzero(placed.included):
        total += placed.rows([j])[0]
    true = 0.0
    while gaussian_delta(1.0 / multiplier, true) > delta:
        true += 1e-3
    found = try_claim(
        {"total": placed.scores(total)},
        placed.included,
        claimed=true,
        delta=delta,
        curve=TradeOff.of(lambda epsilon: gaussian_delta(1.0 / multiplier, epsilon)),
    )
    return {
        "scenario": "gaussian",
        "noise": True,
        "claimed": true,
        "expected": "not refuted",
        "as_expected": not found.refuted,
        "rounds": 1,
        "sampling_rate": 1.0,
        "noise_multiplier": multiplier,
        "dimension": dimension,
        **figures(found),
        "seconds": time.perf_counter() - started,
    }


def figures(found: ClaimAudit) -> dict[str, object]:
    """The audit's own figures."""
    return {
        "canaries": found.canaries,
        "delta": found.delta,
        "confidence": found.confidence,
        "score": found.score,
        "guesses": [found.right, found.guesses],
        "chance_under_claim": found.chance,
        "lower_bound": found.any_mechanism.epsilon,
        "gaussian_estimate": found.gaussian.epsilon,
    }


def main() -> int:
    """Run what is asked for; 1 where a bound is on the wrong side of the claim."""
    parser = argparse.ArgumentParser(description="Audit with canaries.")
    parser.add_argument("--canaries", type=int, default=1000)
    parser.add_argument("--scenarios", choices=[*SCENARIOS, "gaussian"], nargs="+")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures here")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    print(
        f"{'scenario':<10} {'noise':>6} {'claimed':>8} {'guesses':>10} {'chance':>8} {'at least':>9}"
        f" {'if Gaussian':>12}"
    )

    def show(row: dict[str, object]) -> None:
        rows.append(row)
        right, guesses = row["guesses"]  # type: ignore[misc]
        print(
            f"{row['scenario']:<10} {row['noise_multiplier']:>6.2f} {row['claimed']:>8.2f}"
            f" {f'{right}/{guesses}':>10} {row['chance_under_claim']:>8.2g} {row['lower_bound']:>9.2f}"
            f" {row['gaussian_estimate']:>12.2f}"
            f"   {row['expected'] if row['as_expected'] else 'NOT ' + str(row['expected'])}",
            flush=True,
        )

    for scenario in options.scenarios or [*SCENARIOS, "gaussian"]:
        if scenario == "gaussian":
            for multiplier in (1.0, 0.5):
                show(gaussian(1000, 200_000, multiplier, 1e-5, seed=1))
            continue
        for noisy in (True, False):
            with tempfile.TemporaryDirectory() as folder:
                show(run(scenario, options.canaries, noisy, folder))
    print(CAUTION)
    report = {
        "benchmark": "canaries",
        "note": CAUTION,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "rows": rows,
    }
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    failed = [row for row in rows if not row["as_expected"]]
    for row in failed:
        print(f"FAIL: {row['scenario']}, noise {row['noise']}: expected {row['expected']}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
