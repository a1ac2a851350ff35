"""Summation under CKKS beside NVFlare's homomorphic encryption and plain TenSEAL: time, bytes, memory, error.

    python benchmarks/ckks.py [--turns N] [--environment DIR] [--small]
    python benchmarks/ckks.py --table

The peers run in an environment of their own, which is made on first use with the versions of ``PEERS``;
ckks_peers.py says what of them is called.  Two cases with ten clients: the LoRA adapter (rank 8 on q and v)
and head of MiniLM-L6, tensor by tensor for NVFlare as it does it and as one vector here; and one long vector.
TenSEAL alone runs on a quarter of the long vector, and all times are given for a million values.

Setups take turns in one run, each turn beginning with another one, all with one thread; given are medians of
processor seconds.  Peers have ten clients in the first turn, whose sum is checked, and two in the others;
here every turn is a whole round from key generation to the sum, its messages encoded, signed, checked, and
the server's spool written and read.  Wall seconds only where two processes encrypt.

Memory: each in a process of its own, once code, ring or context and key are there: how far the resident set
rises over the plain vector while a client makes its messages.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ckks_page import page
from numpy.typing import NDArray

from fedpriv.ckks.client import Client
from fedpriv.ckks.holder import Holder
from fedpriv.ckks.params import CkksParams
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.server import Server
from fedpriv.ckks.workers import EncryptionWorkers
from fedpriv.crypto import Keystream, SigningKey

PEERS = ("nvflare==2.9.0", "tenseal==0.3.18", "zstandard==0.25.0")
HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "ckks.json"
PAGE = RESULTS.with_suffix(".md")

CLIENTS = 10
VECTOR = 4_000_000
RUN_ID, CONTEXT = b"benchmark of ckk", bytes(32)
MODES: dict[str, dict[str, Any]] = {
    "authority": {},
    "threshold": {"holders": (1, 2, 3, 4, 5), "threshold": 4},
    "shared-key": {},
}
BITS = 24
OTHER_BITS = (16, 32)
TENSEAL = ("8192 [60,40,60]", "4096 [60,49]")


# What runs here


def parameters(mode: str, dimension: int, bits: int = BITS) -> CkksParams:
    """Sums of up to ``bits`` bits over ten clients."""
    bound = (2**bits - 1) // (2 * CLIENTS)
    return CkksParams.for_sum(mode=mode, clients=CLIENTS, dimension=dimension, bound=bound, **MODES[mode])


def values(client: int, params: CkksParams) -> NDArray[np.int64]:
    """One client's vector: uniform, with both extremes in it."""
    made = np.random.default_rng(client).integers(-params.bound, params.bound + 1, params.dimension)
    made[:2] = -params.bound, params.bound
    return made


class Place:
    """What parties of one set of parameters share in this process, over all turns: arithmetic, no secrets."""

    def __init__(self, params: CkksParams, second: EncryptionWorkers | None = None) -> None:
        self.params = params
        self.ring = Ring(params.ring)
        self.workers = EncryptionWorkers(params.layout, 1)
        self.second = second  # encrypts for client 1, in processes of its own


class Parties:
    """All parties of a run, and what each spends in each stage."""

    def __init__(self, place: Place) -> None:
        params = place.params
        stream = Keystream(bytes(32))
        numbers = sorted({*range(1, params.clients + 1), *params.holders})
        keys = {number: SigningKey.from_seed(stream.read(32)) for number in numbers}
        roster = {number: key.public for number, key in keys.items()}
        self.server = Server(params, RUN_ID, roster)
        self.members: dict[int, Any] = {}
        for number, key in keys.items():
            who = (params, RUN_ID, number, key, roster, stream.read)
            if number == 0:
                self.members[number] = Holder(*who, ring=place.ring)
            else:
                workers = (place.second if number == 1 else None) or place.workers
                self.members[number] = Client(*who, workers=workers, ring=place.ring)
        self.server.open_round(1, CONTEXT)
        for member in self.members.values():
            member.open_round(1, CONTEXT)
        # (who, stage) -> processor seconds, wall seconds, bytes sent; the server is None.
        self.cpu: dict[tuple[int | None, str], float] = defaultdict(float)
        self.wall: dict[tuple[int | None, str], float] = defaultdict(float)
        self.sent: dict[tuple[int | None, str], int] = defaultdict(int)

    def _run(self, who: int | None, stage: str, work: Any, *arguments: Any) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        result = work(*arguments)
        self.cpu[who, stage] += time.process_time() - cpu
        self.wall[who, stage] += time.perf_counter() - wall
        return result

    def until(self, last: str | None) -> None:
        """Run stages until the one named ``last`` is open, or to the end."""
        server = self.server
        while not server.finished and server.stage != last:
            stage = server.stage
            for number in server.asked:
                request = self._run(None, stage, server.request, number)
                self.sent[None, stage] += len(request)
                answers = self._run(number, stage, self.members[number].handle, request)
                while (message := self._run(number, stage, next, answers, None)) is not None:
                    self.sent[number, stage] += len(message)
                    self._run(None, stage, server.receive, number, message)
            self._run(None, stage, server.advance)


def our_round(place: Place) -> dict[str, Any]:
    """A whole round of a new run; the sum is compared with that of the plain integers."""
    params, parties = place.params, Parties(place)
    expected = np.zeros(params.dimension, dtype=np.int64)
    for number in range(1, params.clients + 1):
        vector = values(number, params)
        parties.members[number].set_vectors(vector, copy=False)
        expected += vector
    parties.until(None)
    result = parties.server.result()
    cpu, wall, sent, holders = parties.cpu, parties.wall, parties.sent, params.holders
    before = ("advertise", "deal", "commit", "reveal", "confirm")
    alone = range(2, params.clients + 1)
    answered = [number for number in holders if sent[number, "open"]]
    return {
        "encrypt": statistics.median(cpu[number, "upload"] for number in alone),
        "encrypt_wall": statistics.median(wall[number, "upload"] for number in alone),
        "encrypt_second_wall": wall[1, "upload"] if place.second else None,
        "add": cpu[None, "upload"] / params.clients,
        "open": statistics.median(cpu[number, "open"] for number in answered),
        "fuse": cpu[None, "open"],
        "key_holder": max(sum(cpu[number, stage] for stage in before) for number in holders),
        "key_server": sum(cpu[None, stage] for stage in before),
        "key_bytes": sum(size for (_, stage), size in sent.items() if stage in before),
        "bytes": sent[params.clients, "upload"],
        "clients": params.clients,
        "open_bytes_down": sent[None, "open"] / len(answered),
        "open_bytes_up": statistics.median(sent[number, "open"] for number in answered),
        "error": int(np.abs(result.values - expected).max()),
    }


def our_memory(dimension: int) -> dict[str, float]:
    """How far the resident set rises over the plain vector while one client makes its messages.

    What a client sets up once for a run, its ring and the key in it, is given apart.
    """
    our_round(Place(parameters("authority", 100)))
    place = Place(parameters("authority", dimension))
    parties = Parties(place)
    parties.until("upload")
    vector = values(1, place.params)
    requests = {number: parties.server.request(number) for number in (1, 2)}
    for number in requests:
        parties.members[number].set_vectors(vector, copy=False)
    before, start = resident("VmRSS"), time.process_time()
    next(parties.members[2].handle(requests[2]))
    setup = {"setup_kib": resident("VmRSS") - before, "setup_s": time.process_time() - start}
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident("VmRSS")
    size = sum(map(len, parties.members[1].handle(requests[1])))
    return {**setup, "rise_kib": resident("VmHWM") - before, "bytes": size}


def resident(what: str) -> int:
    """KiB, by the kernel's name: VmRSS, or VmHWM for the most since ``clear_refs`` was last written."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


# What runs elsewhere


def adapter_shapes() -> dict[str, list[int]]:
    """The tensors of the adapter, as PEFT saves them."""
    from peft import get_peft_model_state_dict
    from peft_step_side import adapted

    model = adapted("minilm", "q,v r8")
    return {name: list(tensor.shape) for name, tensor in get_peft_model_state_dict(model).items()}


class Peers:
    """A process of the peers' environment that answers jobs."""

    def __init__(self, python: Path) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [python, HERE / "ckks_peers.py"],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()

    def ask(self, **job: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            self._log.seek(0)
            raise SystemExit(f"{job['do']}: {self._log.read()[-3000:].decode()}")
        found: dict[str, Any] = json.loads(answer)
        return found


def environment(folder: Path) -> Path:
    """The interpreter of an environment that has the peers; made if it is not there."""
    python, made = folder / "bin" / "python", folder / " ".join(PEERS)
    if not made.exists():
        print(f"Making {folder} with {', '.join(PEERS)} ...", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--quiet", *PEERS], check=True)
        made.touch()
    return python


# The whole


def measure(python: Path, turns: int, dimension: int) -> dict[str, Any]:
    shapes = adapter_shapes()
    sizes = {"adapter": sum(int(np.prod(shape)) for shape in shapes.values()), "vector": dimension}
    params = {(case, mode): parameters(mode, size) for case, size in sizes.items() for mode in MODES}
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    watched = ("vector", "authority")
    with Peers(python) as peers, EncryptionWorkers(params[watched].layout, 2) as workers:
        places = {each: Place(made, workers if each == watched else None) for each, made in params.items()}
        for turn in range(turns):
            jobs = list(turn_jobs(peers, shapes, sizes, places, CLIENTS if turn == 0 else 2))
            start = turn * len(jobs) // turns
            for case, setup, work in jobs[start:] + jobs[:start]:
                began = time.perf_counter()
                rows[case, setup].append(work())
                print(f"turn {turn + 1}: {case}, {setup}: {time.perf_counter() - began:.1f} s", flush=True)
        versions = peers.ask(do="versions")
    memory = {"NVFlare": ask_alone(python, do="client memory", count=dimension)}
    own = [sys.executable, __file__, "--client-memory", str(dimension)]
    memory["fedpriv, authority"] = json.loads(subprocess.run(own, check=True, capture_output=True).stdout)
    other = [
        {"case": case, "mode": mode, "bits": bits, "wire": wire, "error": error}
        for bits in OTHER_BITS
        for mode in MODES
        for case, wire, error in other_bits(mode, bits, sizes)
    ]
    return {
        "benchmark": "ckks",
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {
            "peers": versions,
            **{name: metadata.version(name) for name in ("tenseal", "numpy", "cryptography", "peft")},
        },
        "clients": CLIENTS,
        "bits": BITS,
        "modes": list(MODES),
        "values": sizes,
        "tensors": len(shapes),
        "rings": {
            f"{case}, {mode}": {
                "degree": made.ring.degree,
                "primes": made.ring.key_primes,
                "digits": made.digits,
            }
            for (case, mode), made in params.items()
        },
        "rows": [{"case": case, "setup": setup, "turns": turns} for (case, setup), turns in rows.items()],
        "memory": memory,
        "other_bits": other,
    }


def turn_jobs(
    peers: Peers,
    shapes: dict[str, list[int]],
    sizes: Mapping[str, int],
    places: Mapping[tuple[str, str], Place],
    clients: int,
) -> Iterator[tuple[str, str, Any]]:
    """The setups of one turn: case, name, and the work."""
    for case, tensors in (("adapter", shapes), ("vector", {"update": [sizes["vector"]]})):
        yield case, "NVFlare", lambda t=tensors: peer_row(peers.ask(do="nvflare", shapes=t, clients=clients))
        for mode in MODES:
            yield case, f"fedpriv, {mode}", lambda p=places[case, mode]: our_round(p)
    count = sizes["vector"] // 4
    for setup in TENSEAL:
        yield (
            "vector",
            f"TenSEAL, CKKSVector {setup}",
            lambda s=setup: peer_row(peers.ask(do="tenseal", setup=s, count=count, clients=clients)),
        )
    yield (
        "vector",
        "TenSEAL, sealapi 4096 [60,49]",
        lambda: peer_row(peers.ask(do="seal", count=count, clients=clients)),
    )


def peer_row(answer: dict[str, Any]) -> dict[str, Any]:
    """A peer's figures by the names of ``our_round``."""
    cpu = answer["cpu_s"]
    median = {label: statistics.median(seconds) for label, seconds in cpu.items()}
    # What arrives first starts the sum and costs next to nothing to add: to the advantage of the peer.
    return {
        **{name: answer[name] for name in ("bytes", "values", "clients", "error", "key_s")},
        "encrypt": median["encrypt"] + median.get("serialise", 0.0),
        "add": median["load"] + median["add"],
        "open": median["decrypt"],
        "fuse": median.get("finish", 0.0),
        "key_recovered": answer.get("key_recovered"),
    }


def other_bits(mode: str, bits: int, sizes: Mapping[str, int]) -> Iterator[tuple[str, float, int | None]]:
    """Wire ratios of both cases, and the error of a round of the shorter."""
    for case, size in sizes.items():
        params = parameters(mode, size, bits)
        error = our_round(Place(params))["error"] if case == "adapter" else None
        yield case, params.wire_ratio, error


def ask_alone(python: Path, **job: Any) -> dict[str, Any]:
    with Peers(python) as peers:
        return peers.ask(**job)


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the tables of the last run and stop")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--environment", type=Path, default=HERE.parent / "build" / "nvflare")
    parser.add_argument("--small", action="store_true", help="a vector of 100,000 values, for a try")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="JSON; a page of the same name beside it"
    )
    parser.add_argument("--client-memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client_memory:
        print(json.dumps(our_memory(options.client_memory)))
        return
    if not options.table:
        results = measure(
            environment(options.environment), options.turns, 100_000 if options.small else VECTOR
        )
        options.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        options.output.with_suffix(".md").write_text(page(results), encoding="utf-8")
    print(page(json.loads(options.output.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
