"""An audit with canaries of a distributed, masked run: with its noise, and with the noise switched off.

    python benchmarks/canaries.py [--canaries 1000] [--scenarios sampled whole] [--json FILE]

The pipeline is that of ``examples/quickstart/fedpriv.toml`` (its model, adapter, silos, clip, noise, masks
and epsilon) on a tenth of its films.  In ``sampled`` a record is in each of ten rounds with a probability of
a quarter; in ``whole`` it is in one round, for certain, which hides a canary least.  Half of the canaries, by
a coin each, are records of some silo: sampled, quantised and masked like all others.  The auditor sees the
released sums, and knows the other records, as the guarantee allows.

The lower bound on epsilon must not pass what the plan claims.  In a build whose clients leave the noise out
it must; else this audit would not notice.  Either failure ends in exit status 1.  ``gaussian`` is a check of
the method on one noisy sum whose epsilon is known.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv import load_config
from fedpriv.audit import CAUTION, Audit, Canaries, CanaryGradients, audit, gaussian_delta
from fedpriv.crypto import Keystream, SigningKey
from fedpriv.entropy import Entropy
from fedpriv.federation.planning import make_plan
from fedpriv.federation.round import RECORD_SHARE, RoundOutcome, RoundRunner
from fedpriv.federation.workplace import prepare
from fedpriv.training import RecordGradients, ServerOptimizer

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
    records = len(work.dataset.train)
    placed = Canaries.draw(canaries, work.manifest.size, plan.grid.clip, Entropy().stream("canaries").words)
    real = RecordGradients(
        work.model,
        work.task,
        work.manifest,
        clip=plan.grid.clip * RECORD_SHARE,
        micro_batch=config.training.micro_batch,
    )
    gradients = CanaryGradients(real, placed, records)
    shards = placed.join(work.dataset.shards, records)
    runner = (RoundRunner if noisy else WithoutNoise)(
        work=replace(work, dataset=replace(work.dataset, shards=shards)),
        plan=plan,
        entropy=Entropy(),
        gradients=gradients,
        run_id=bytes(16),
        keys={
            client: SigningKey.from_seed(Entropy().stream("identities").read(32))
            for client in range(1, len(shards) + 1)
        },
    )
    optimizer = ServerOptimizer(config.server.optimizer, learning_rate=config.server.learning_rate)
    parameters = work.manifest.flatten(work.model)
    total = np.zeros(work.manifest.size)
    for round_ in range(1, rounds + 1):
        outcome = runner.run(round_, parameters, {})
        assert isinstance(outcome, RoundOutcome)
        total += outcome.gradient * plan.expected_batch
        parameters = optimizer.step(parameters, outcome.gradient)
    scores = placed.scores(total - gradients.background)
    found = audit(scores, placed.included, delta=plan.delta)
    return {
        "scenario": scenario,
        "noise": noisy,
        "claimed": plan.epsilon_pld,
        "expected": "not refuted" if noisy else "refuted",
        "as_expected": found.refutes(plan.epsilon_pld) is not noisy,
        "rounds": rounds,
        "sampling_rate": plan.sampling_rate,
        "noise_multiplier": plan.noise.noise_multiplier if noisy else 0.0,
        "dimension": work.manifest.size,
        "records": records,
        "canaries_drawn": gradients.taken,
        "score_mean_in": float(scores[placed.included].mean()),
        "score_mean_out": float(scores[~placed.included].mean()),
        "score_std_out": float(scores[~placed.included].std()),
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
    found = audit(placed.scores(total), placed.included, delta=delta)
    return {
        "scenario": "gaussian",
        "noise": True,
        "claimed": true,
        "expected": "not refuted",
        "as_expected": not found.refutes(true),
        "rounds": 1,
        "sampling_rate": 1.0,
        "noise_multiplier": multiplier,
        "dimension": dimension,
        **figures(found),
        "seconds": time.perf_counter() - started,
    }


def figures(found: Audit) -> dict[str, object]:
    """The audit's own figures."""
    return {
        "canaries": found.canaries,
        "delta": found.delta,
        "confidence": found.confidence,
        "lower_bound": found.any_mechanism.epsilon,
        "guesses": [found.any_mechanism.right, found.any_mechanism.guesses],
        "gaussian_estimate": found.gaussian.epsilon,
        "gaussian_guesses": [found.gaussian.right, found.gaussian.guesses],
    }


def main() -> int:
    """Run what is asked for; 1 where a bound is on the wrong side of the claim."""
    parser = argparse.ArgumentParser(description="Audit with canaries.")
    parser.add_argument("--canaries", type=int, default=1000)
    parser.add_argument("--scenarios", choices=[*SCENARIOS, "gaussian"], nargs="+")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures here")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    print(f"{'scenario':<10} {'noise':>6} {'claimed':>8} {'at least':>9} {'guesses':>10} {'if Gaussian':>12}")

    def show(row: dict[str, object]) -> None:
        rows.append(row)
        right, guesses = row["guesses"]  # type: ignore[misc]
        print(
            f"{row['scenario']:<10} {row['noise_multiplier']:>6.2f} {row['claimed']:>8.2f}"
            f" {row['lower_bound']:>9.2f} {f'{right}/{guesses}':>10} {row['gaussian_estimate']:>12.2f}"
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
