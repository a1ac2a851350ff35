"""What a private training step costs beside a plain one: time and memory, on three real models.

    python benchmarks/peft_step.py [--models minilm,smollm2,dinov2] [--repeat N] [--only memory]
    python benchmarks/peft_step.py --table

Models: MiniLM-L6 with a classification head (batch 32, sequence 128), SmolLM2-135M as a causal language
model (batch 4, sequence 128), DINOv2 ViT-S/14 with a classification head (batch 32, 112 x 112 pixels, 65
positions).  Records are random and all of the full length.  Setups, each with AdamW:

- plain: PEFT, forward, backward, step; not private;
- plain, fast linear: the same within the products that fedpriv takes for linear maps (training/matmul.py),
  which differ from PyTorch's on some processors only: what of a gain is theirs;
- opacus hooks (GradSampleModule, DPOptimizer) and opacus ghost (their FastGradientClipping kin);
- fedpriv: PerRecordGradients.clipped_sum and the release of fedpriv.make_private (grid, discrete Gaussian);
- fedpriv with the frozen prefix, where the adapter is on the upper blocks only, all records visited before.

Time: the setups of one model and adapter run in one process, in turns, each turn beginning with another one;
given is the median over turns of a setup's time over plain's in that turn.  CPU time counts all threads.
Memory: each setup in a process of its own; how far the resident set rises in two steps above what the
process held before, and in one more step above what it holds by then (``peft_step_side.memory``).

Results are kept by processor, as what a library of products makes of one is the largest part of them.

What a prefix can save: all blocks cost alike forward, and a block costs about the same again backward.  So
with the upper k of L blocks trained a step with a prefix costs 2 k / (L + k) of a plain one of the same
placement: 0.67 for the top half, 0.40 for the top quarter, and 0.29 for one block of MiniLM's six.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "peft_step.json"
PAGE = RESULTS.with_suffix(".md")
SIDE = Path(__file__).parent / "peft_step_side.py"

MODELS = ("minilm", "smollm2", "dinov2")
FAST = "plain, fast linear"
MEMORY = ("plain", "fedpriv")
SHORT = ("plain", FAST, "fedpriv")
WHOLE = ("plain", FAST, "opacus hooks", "opacus ghost", "fedpriv")
PREFIX = ("plain", FAST, "fedpriv", "fedpriv, prefix float32", "fedpriv, prefix float16")
HALF = ("plain", FAST, "fedpriv, prefix float16")
# adapter -> setups whose time is taken with one thread, with two, and whose memory is.
PLAN: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "q,v r8": (WHOLE, SHORT, WHOLE),
    "all-linear r8": (("plain", FAST, "opacus hooks", "fedpriv"), (), MEMORY),
    "q,v r16": (SHORT, (), MEMORY),
    "q,v r8, top half": (PREFIX, (), HALF),
    "q,v r8, top quarter": (HALF, (), ()),
}
# Turns, so that the whole takes less than twenty minutes on two cores.
REPEAT = {"minilm": 3, "smollm2": 2, "dinov2": 3}


def time_jobs(model: str, repeat: int) -> Iterator[dict[str, Any]]:
    for adapter, by_threads in PLAN.items():
        for threads, setups in enumerate(by_threads[:2], start=1):
            if setups:
                yield {
                    "kind": "time",
                    "model": model,
                    "adapter": adapter,
                    "threads": threads,
                    "setups": setups,
                    "repeat": repeat,
                }


def memory_jobs(model: str) -> Iterator[dict[str, Any]]:
    for adapter, (_, _, setups) in PLAN.items():
        for setup in setups:
            yield {"kind": "memory", "model": model, "adapter": adapter, "setup": setup, "threads": 1}


def work(job: dict[str, Any]) -> Any:
    """The result of one job, in a process of its own."""
    threads = str(job["threads"])
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if job["kind"] == "memory":
        # Freed memory goes back at once, so that the resident set follows what is held.
        environment |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, str(SIDE), json.dumps(job)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{job}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(chosen: list[str], repeat: int | None, results: dict[str, Any]) -> None:
    """Replace the figures of the chosen models, and write them down as they come."""
    results["time"] = [row for row in results.get("time", []) if row["model"] not in chosen]
    for model in chosen:
        for job in time_jobs(model, repeat or REPEAT[model]):
            rows = work(job)
            results["time"].append({**job, "setups": rows})
            print(model, job["adapter"], f"{job['threads']} thread(s)", flush=True)
            for row in rows:
                cost = f"{statistics.median(row['cpu_s']):8.3f} s" if row["cpu_s"] else row["error"]
                print(f"    {row['setup']:<26} {cost}", flush=True)
            write(results)
    measure_memory(chosen, results)
    if "minilm" in chosen:
        results["learning"] = work({"kind": "learning", "threads": 2})
        write(results)


def measure_memory(chosen: list[str], results: dict[str, Any]) -> None:
    """Replace the memory of the chosen models."""
    results["memory"] = [row for row in results.get("memory", []) if row["model"] not in chosen]
    with ThreadPoolExecutor(2) as pool:  # two cores; how much memory a process takes is its own affair
        jobs = [job for model in chosen for job in memory_jobs(model)]
        for job, figures in zip(jobs, pool.map(work, jobs), strict=True):
            results["memory"].append({**job, **figures})
    write(results)


def write(results: dict[str, Any]) -> None:
    packages = ("fedpriv", "torch", "transformers", "peft", "opacus", "numpy")
    results["versions"] = {name: metadata.version(name) for name in packages}
    results["machine"] = {"cores": os.cpu_count(), "python": platform.python_version()}
    RESULTS.write_text(json.dumps(known() | {processor(): results}, indent=2) + "\n")


def known() -> dict[str, Any]:
    """What the file of results says, by processor."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def processor() -> str:
    """Its name and the numbers that tell one generation from another, as Linux gives them."""
    info = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in info.read_text().splitlines()] if info.exists() else []
    said = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    keys = ("model name", "cpu family", "model")
    return "{}, family {}, model {}".format(*(said.get(key, "?") for key in keys))


def page(by_processor: dict[str, Any]) -> str:
    """The tables, as Markdown."""
    lines = ["# Cost of a private step beside a plain one", ""]
    for name, results in by_processor.items():
        lines += [f"# {name}", "", *tables(results)]
    return "\n".join(lines)


def tables(results: dict[str, Any]) -> list[str]:
    """Those of one processor."""
    lines: list[str] = []
    for model in MODELS:
        runs = [run for run in results["time"] if run["model"] == model]
        if not runs:
            continue
        lines += [
            f"## {model}",
            "",
            "| adapter | setup | s, 1 thread | CPU / plain | wall / plain | 2 threads: CPU / plain |"
            " wall / plain | memory, MiB | / plain | a later step / plain |",
            "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for adapter, (setups, *_) in PLAN.items():
            lines += [
                "| " + " | ".join([adapter, setup, *cells(results, model, adapter, setup)]) + " |"
                for setup in setups
            ]
        lines.append("")
    if "learning" in results:
        lines += [
            "## The same training",
            "",
            "MiniLM, film reviews, LoRA r8 on q,v of the top half, 24 steps of 32 records, no noise. `away`: "
            "distance of the trained weights from plain training's (clip 1e6) or those without a prefix.",
            "",
            "| setup | held-out accuracy | held-out loss | away |",
            "|---|---:|---:|---:|",
        ]
        lines += [
            f"| {row['setup']} | {row['accuracy']:.4f} | {row['loss']:.5f} | {row['away']:.1e} |"
            for row in results["learning"]
        ]
        lines.append("")
    failures = {
        f"- {run['model']}, {run['adapter']}, {row['setup']}: `{row['error']}`"
        for run in results["time"]
        for row in run["setups"]
        if "error" in row
    }
    return [*lines, *(["## What failed", "", *sorted(failures), ""] if failures else [])]


def cells(results: dict[str, Any], model: str, adapter: str, setup: str) -> list[str]:
    made: list[str] = []
    for threads in (1, 2):
        rows = {
            row["setup"]: row
            for run in results["time"]
            if (run["model"], run["adapter"], run["threads"]) == (model, adapter, threads)
            for row in run["setups"]
        }
        row, plain = rows.get(setup), rows.get("plain")
        if row is None or plain is None:
            made += ["", ""] + [""] * (threads == 1)
        elif not row["cpu_s"]:
            made += ["fails", ""] + [""] * (threads == 1)
        else:
            made += [f"{statistics.median(row['wall_s']):.2f}"] * (threads == 1)
            made += [f"{ratio(row[key], plain[key]):.3f}" for key in ("cpu_s", "wall_s")]
    found = {
        row["setup"]: row
        for row in results["memory"]
        if (row["model"], row["adapter"]) == (model, adapter) and "rise_kib" in row
    }
    if setup not in found or "plain" not in found:
        return [*made, "", "", ""]
    here, plainly = found[setup], found["plain"]
    over = [f"{here[key] / plainly[key]:.3f}" for key in ("rise_kib", "later_step_kib")]
    return [*made, f"{here['rise_kib'] / 1024:.0f}", *over]


def ratio(times: list[float], plain: list[float]) -> float:
    return statistics.median(here / there for here, there in zip(times, plain, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the tables of the last run and stop")
    parser.add_argument("--models", default=",".join(MODELS), help="which, with commas between")
    parser.add_argument("--only", choices=["memory"], help="measure this alone")
    parser.add_argument("--repeat", type=int, help="turns; default: by model, 2 or 3")
    options = parser.parse_args()
    chosen = options.models.split(",")
    if not set(chosen) <= set(MODELS):
        parser.error(f"models are {', '.join(MODELS)}")
    if not options.table:
        results = known().get(processor(), {"time": [], "memory": []})
        if options.only == "memory":
            measure_memory(chosen, results)
        else:
            measure(chosen, options.repeat, results)
        PAGE.write_text(page(known()))
    print(page(known()))


if __name__ == "__main__":
    main()
