"""Whole rounds of many clients, every message made and checked by the real parties.

    python benchmarks/secagg_scale.py [--clients N ...] [--dimension D] [--semi-honest] [--json FILE]

One process is the server; the clients live in worker processes, so that their work is counted apart, and the
messages go between them as bytes.  Of the clients 5 % may collude, and 5 % vanish before the upload.  Printed
are exchanges, bytes of a client against the d·b bits that any protocol must send, the cost model's figures in
brackets, CPU time by role, and what unmasking takes of the keystream that it is made of.  The sum is compared
with the plain one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from keystream import gcm_rate, keystream_rate
from secagg_client import identity, roster_of

from fedpriv.crypto import Keystream, add_masks
from fedpriv.secagg import Client, Roster, SecAggParams, Server, Vector, round_cost

RUN_ID, CONTEXT = b"scale benchmark ", bytes(32)
MOST_IN_BATCH, BYTES_IN_BATCH = 64, 2**22


def inputs(client: int, params: SecAggParams) -> np.ndarray:
    """A client's 16-bit values."""
    rng = np.random.default_rng(client)
    return rng.integers(0, 2**16, params.vectors[0].dimension, dtype=np.uint32)


def work(wire: Connection, params: SecAggParams, mine: range, roster_keys: dict[int, bytes]) -> None:
    """A worker: answers for its clients until it is told to stop; its CPU time by stage at the end."""
    roster = Roster(roster_keys)
    clients = {}
    for number in mine:
        rand = Keystream(os.urandom(32)).read
        clients[number] = Client(params, RUN_ID, number, identity(number), roster, rand)
        clients[number].open_round(1, CONTEXT)
    spent: dict[str, float] = defaultdict(float)
    while True:
        stage, requests = wire.recv()
        if not requests:
            break
        answers = []
        for number, request in requests:
            if stage == "upload":
                clients[number].set_vectors(inputs(number, params))
            start = time.process_time()
            answers.append((number, list(clients[number].handle(request))))
            spent[stage] += time.process_time() - start
        wire.send(answers)
    wire.send((dict(spent), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


class Counted:
    """Adds masks, and counts their bytes and the CPU time that takes."""

    def __init__(self) -> None:
        self.bytes, self.seconds = 0, 0.0

    def __call__(self, target: np.ndarray, masks: list, *, start: int = 0) -> None:
        began = time.process_time()
        add_masks(target, masks, start=start)
        self.seconds += time.process_time() - began
        self.bytes += len(masks) * target.nbytes


def batches(
    server: Server, owned: list[range], vanishing: set[int], batch: int
) -> Iterator[tuple[int, list]]:
    """(worker, requests), in turn; those that vanish are asked for nothing from the upload on."""
    gone = vanishing if server.stage not in ("advertise", "share") else set()
    asked = [client for client in server.asked if client not in gone]
    queues = [[client for client in asked if client in mine] for mine in owned]
    while any(queues):
        for worker, queue in enumerate(queues):
            head, queues[worker] = queue[:batch], queue[batch:]
            if head:
                yield worker, head


def measure(clients: int, dimension: int, malicious: bool, workers: int) -> dict:
    """One round."""
    vector = Vector.for_sum("update", clients=clients, largest=2**16 - 1, dimension=dimension)
    params = SecAggParams.for_devices(
        clients, vectors=[vector], corrupt=0.05, dropout=0.05, malicious=malicious
    )
    roster = roster_of(clients)
    everyone = np.arange(1, clients + 1)
    vanishing = set(np.random.default_rng(1).choice(everyone, params.max_dropouts, replace=False).tolist())
    batch = max(1, min(MOST_IN_BATCH, BYTES_IN_BATCH // params.upload_bytes))
    edges = np.linspace(1, clients + 1, workers + 1).astype(int).tolist()
    owned = [range(first, last) for first, last in itertools.pairwise(edges)]

    context = multiprocessing.get_context("fork")
    wires, processes = [], []
    for mine in owned:
        here, there = context.Pipe()
        processes.append(context.Process(target=work, args=(there, params, mine, dict(roster)), daemon=True))
        processes[-1].start()
        wires.append(here)

    masks = Counted()
    server = Server(params, RUN_ID, roster, masks=masks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    server_cpu: dict[str, float] = defaultdict(float)
    sent: dict[int, int] = defaultdict(int)
    received: dict[int, int] = defaultdict(int)
    started = time.perf_counter()
    exchanges = []

    def counted(stage: str, step, *arguments):
        start = time.process_time()
        result = step(*arguments)
        server_cpu[stage] += time.process_time() - start
        return result

    counted("open", server.open_round, 1, CONTEXT)
    while not server.finished:
        stage = server.stage
        exchanges.append(stage)
        waiting: list[int] = []

        def take(worker: int, stage: str = stage) -> None:
            for client, messages in wires[worker].recv():
                for message in messages:
                    sent[client] += len(message)
                    counted(stage, server.receive, client, message)

        for worker, chosen in batches(server, owned, vanishing, batch):
            requests = [(client, counted(stage, server.request, client)) for client in chosen]
            for client, request in requests:
                received[client] += len(request)
            wires[worker].send((stage, requests))
            waiting.append(worker)
            if len(waiting) >= workers:  # each worker has one batch at most
                take(waiting.pop(0))
        for worker in waiting:
            take(worker)
        counted("close " + stage, server.advance)
    wall = time.perf_counter() - started
    client_cpu: dict[str, float] = defaultdict(float)
    worker_rss = 0
    for wire, process in zip(wires, processes, strict=True):
        wire.send(("", []))
        stages, rss = wire.recv()
        worker_rss += rss
        for stage, seconds in stages.items():
            client_cpu[stage] += seconds
        process.join()

    result = server.result()
    plain = np.zeros(dimension, dtype=np.uint64)
    for client in result.survivors:
        plain += inputs(client, params)
    assert np.array_equal(result.vectors["update"], plain), "the sum is not the plain sum"

    rate, gcm = keystream_rate(), gcm_rate()
    cost = round_cost(params, dropouts=len(vanishing))
    alive = result.survivors
    return {
        "clients": clients,
        "dimension": dimension,
        "mode": "malicious" if malicious else "semi-honest",
        "degree": params.degree,
        "threshold": params.threshold,
        "bits": vector.bits,
        "survivors": len(alive),
        "exchanges": len(exchanges),
        "exchanges_model": cost.exchanges,
        "bytes_sent": sum(sent[client] for client in alive) / len(alive),
        "bytes_sent_model": cost.bytes_sent,
        "bytes_received": sum(received[client] for client in alive) / len(alive),
        "bytes_received_model": cost.bytes_received,
        "bytes_least": cost.least_bytes,
        "client_masks_model": cost.client_masks,
        "server_masks_model": cost.server_masks,
        "client_cpu_ms": {stage: 1e3 * seconds / clients for stage, seconds in client_cpu.items()},
        "client_cpu_ms_total": 1e3 * sum(client_cpu.values()) / clients,
        "server_cpu_s": dict(server_cpu),
        "server_cpu_s_total": sum(server_cpu.values()),
        "server_mask_bytes": masks.bytes,
        "server_mask_s": masks.seconds,
        "server_keystream_s": masks.bytes / rate,
        "unmask_over_keystream": server_cpu["close unmask"] / (masks.bytes / rate),
        "unmask_over_gcm": server_cpu["close unmask"] / (masks.bytes / gcm),
        "server_added_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        "server_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "clients_peak_mib": worker_rss / 1024,
        "wall_s": wall,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Whole rounds of secure aggregation with many clients.")
    parser.add_argument("--clients", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--dimension", type=int, default=10_000)
    parser.add_argument("--semi-honest", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="add the figures to those in this file")
    options = parser.parse_args()
    rows = json.loads(options.json.read_text())["rows"] if options.json and options.json.exists() else []
    print(
        f"{'n':>7} {'mode':>11} {'k':>4} {'t':>4} {'ex.':>3} {'sent kB':>18} {'received kB':>18} "
        f"{'of d·b':>7} {'client ms':>10} {'server s':>9} {'unmask/ks':>9} {'wall s':>7}"
    )
    for clients in options.clients:
        row = measure(clients, options.dimension, not options.semi_honest, options.workers)
        key = ("clients", "dimension", "mode")
        rows = [old for old in rows if any(old[name] != row[name] for name in key)] + [row]
        rows.sort(key=lambda r: (r["mode"], r["clients"], r["dimension"]))
        sent = f"{row['bytes_sent'] / 1e3:.1f} ({row['bytes_sent_model'] / 1e3:.1f})"
        received = f"{row['bytes_received'] / 1e3:.1f} ({row['bytes_received_model'] / 1e3:.1f})"
        print(
            f"{row['clients']:>7} {row['mode']:>11} {row['degree']:>4} {row['threshold']:>4} "
            f"{row['exchanges']:>3} {sent:>18} {received:>18} {row['bytes_sent'] / row['bytes_least']:>7.2f} "
            f"{row['client_cpu_ms_total']:>10.1f} {row['server_cpu_s_total']:>9.1f} "
            f"{row['unmask_over_keystream']:>9.2f} {row['wall_s']:>7.0f}",
            flush=True,
        )
        if options.json:
            machine = {
                "machine": platform.machine(),
                "python": platform.python_version(),
                "cores": os.cpu_count(),
            }
            options.json.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
