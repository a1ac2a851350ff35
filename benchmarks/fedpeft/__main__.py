"""PEFT methods under honest privacy: accuracy, bytes and epsilon of one federation, method by method.

    python benchmarks/fedpeft                  # every run that is not in the results yet; --hours bounds it
    python benchmarks/fedpeft --only '/lora/'  # those whose key matches this
    python benchmarks/fedpeft --list           # what is done, what is left, and the hours that it takes
    python benchmarks/fedpeft --page           # the tables and the page of plots, from the results alone

Eight clients, one step a round on the sum of clipped gradients of records, masked, noise shared by the
clients: `unit = record, trust = distributed`.  Every result stands in ``../results/fedpeft.jsonl`` as soon as
it is there, with its configuration, versions and digests.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from cells import Cell, cells
from one_run import run_cell
from page import write_page
from settings import DATA
from tuned import Results, chosen

_TASKS = 40  # runs of one process: what is imported and priced once serves the next

RESULTS = Path(__file__).resolve().parents[1] / "results" / "fedpeft.jsonl"


def known() -> Results:
    """What the file of results says, by key."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {row["key"]: row for row in map(json.loads, lines)}


def keep(cell: Cell, figures: dict[str, object], results: Results) -> None:
    """Add one result to the file and to what is known."""
    results[cell.key] = {"key": cell.key, **figures}
    with RESULTS.open("a") as file:
        file.write(json.dumps(results[cell.key]) + "\n")
    said = figures["refused"] if "refused" in figures else f"{figures['accuracy']:.4f}"
    print(f"{cell.key}: {said}, {figures['processor_seconds']} s", flush=True)


def run_missing(wanted: list[Cell], results: Results, *, workers: int, until: float, cache: str) -> None:
    """Run the cells side by side, in processes of their own, in their order; those first whose rates are
    known."""
    os.environ["OMP_NUM_THREADS"] = "1"
    waiting = [cell for cell in wanted if cell.key not in results]
    running: dict[Future[dict[str, object]], Cell] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=_TASKS) as pool:
        while waiting or running:
            ready = (cell for cell in list(waiting) if chosen(results, cell))
            while len(running) < workers and time.monotonic() < until and (cell := next(ready, None)):
                waiting.remove(cell)
                rate, clip = chosen(results, cell)  # type: ignore[misc]  # it is ready
                running[pool.submit(run_cell, cell, rate, clip, cache)] = cell
            if not running:
                break
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                keep(running.pop(done), done.result(), results)


def main() -> None:
    """Run what is missing, or show what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--only", default="", help="regular expression for the keys of the runs that are wanted"
    )
    parser.add_argument("--data", nargs="+", choices=sorted(DATA), default=list(DATA), help="data sets")
    parser.add_argument("--hours", type=float, default=float("inf"), help="begin no run after so long")
    parser.add_argument("--workers", type=int, default=2, help="runs side by side, one thread each")
    parser.add_argument("--cache", help="folder for hidden states, kept; default: a temporary one")
    parser.add_argument("--list", action="store_true", help="list the runs, and stop")
    parser.add_argument("--page", action="store_true", help="write the tables and the page, and stop")
    options = parser.parse_args()
    results = known()
    wanted = [cell for cell in cells(tuple(options.data)) if re.search(options.only, cell.key)]
    if options.list:
        for cell in wanted:
            print("done" if cell.key in results else "left", cell.key)
        spent = sum(row["processor_seconds"] for row in results.values()) / 3600
        print(f"{len(results)} runs took {spent:.1f} processor hours")
    elif not options.page:
        with tempfile.TemporaryDirectory() as temporary:
            run_missing(
                wanted,
                results,
                workers=options.workers,
                until=time.monotonic() + 3600 * options.hours,
                cache=options.cache or temporary,
            )
    if not options.list:
        write_page(results)


if __name__ == "__main__":
    main()
