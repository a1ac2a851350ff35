"""Degree and threshold of the sparse graph over cohorts, rates, adversaries and grinding.

    python benchmarks/secagg_graph.py [--write]

Prints the table of protocols/secagg/graph.md, section 3; ``--write`` puts it there.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from pathlib import Path

from fedpriv.secagg.graph_parameters import Adversary, graph_parameters

DOCUMENT = Path(__file__).resolve().parents[1] / "protocols" / "secagg" / "graph.md"
COHORTS = (100, 1000, 10_000, 100_000, 1_000_000)
RATES = (0.05, 0.10)
ADVERSARIES: tuple[Adversary, ...] = ("curious", "semi-malicious")
GRINDING = (0, 64)


def table() -> str:
    lines = ["| corrupt, dropped | adversary | g | n = 100 | 1000 | 10 000 | 100 000 | 1 000 000 |"]
    lines.append("|---" * (3 + len(COHORTS)) + "|")
    for rate, adversary, grinding in itertools.product(RATES, ADVERSARIES, GRINDING):
        cells = []
        for clients in COHORTS:
            found = graph_parameters(
                clients, corrupt=rate, dropout=rate, adversary=adversary, grinding_bits=grinding
            )
            cells.append(f"{found.degree} ({found.threshold})")
        lines.append(f"| {rate:.2f}, {rate:.2f} | {adversary} | {grinding} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="The table of graph parameters.")
    parser.add_argument("--write", action="store_true", help="put the table into protocols/secagg/graph.md")
    write = parser.parse_args().write
    made = table()
    print(made, end="")
    if write:
        text, times = re.subn(
            r"\| corrupt, dropped \|.*\n(\|.*\n)+", lambda _: made, DOCUMENT.read_text("utf-8")
        )
        if times != 1:
            sys.exit(f"{DOCUMENT} has {times} tables of this form")
        DOCUMENT.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
