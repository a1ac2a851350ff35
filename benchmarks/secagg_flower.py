"""One client and the server of a round: this package against the SecAgg+ functions of Flower, side by side.

    python benchmarks/secagg_flower.py [--dimension D] [--environment DIR] [--json FILE]

The same clients, neighbours, threshold, dropouts and modulus on both sides, one after the other in the same
run; processor seconds of all threads.  Flower runs in an environment of its own, which is made on first use
with the pinned version below; secagg_flower_side.py says what of it is called and which figures are scaled up
from a sample.  Here a whole round runs, from keys to the sum, which is checked; messages are encoded and
decoded, keys and lists signed and verified.  Quantising and the network are left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.crypto import Keystream, SigningKey, add_masks
from fedpriv.secagg import Client, SecAggParams, Server, Vector

FLOWER = "flwr==1.41.0"
HERE = Path(__file__).resolve().parent
BITS, VALUE_BITS = 32, 22  # Flower's defaults
MEASURED = 5
RUN_ID, CONTEXT = b"benchmark flower", bytes(32)


class Stopwatch:
    """Processor seconds by label, and those within them that masks take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.masks = 0.0

    def run(self, label: str, work: Any, *arguments: Any) -> Any:
        start = time.process_time()
        result = work(*arguments)
        self.seconds[label] = self.seconds.get(label, 0.0) + time.process_time() - start
        return result

    def add_masks(self, target: NDArray[Any], masks: Any, *, start: int = 0) -> None:
        began = time.process_time()
        add_masks(target, masks, start=start)
        self.masks += time.process_time() - began

    def figures(self) -> dict[str, float]:
        return {"total": sum(self.seconds.values()), "masks": self.masks, **self.seconds}


def our_side(params: SecAggParams, dropped: set[int]) -> dict[str, dict[str, float]]:
    """A whole round; the figures of the server and, of some clients that survive, of the typical one."""
    stream = Keystream(bytes(32))
    identities = {number: SigningKey.from_seed(stream.read(32)) for number in range(1, params.clients + 1)}
    roster = {number: identity.public for number, identity in identities.items()}
    watched = {number: Stopwatch() for number in sorted(set(roster) - dropped)[:MEASURED]}
    of_server = Stopwatch()
    server = Server(params, RUN_ID, roster, masks=of_server.add_masks)
    server.open_round(1, CONTEXT)
    generator = np.random.default_rng(1)
    dimension = params.vectors[0].dimension
    clients, expected = {}, np.zeros(dimension, dtype=np.uint64)
    for number, identity in identities.items():
        masks = watched[number].add_masks if number in watched else add_masks
        clients[number] = Client(params, RUN_ID, number, identity, roster, stream.read, masks=masks)
        clients[number].open_round(1, CONTEXT)
        values = generator.integers(0, 2**VALUE_BITS, dimension, dtype=np.uint32)
        clients[number].set_vectors(values)
        if number not in dropped:
            expected += values
    while not server.finished:
        stage = server.stage
        for number in server.asked:
            if number in dropped and stage not in ("advertise", "share"):
                continue
            request = of_server.run(stage, server.request, number)
            watch = watched.get(number, Stopwatch())
            for message in watch.run(stage, lambda n=number, r=request: list(clients[n].handle(r))):
                of_server.run(stage, server.receive, number, message)
        of_server.run(stage, server.advance)
    total = server.result().vectors[params.vectors[0].name]
    if not np.array_equal(total, expected % np.uint64(2**BITS)):
        raise SystemExit("the sum is wrong")
    by_total = sorted((watch.figures() for watch in watched.values()), key=lambda figures: figures["total"])
    return {"client": by_total[MEASURED // 2], "server": of_server.figures()}


def environment(folder: Path) -> Path:
    """The interpreter of an environment that has Flower; made if it is not there."""
    python, made = folder / "bin" / "python", folder / FLOWER
    if not made.exists():
        print(f"Making {folder} with {FLOWER} ...", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--quiet", FLOWER], check=True)
        made.touch()
    return python


def their_side(python: Path, params: SecAggParams, dropped: int) -> dict[str, Any]:
    """What secagg_flower_side.py prints for the same sizes."""
    sizes = {
        "clients": params.clients,
        "degree": params.degree,
        "threshold": params.threshold,
        "dimension": params.vectors[0].dimension,
        "dropped": dropped,
    }
    arguments = [f"--{name}={value}" for name, value in sizes.items()]
    with tempfile.TemporaryDirectory() as home:
        quiet = {"FLWR_HOME": home, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        done = subprocess.run(
            [python, HERE / "secagg_flower_side.py", *arguments],
            env={**os.environ, **quiet},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(python: Path, params: SecAggParams, dropped: int) -> dict[str, Any]:
    """Both sides and their ratios."""
    theirs = their_side(python, params, dropped)
    ours = our_side(params, set(range(2, 2 + dropped)))
    case = {
        "clients": params.clients,
        "degree": params.degree,
        "threshold": params.threshold,
        "dimension": params.vectors[0].dimension,
        "dropped": dropped,
    }
    ratios = {
        f"{role} {what}": theirs[role][what] / ours[role][what]
        for role in ("client", "server")
        for what in ("total", "masks")
    }
    return {**case, "flower": theirs, "fedpriv": ours, "flower_over_fedpriv": ratios}


def show(result: dict[str, Any]) -> None:
    """A table of one comparison."""
    print(
        f"\n{result['clients']} clients, {result['degree']} neighbours, threshold {result['threshold']}, "
        f"d = {result['dimension']}, {result['dropped']} dropped; processor ms"
    )
    print(f"{'':>16} {'flower':>12} {'fedpriv':>12} {'ratio':>8}")
    for label, ratio in result["flower_over_fedpriv"].items():
        role, what = label.split()
        flower, ours = (result[side][role][what] * 1e3 for side in ("flower", "fedpriv"))
        print(f"{label:>16} {flower:>12.1f} {ours:>12.1f} {ratio:>8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A round of this package against Flower's SecAgg+ functions."
    )
    parser.add_argument("--dimension", type=int, default=100_000)
    parser.add_argument("--environment", type=Path, default=HERE.parent / "build" / "flower")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    python = environment(options.environment)
    vectors = [Vector("update", BITS, options.dimension)]
    # Without the neighbours that pay for graphs tried out: Flower's server draws its graph alone.
    sparse = SecAggParams.for_devices(1000, vectors=vectors, corrupt=0.05, dropout=0.05, grinding_bits=0)
    results = []
    for params, dropped in ((SecAggParams.for_cohort(100, vectors=vectors), 5), (sparse, 50)):
        results.append(compare(python, params, dropped))
        show(results[-1])
    if options.json is not None:
        result = {
            "benchmark": "secagg_flower",
            "machine": platform.machine(),
            "python": platform.python_version(),
            "versions": {
                "flwr": results[0]["flower"]["flwr"],
                **{name: version(name) for name in ("cryptography", "numpy")},
            },
            "cases": results,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
