"""Junk for every decoder and every state of secure summation, and how each input ended.

    python benchmarks/secagg_fuzz.py [--inputs N] [--seed N] [--json FILE]

An input is a message of a recorded run that was changed at random, cut up, put together with another, or
changed as the values that it holds, or it is random bytes; tests/parties/mutations.py makes it.  It goes to a
client or a server that waits for a message, or for none, to a decoder, or to whatever reads a saved state.
Each must be refused with an error of fedpriv's and leave everything as it was, or be taken because it differs
from the honest message in what only its sender can know; every so often, and in the end, each target is given
the honest message and must take it.  The run stops at the first input for which any of this does not hold.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from parties.secagg_targets import Fuzzing

RESULT = Path(__file__).resolve().parent / "results" / "secagg_fuzz.json"
PIECE = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Junk for every decoder and state of secure summation.")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    options = parser.parse_args()

    start = time.process_time()
    fuzzing = Fuzzing(options.seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    while (done := outcomes.total()) < options.inputs:
        outcomes += fuzzing.run(min(PIECE, options.inputs - done))
        print(f"{outcomes.total():>9} inputs", file=sys.stderr)
    seconds = time.process_time() - start

    ends: Counter[str] = Counter()
    by_target: dict[str, dict[str, int]] = {}
    for (target, outcome), count in outcomes.items():
        ends[outcome] += count
        by_target.setdefault(target, {})[outcome] = count
    print(f"{options.inputs} inputs to {len(by_target)} kinds of target in {seconds:.0f} s of one core")
    for outcome, count in ends.most_common():
        print(f"{outcome:>16}  {count:>9}")
    result = {
        "benchmark": "secagg_fuzz",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("cryptography", "msgspec")},
        "seed": options.seed,
        "inputs": options.inputs,
        "processor_seconds": round(seconds, 1),
        "outcomes": dict(ends.most_common()),
        "targets": {target: dict(sorted(of.items())) for target, of in sorted(by_target.items())},
    }
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
