"""Flower's half of `secagg_flower.py`: its own SecAgg+ functions doing the work of a client and the server.

Runs in an environment that has flwr and prints one JSON object.  What its mod and its workflow call is called
here in the same way and in the same order.  Left out, because the other half leaves them out too: quantising,
records, the network; and the server's book-keeping of shares, which is little.

All n clients make keys.  The round of three clients is measured whole and the typical one reported; the
shares that its neighbours would send it have the right form and arbitrary content.  What the server does for
one survivor, or for one dropped client, costs the same for each, so it is measured for a few, whose secrets
are really shared and recovered, and multiplied: the figures say by what.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from flwr.common import Parameters, bytes_to_ndarray, ndarray_to_bytes, ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto.shamir import combine_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt, generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen, share_keys_plaintext_concat
from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key

# The package's attribute of this name is the mod's function; its module is what is needed here.
mod = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")

MODULUS, TARGET, CLIPPING, WEIGHT = 2**32, 2**22, 8.0, 1000.0
VECTORS = 20
MEASURED = 3
MASKING = ("pseudo_rand_gen", "parameters_addition", "parameters_subtraction")


class Stopwatch:
    """Processor seconds of this process, all threads, by label."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def run(self, label: str, work: Callable[..., Any], *arguments: Any) -> Any:
        start = time.process_time()
        result = work(*arguments)
        self.seconds.setdefault(label, []).append(time.process_time() - start)
        return result

    def watch(self, module: Any, name: str) -> None:
        """From now on, every call of a module's function is measured under the function's name."""
        function = getattr(module, name)
        setattr(module, name, lambda *arguments: self.run(name, function, *arguments))

    def total(self, label: str) -> float:
        return sum(self.seconds.pop(label, []))

    def typical(self, label: str) -> float:
        return statistics.median(self.seconds[label])


class Cohort:
    """n clients with their keys and neighbours, as the workflow's first stage leaves them."""

    def __init__(self, clients: int, degree: int, threshold: int) -> None:
        complete = degree >= clients - 1
        self.shares = clients if complete else degree + 1
        self.threshold = threshold
        configuration = {
            Key.SAMPLE_NUMBER: clients,
            Key.SHARE_NUMBER: self.shares,
            Key.THRESHOLD: threshold,
            Key.CLIPPING_RANGE: CLIPPING,
            Key.TARGET_RANGE: TARGET,
            Key.MOD_RANGE: MODULUS,
            Key.MAX_WEIGHT: WEIGHT,
        }
        self.states = {number: mod.SecAggPlusState() for number in range(1, clients + 1)}
        for number, state in self.states.items():
            state.nid = number
            mod._setup(state, configuration)
        order = random.sample(sorted(self.states), clients)
        half = self.shares >> 1
        self.neighbours = {
            number: {order[(place + offset) % clients] for offset in range(-half, half + 1)}
            for place, number in enumerate(order)
        }

    def public_keys(self, number: int) -> dict[str, list[bytes]]:
        """What the server forwards to one client: the keys of its neighbours and its own."""
        return {str(peer): [self.states[peer].pk1, self.states[peer].pk2] for peer in self.neighbours[number]}


def client_round(cohort: Cohort, number: int, dropped: set[int], dimension: int) -> dict[str, Any]:
    """Processor seconds of one client's four stages, and of the functions that make them up."""
    state, watch = cohort.states[number], Stopwatch()
    configuration = {
        Key.SAMPLE_NUMBER: len(cohort.states),
        Key.SHARE_NUMBER: cohort.shares,
        Key.THRESHOLD: cohort.threshold,
        Key.CLIPPING_RANGE: CLIPPING,
        Key.TARGET_RANGE: TARGET,
        Key.MOD_RANGE: MODULUS,
        Key.MAX_WEIGHT: WEIGHT,
    }
    encoding = ("parameters_to_ndarrays", "parameters_multiply", "quantize")
    parts = ("generate_shared_key", "create_shares", *MASKING)
    originals = {name: getattr(mod, name) for name in (*encoding, *parts)}
    for name in originals:
        watch.watch(mod, name)

    watch.run("keys", mod._setup, state, configuration)
    watch.run("share", mod._share_keys, state, cohort.public_keys(number))
    peers = sorted(cohort.neighbours[number] - {number})
    seed_share, key_share = state.rd_seed_share_dict[number], state.sk1_share_dict[number]
    mail = [
        encrypt(state.ss2_dict[peer], share_keys_plaintext_concat(peer, number, seed_share, key_share))
        for peer in peers
    ]
    update: Parameters = ndarrays_to_parameters([np.random.default_rng(1).normal(size=dimension)])
    received = {Key.CIPHERTEXT_LIST: mail, Key.SOURCE_LIST: peers}
    watch.run("mask", mod._collect_masked_vectors, state, received, int(WEIGHT), update)
    lists = {
        Key.ACTIVE_NODE_ID_LIST: sorted(cohort.neighbours[number] - dropped),
        Key.DEAD_NODE_ID_LIST: sorted(cohort.neighbours[number] & dropped),
    }
    watch.run("unmask", mod._unmask, state, lists)
    for name, function in originals.items():
        setattr(mod, name, function)

    left_out = sum(watch.total(name) for name in encoding)
    stages = {stage: watch.total(stage) for stage in ("keys", "share", "mask", "unmask")}
    stages["mask"] -= left_out
    functions = {name: watch.total(name) for name in parts}
    masks = sum(functions[name] for name in MASKING)
    return {"total": sum(stages.values()), "masks": masks, **stages, "of_which": functions}


def server_round(cohort: Cohort, dropped: set[int], dimension: int, sample: int) -> dict[str, Any]:
    """Processor seconds of the server's sum and of its unmasking, scaled from a few clients of each kind."""
    watch = Stopwatch()
    survivors = sorted(set(cohort.states) - dropped)
    generator = np.random.default_rng(2)
    uploads = [
        [
            ndarray_to_bytes(part)
            for part in (
                generator.integers(0, MODULUS, 1, dtype=np.int64),
                generator.integers(0, MODULUS, dimension, dtype=np.int64),
            )
        ]
        for _ in range(VECTORS + 1)
    ]
    total = [bytes_to_ndarray(part) for part in uploads[0]]
    for upload in uploads[1:]:
        total = watch.run(
            "fold", lambda t=total, u=upload: parameters_addition(t, [bytes_to_ndarray(part) for part in u])
        )
    total = watch.run("reduce", parameters_mod, total, MODULUS)
    shapes = get_parameters_shape(total)

    for number in [*survivors[MEASURED : MEASURED + sample], *sorted(dropped)[:sample]]:
        state, neighbours = cohort.states[number], cohort.neighbours[number]
        kind = "dropped" if number in dropped else "survivor"
        secret = state.sk1 if kind == "dropped" else os.urandom(32)
        dealt = mod.create_shares(secret, cohort.threshold, cohort.shares)
        held = [share for share, peer in zip(dealt, neighbours, strict=False) if peer not in dropped]
        recovered = watch.run(f"{kind} shares", combine_shares, held)
        if recovered != secret:
            raise SystemExit("Flower did not recover the secret")
        if kind == "survivor":
            total = watch.run(
                "survivor mask",
                lambda t=total, s=recovered: parameters_subtraction(t, pseudo_rand_gen(s, MODULUS, shapes)),
            )
        else:
            keys = watch.run("dropped keys", pair_keys, cohort, number, recovered)
            total = watch.run("dropped masks", remove_pairs, number, keys, total)
    kinds = {
        "survivor shares": len(survivors),
        "survivor mask": len(survivors),
        "dropped shares": len(dropped),
        "dropped keys": len(dropped),
        "dropped masks": len(dropped),
        "fold": len(survivors),
        "reduce": 1,
    }
    each = {label: watch.typical(label) for label in kinds if kinds[label]}
    scaled = {label: seconds * kinds[label] for label, seconds in each.items()}
    return {
        "total": sum(scaled.values()),
        "masks": scaled["survivor mask"] + scaled.get("dropped masks", 0.0),
        **scaled,
        "measured": {label: len(watch.seconds[label]) for label in each},
        "scaled_to": {label: kinds[label] for label in each},
    }


def pair_keys(cohort: Cohort, number: int, secret: bytes) -> dict[int, bytes]:
    """The keys that a client that dropped had with its neighbours."""
    return {
        peer: generate_shared_key(bytes_to_private_key(secret), bytes_to_public_key(cohort.states[peer].pk1))
        for peer in cohort.neighbours[number] - {number}
    }


def remove_pairs(number: int, keys: dict[int, bytes], total: list[Any]) -> list[Any]:
    """Take away the masks that a client that dropped had with its neighbours."""
    shapes = get_parameters_shape(total)
    for peer, key in keys.items():
        combine = parameters_addition if number > peer else parameters_subtraction
        total = combine(total, pseudo_rand_gen(key, MODULUS, shapes))
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description="Flower's SecAgg+ functions: one client and the server.")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--degree", type=int, required=True, help="neighbours of a client")
    parser.add_argument("--threshold", type=int, required=True)
    parser.add_argument("--dimension", type=int, required=True)
    parser.add_argument("--dropped", type=int, default=0)
    parser.add_argument("--sample", type=int, default=2, help="clients of each kind that the server unmasks")
    options = parser.parse_args()
    random.seed(3)
    cohort = Cohort(options.clients, options.degree, options.threshold)
    dropped = set(random.sample(range(2, options.clients + 1), options.dropped))
    measured = [number for number in cohort.states if number not in dropped][:MEASURED]
    by_total = sorted(
        (client_round(cohort, number, dropped, options.dimension) for number in measured),
        key=lambda figures: figures["total"],
    )
    result = {
        "flwr": version("flwr"),
        **vars(options),
        "client": by_total[MEASURED // 2],
        "server": server_round(cohort, dropped, options.dimension, options.sample),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
