"""Which runs there are, and in which order: what the predictions need comes first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from settings import DATA, FIRST, TUNING_SEED, methods, peft_methods, skewed, trials

SEEDS: Final = (1, 2, 3)
EPSILONS: Final = (math.inf, 8.0, 3.0, 1.0)
SKEWED: Final = "dirichlet"
OWN: Final = "own"

TUNED_AT: Final = {False: math.inf, True: 3.0}
"""The epsilon that rates are tuned at: without and with privacy."""

SLICED: Final = "ffa-lora"


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
        part: ``tuning``, ``grid``, or the name of a slice.
        epsilon: infinite: no clipping and no noise.
        change: keys of the configuration that the slice sets, dotted, and their values.
        rate, clip: given where they are tuned; else what tuning found.
    """

    part: str
    data: str
    method: str
    partition: str
    epsilon: float
    seed: int
    change: tuple[tuple[str, Any], ...] = ()
    rate: float | None = None
    clip: float | None = None

    @property
    def key(self) -> str:
        """What the result is found by."""
        rest = [f"{name}={value}" for name, value in self.change]
        rest += [f"{name}={value:g}" for name in ("rate", "clip") if (value := getattr(self, name))]
        return "/".join(
            [self.part, self.data, self.method, self.partition, f"{self.epsilon:g}", str(self.seed), *rest]
        )


def usual(data: str) -> str:
    """The partition that all figures of a data set are of, unless another is named."""
    return SKEWED if skewed(data) else OWN


def tuning(data: str, method: str, private: bool) -> list[Cell]:
    """The runs that a method's learning rate and clip are chosen by."""
    return [
        Cell("tuning", data, method, usual(data), TUNED_AT[private], TUNING_SEED, rate=rate, clip=clip)
        for rate, clip in trials(data, method, private=private)
    ]


def cells(data: tuple[str, ...] = tuple(DATA)) -> Iterator[Cell]:
    """Every run of these data sets."""
    for name in data:
        for method in peft_methods(name):
            yield from tuning(name, method, private=True)
            yield from tuning(name, method, private=False)
        for seed in SEEDS:
            for epsilon in epsilons(name, seed):
                for method in peft_methods(name):
                    yield Cell("grid", name, method, usual(name), epsilon, seed)
            if usual(name) != OWN and whole(name, seed):
                yield from (Cell("grid", name, method, OWN, 3.0, seed) for method in peft_methods(name))
            if name == FIRST:
                yield from slices(name, seed)
    # Last, as one run of it takes as long as all others of a seed.
    for name in data:
        if "full" in methods(name):
            yield from tuning(name, "full", private=False)
            yield from tuning(name, "full", private=True)
            for seed in SEEDS:
                for epsilon in epsilons(name, seed):
                    yield Cell("grid", name, "full", SKEWED, epsilon, seed)


def whole(data: str, seed: int) -> bool:
    """Whether every epsilon and both partitions are run: of the first data set, and of the others once."""
    return data == FIRST or seed == SEEDS[0]


def epsilons(data: str, seed: int) -> tuple[float, ...]:
    """Those that are run with a seed."""
    return (3.0, math.inf, 1.0, 8.0) if whole(data, seed) else (3.0, math.inf)


def slices(data: str, seed: int) -> Iterator[Cell]:
    """At epsilon 3, one method, one thing changed."""

    def cell(part: str, **change: Any) -> Cell:
        dotted = tuple((key.replace("__", "."), value) for key, value in change.items())
        return Cell(part, data, SLICED, SKEWED, 3.0, seed, change=dotted)

    for clients in (4, 16, 64):
        yield cell("clients", partition__clients=clients)
    yield cell("participation", partition__clients=16, run__participation=0.25)
    for bits in (8, 12, 16, 32):
        yield cell("bits", secagg__bits=bits)
    for size in (20_000, 10_000):
        yield cell("bytes", compression__bytes=size)
    if seed == SEEDS[0]:  # with the same insecure noise the three must be equal to the bit, not on average
        for aggregator in ("plain", "masked", "ckks"):
            same = {"secagg__bits": 32, "secagg__remove_excess": False, "privacy__insecure_seed": 1}
            yield cell("aggregator", aggregator=aggregator, **same)
