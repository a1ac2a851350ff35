"""Put a finished quickstart beside the recorded runs of the same job under other trust models.

``benchmarks/quickstart.py`` regenerates the recorded figures.
"""

import json
import sys
from pathlib import Path

RECORDED = Path(__file__).parents[2] / "benchmarks" / "results" / "quickstart.json"
SCENARIOS = {
    "quickstart": "8 silos, epsilon 3",
    "many-silos": "32 silos, epsilon 1",
}
ROWS = {
    "no-dp": "no DP at all (no clip, no noise)",
    "central": "central DP, a server trusted with the sum",
    "distributed": "distributed, nobody trusted",
    "local": "local DP, each silo enough noise on its own",
}


def main(run_dir: Path) -> None:
    """Print the recorded accuracies by scenario and trust model, and this run's."""
    result = json.loads((run_dir / "result.json").read_text())
    runs = json.loads(RECORDED.read_text())["runs"]
    print()
    print("Accuracy of recorded runs of the same job (python benchmarks/quickstart.py):")
    for scenario, what in SCENARIOS.items():
        print(f"  {what}")
        for variant, words in ROWS.items():
            values = [
                run["accuracy"] for run in runs if (run["scenario"], run["variant"]) == (scenario, variant)
            ]
            if values:
                seeds = "1 seed" if len(values) == 1 else f"mean of {len(values)} seeds"
                print(f"    {words:<46} {sum(values) / len(values):.3f}  ({seeds})")
    print(f"  this run{'':<40} {result['accuracy']:.3f}  (majority guess {result['majority']:.3f})")
    print("  One seed moves by a point or two: it cannot rank the last three. benchmarks/trust.py has three")
    print("  seeds each, with intervals, and 8 to 128 silos: at 32, local noise costs 2 to 5 points.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
