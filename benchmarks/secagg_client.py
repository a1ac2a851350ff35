"""One client of a large vector: its whole CPU time against the keystream that its masks are, and its memory.

    python benchmarks/secagg_client.py [--clients 50] [--dimension 10000000] [--bits 16] [--json FILE]

The measured client is a process of its own, with one thread; the server and the other clients do whole rounds
with it, each made of fresh keys.  The first also loads libraries and is not measured.  Before each of the
others the keystream's best rate is measured, by OpenSSL's CTR and by its GCM, of which masks are made: a
machine that others use is not always as fast.  The figures
are those of the round of median ratio, with the least and the largest ratio.  CPU time covers all stages:
keys, shares, masking, packing, signing.  Memory is the peak of the process above what it took before the
vector existed, so it counts the caller's own vector, of which no copy is made.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from keystream import gcm_rate, keystream_rate

from fedpriv.crypto import SigningKey
from fedpriv.secagg import Client, Roster, SecAggParams, Server, Vector

RUN_ID, CONTEXT = b"client benchmark", bytes(32)
ROUNDS = range(1, 9)


def identity(client: int) -> SigningKey:
    """Reproducible, so that each process can make the roster itself."""
    return SigningKey.from_seed(client.to_bytes(32, "big"))


def roster_of(clients: int) -> Roster:
    """All public keys."""
    return Roster({client: identity(client).public for client in range(1, clients + 1)})


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measured_client(wire: Connection, params: SecAggParams) -> None:
    """Client 1, and what its rounds took."""
    client = Client(params, RUN_ID, 1, identity(1), roster_of(params.clients), os.urandom)
    keystream_rate()
    before = resident()
    values = own_values(params)
    took = []
    for round_ in ROUNDS:
        client.open_round(round_, CONTEXT)
        rates = keystream_rate(), gcm_rate()
        start = time.process_time()
        client.set_vectors(values, copy=False)
        spent = {"set": time.process_time() - start}
        while request := wire.recv():
            stage, data = request
            start = time.process_time()
            answer = client.handle(data)
            while (message := next(answer, None)) is not None:
                spent[stage] = spent.get(stage, 0.0) + time.process_time() - start
                wire.send(message)
                start = time.process_time()
            spent[stage] += time.process_time() - start
            wire.send(None)
        took.append((spent, rates))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wire.send((took[1:], peak - before))


def own_values(params: SecAggParams) -> np.ndarray:
    """The measured client's vector."""
    vector = params.vectors[0]
    return np.random.default_rng(1).integers(0, 2**vector.bits, vector.dimension, dtype=np.uint16)


def measure(clients: int, dimension: int, bits: int) -> dict:
    """Rounds of the complete graph."""
    params = SecAggParams.for_cohort(clients, vectors=[Vector("update", bits, dimension)])
    roster = roster_of(clients)
    context = multiprocessing.get_context("spawn")
    wire, there = context.Pipe()
    process = context.Process(target=measured_client, args=(there, params), daemon=True)
    process.start()
    others = {n: Client(params, RUN_ID, n, identity(n), roster, os.urandom) for n in range(2, clients + 1)}
    server = Server(params, RUN_ID, roster)
    zeros = np.zeros(dimension, dtype=np.uint16)
    # The others send zeros, and no more of them upload than a sum needs; client 1 has a mask with every one.
    needed = range(2, params.min_survivors + 1)
    for round_ in ROUNDS:
        server.open_round(round_, CONTEXT)
        for client in others.values():
            client.open_round(round_, CONTEXT)
            client.set_vectors(zeros, copy=False)
        while not server.finished:
            for number in server.asked:
                if number == 1:
                    wire.send((server.stage, server.request(1)))
                    while (message := wire.recv()) is not None:
                        server.receive(1, message)
                elif server.stage in ("advertise", "share") or number in needed:
                    for message in others[number].handle(server.request(number)):
                        server.receive(number, message)
            server.advance()
        wire.send(())
    took, memory = wire.recv()
    process.join()
    assert np.array_equal(server.result().vectors["update"], own_values(params)), (
        "the sum is not the plain sum"
    )
    mask_bytes = clients * dimension * np.dtype(np.uint16).itemsize
    rounds = sorted(
        ((sum(stages.values()) * rates[0] / mask_bytes, stages, rates) for stages, rates in took),
        key=lambda round_: round_[0],
    )
    ratio, stages, (rate, gcm) = rounds[len(rounds) // 2]
    return {
        "clients": clients,
        "dimension": dimension,
        "bits": bits,
        "masks": clients,
        "rounds": len(rounds),
        "cpu_s": sum(stages.values()),
        "cpu_s_by_stage": stages,
        "keystream_gb_per_s": rate / 1e9,
        "keystream_s": mask_bytes / rate,
        "ratio": ratio,
        "ratio_least": rounds[0][0],
        "ratio_most": rounds[-1][0],
        "gcm_gb_per_s": gcm / 1e9,
        "ratio_to_gcm": sum(stages.values()) * gcm / mask_bytes,
        "packed_mb": params.upload_bytes / 1e6,
        "peak_memory_mb": memory / 1e6,
        "memory_ratio": memory / params.upload_bytes,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="One client's CPU time and memory.")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--dimension", type=int, default=10_000_000)
    parser.add_argument("--bits", type=int, default=16, choices=range(1, 17), metavar="1..16")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    row = measure(options.clients, options.dimension, options.bits)
    print(
        f"n = {row['clients']}, d = {row['dimension']:,}, {row['bits']} bits: {row['cpu_s']:.3f} s of CPU, "
        f"{row['ratio']:.2f} x the keystream of {row['masks']} masks ({row['keystream_s']:.3f} s at "
        f"{row['keystream_gb_per_s']:.2f} GB/s), the median of {row['rounds']} rounds from "
        f"{row['ratio_least']:.2f} to {row['ratio_most']:.2f}; {row['ratio_to_gcm']:.2f} x what GCM takes "
        f"for them at {row['gcm_gb_per_s']:.2f} GB/s; peak memory {row['peak_memory_mb']:.1f} MB, "
        f"{row['memory_ratio']:.2f} x the packed vector"
    )
    print("milliseconds by stage:", ", ".join(f"{k} {1e3 * v:.1f}" for k, v in row["cpu_s_by_stage"].items()))
    if options.json:
        machine = {"machine": platform.machine(), "python": platform.python_version()}
        options.json.write_text(json.dumps({**machine, **row}, indent=1) + "\n")


if __name__ == "__main__":
    main()
