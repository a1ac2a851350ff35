"""What was predicted before the runs, checked against them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cells import SEEDS, slices
from settings import DATA, FIRST, methods, peft_methods
from summary import Mean
from tuned import Results

Grid = Callable[[Results, str, str, float], Mean]

SMALL_UPLOAD = 40_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """A prediction on one data set: what was seen, and whether it held (None: not yet known)."""

    prediction: str
    data: str
    seen: str
    held: bool | None

    @property
    def word(self) -> str:
        """For the table."""
        return {True: "confirmed", False: "refuted", None: "not yet known"}[self.held]


def predictions(results: Results, grid: Grid) -> Iterator[Verdict]:
    """All verdicts."""
    for data in DATA:
        if any(key.startswith(f"grid/{data}/") for key in results):
            if "full" in methods(data):
                yield from _of_full(results, grid, data)
            yield _of_privacy(results, grid, data)
            if data == FIRST:
                yield _of_aggregators(results, data)
            yield _of_bytes(results, grid, data)


def _of_full(results: Results, grid: Grid, data: str) -> Iterator[Verdict]:
    plain, private = _by_method(results, grid, data, math.inf), _by_method(results, grid, data, 3.0)
    best_plain, best_private = _best(plain), _best(private)
    yield _compared(
        "without DP, the best PEFT method is within 3 points of full",
        data,
        plain["full"],
        plain[best_plain] if best_plain else None,
        f"full {{0:.3f}}, {best_plain} {{1:.3f}}",
        lambda full, best: full - best <= 0.03,
    )
    yield _compared(
        "at ε = 3, full ends at least 10 points below the best PEFT method",
        data,
        private["full"],
        private[best_private] if best_private else None,
        f"full {{0:.3f}}, {best_private} {{1:.3f}}",
        lambda full, best: best - full >= 0.10,
    )
    falls = {
        method: plain[method].value - private[method].value
        for method in plain
        if plain[method].seeds and private[method].seeds
    }
    complete = len(falls) == len(plain)
    yield Verdict(
        "full falls most under DP",
        data,
        ", ".join(f"{name} {100 * fall:.1f}" for name, fall in sorted(falls.items(), key=lambda f: -f[1])),
        max(falls, key=lambda name: falls[name]) == "full" if complete else None,
    )


def _of_privacy(results: Results, grid: Grid, data: str) -> Verdict:
    plain, private = _by_method(results, grid, data, math.inf), _by_method(results, grid, data, 3.0)
    best_plain, best_private = _best(plain), _best(private)
    return _compared(
        "the best PEFT method loses at most 5 points from ε = ∞ to 3",
        data,
        plain[best_plain] if best_plain else None,
        private[best_private] if best_private else None,
        f"{best_plain} {{0:.3f}} at ∞, {best_private} {{1:.3f}} at 3",
        lambda without, with_dp: without - with_dp <= 0.05,
    )


def _by_method(results: Results, grid: Grid, data: str, epsilon: float) -> dict[str, Mean]:
    return {method: grid(results, data, method, epsilon) for method in methods(data)}


def _best(means: dict[str, Mean]) -> str | None:
    """The PEFT method with the highest mean; None until all of them have a seed."""
    peft = {method: mean for method, mean in means.items() if method != "full"}
    if any(not mean.seeds for mean in peft.values()):
        return None
    return max(peft, key=lambda method: peft[method].value)


def _compared(
    prediction: str,
    data: str,
    left: Mean | None,
    right: Mean | None,
    seen: str,
    held: Callable[[float, float], bool],
) -> Verdict:
    if left is None or right is None or not (left.seeds and right.seeds):
        return Verdict(prediction, data, "", None)
    return Verdict(prediction, data, seen.format(left.value, right.value), held(left.value, right.value))


def _of_aggregators(results: Results, data: str) -> Verdict:
    what = "masked and encrypted sums equal plain ones to the bit"
    cells = [cell for cell in slices(data, SEEDS[0]) if cell.part == "aggregator"]
    rows = [results.get(cell.key) for cell in cells]
    if not all(rows):
        return Verdict(what, data, "", None)
    digests = [row["aggregate_digests"] for row in rows if row]
    same = all(found == digests[0] for found in digests)
    return Verdict(what, data, f"{len(digests[0])} rounds, {len(digests)} aggregators", same)


def _of_bytes(results: Results, grid: Grid, data: str) -> Verdict:
    what = "a configuration of at most 40 KB a client and round is within 1 point of the best"
    means = {method: grid(results, data, method, 3.0) for method in peft_methods(data)}
    best = _best(means)
    if best is None:
        return Verdict(what, data, "", None)
    small: list[tuple[float, str]] = []
    for key, row in results.items():
        part, of, method, _, epsilon, *_ = key.split("/")
        sent = row.get("bytes_per_client_round", math.inf)
        if part == "grid" and of == data and epsilon == "3" and sent <= SMALL_UPLOAD:
            small.append((means[method].value, method))
    if not small:
        return Verdict(what, data, "none is that small", False)
    accuracy, method = max(small)
    seen = f"{method} {accuracy:.3f}, best {best} {means[best].value:.3f}"
    return Verdict(what, data, seen, means[best].value - accuracy <= 0.01)
