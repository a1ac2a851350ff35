"""Put a finished quickstart beside the recorded runs of the same job under other trust models.

``benchmarks/quickstart.py`` regenerates the recorded figures.
"""

import json
import sys
from pathlib import Path

RECORDED = Path(__file__).parents[2] / "benchmarks" / "results" / "quickstart.json"
ROWS = {
    "no-dp": "no DP at all (no clip, no noise)",
    "central": "central DP, a trusted server",
    "distributed": "distributed, as here",
    "local": "local DP, each silo enough noise on its own",
}


def main(run_dir: Path) -> None:
    result = json.loads((run_dir / "result.json").read_text())
    recorded = json.loads(RECORDED.read_text())
    print()
    print("The same job under other trust models, recorded by `python benchmarks/quickstart.py`:")
    for name, words in ROWS.items():
        values = [entry["accuracy"] for entry in recorded["runs"] if entry["variant"] == name]
        if values:
            mean, seeds = sum(values) / len(values), len(values)
            print(f"  {words:<46} {mean:.3f}  (mean of {seeds} {'seed' if seeds == 1 else 'seeds'})")
    print(f"  {'this run':<46} {result['accuracy']:.3f}  (majority guess {result['majority']:.3f})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
