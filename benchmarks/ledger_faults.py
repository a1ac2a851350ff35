"""The ledger under kills, failing disks, damaged files and races, and how each trial ended.

    python benchmarks/ledger_faults.py [--part kills|disks|damage|races] [--seed N] [--json FILE]

kills   a process at work on a ledger is killed 50 times, at random moments, and restarted; on ten ledgers.
disks   every write, truncation and synchronisation that SQLite asks for goes wrong; files that may not grow;
        full file systems; no permission.
damage  the files as a kill or a power failure at every such moment leaves them, cut short, or with a bit
        flipped.
races   two processes in 1,000 trials, for the last round or the last plan that a budget has room for.

Each trial ends with everything that the ledger answered still there and neither engine's epsilon lower, or in
one error that names the file and says what to do; the run stops at the first that does not.  What a trial
asserts stands in tests/parties/ledger_work.py.  Without --part all four run; one part leaves the figures of
the others as they are.
"""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from parties import ledger_damage as damage
from parties.ledger_closed import CLOSED, without_permission
from parties.ledger_kills import kills, races

RESULT = Path(__file__).resolve().parent / "results" / "ledger_faults.json"
ROWS = 40

Figures = dict[str, object]


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder, on the disk that temporary files are on."""
    with tempfile.TemporaryDirectory(prefix="ledger-faults-") as name:
        yield Path(name)


def plain(ends: Counter[str]) -> Figures:
    """The endings with their sum."""
    return {"trials": ends.total(), **dict(sorted(ends.items()))}


def all_kills(seed: int) -> Figures:
    """500 kills, 50 on each of ten ledgers."""
    ends: Counter[str] = Counter()
    for ledger in range(10):
        with folder() as where:
            ends += kills(where, count=50, seed=10 * seed + ledger)
    return dict(ends) | {"answered rows missing": 0}  # the first would have ended this


def all_races(_: int) -> Figures:
    """1,000 races; which side wins is for the machine to say, and no seed."""
    with folder() as where:
        return races(where, trials=1000)


def all_disks(seed: int) -> Figures:
    """What the disk refuses."""
    figures: Figures = {}
    with folder() as where:
        figures["operation refused"] = plain(damage.refused_operations(where, rows=5, seed=seed))
    with folder() as where:
        figures["size of files limited"] = plain(damage.size_limits(where, rows=ROWS, seed=seed))
    with folder() as where:
        figures["small file system"] = plain(damage.small_disks(where, rows=ROWS, seed=seed))
    refused = Counter(without_permission(what).split(":")[0] for what in CLOSED)
    return figures | {"no permission": plain(refused)}


def all_damage(seed: int) -> Figures:
    """What the files may hold afterwards."""
    with folder() as where:
        recording = damage.record(where, rows=ROWS, seed=seed)
    trials: dict[str, Callable[[Path], Counter[str]]] = {
        "killed before or within an operation": lambda at: damage.kill_points(at, recording),
        "power failure": lambda at: damage.power_failures(at, recording, draws=4, seed=seed),
        "log cut": lambda at: damage.cut_logs(at, recording),
        "file cut": lambda at: damage.cut_files(at, recording),
        "bit of the file": lambda at: damage.flipped_bits(at, recording, count=4000, seed=seed, log=False),
        "bit of the log": lambda at: damage.flipped_bits(at, recording, count=1000, seed=seed, log=True),
    }
    figures: Figures = {"recorded": {"rows": ROWS, "operations": len(recording.operations)}}
    for name, trial in trials.items():
        with folder() as where:
            figures[name] = plain(trial(where))
    return figures


PARTS: dict[str, Callable[[int], Figures]] = {
    "kills": all_kills,
    "disks": all_disks,
    "damage": all_damage,
    "races": all_races,
}


def show(figures: Figures, indent: int = 2) -> None:
    """A table of two columns."""
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"{' ' * indent}{name}")
            show(value, indent + 2)
        else:
            print(f"{' ' * indent}{name:<{44 - indent}} {value!s:>9}")


def main() -> None:
    """Run what was asked for, print it, and write it beside what earlier runs found."""
    parser = argparse.ArgumentParser(description="The ledger under kills, failing disks, damage and races.")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=RESULT, help="write the figures here")
    options = parser.parse_args()

    for name in options.part or PARTS:
        start = time.perf_counter()
        figures = PARTS[name](options.seed)
        print(f"{name} (seed {options.seed})")
        show(figures)
        known = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
        parts: dict[str, Figures] = known.get("parts", {})
        parts[name] = {"seed": options.seed} | figures | {"seconds": round(time.perf_counter() - start, 1)}
        result = {
            "benchmark": "ledger_faults",
            "machine": platform.machine(),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "parts": {part: parts[part] for part in PARTS if part in parts},
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
