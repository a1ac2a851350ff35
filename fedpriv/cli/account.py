"""``fedpriv account``: what events cost, or how much of one thing an epsilon allows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedpriv.cli.options import as_json, print_json
from fedpriv.errors import DataError, UsageError

if TYPE_CHECKING:
    from fedpriv.dp import Event

__all__ = ["account"]

_MECHANISMS = ("gaussian", "skellam", "discrete-gaussian")
_DEFAULT_SENSITIVITY = 1 << 21


@click.command()
@click.argument("events", type=click.Path(path_type=Path), required=False, metavar="[EVENTS.json]")
@click.option("--noise-multiplier", type=float, help="Noise (standard deviation) over sensitivity.")
@click.option("--sample-rate", type=float, help="Chance of each record to be in a round; 1: no sampling.")
@click.option("--steps", type=int, help="Rounds.")
@click.option("--delta", type=float, default=1e-5, show_default=True, help="Delta, below 1/records.")
@click.option("--epsilon", type=float, help="Solve for the one of noise, rate and steps that is missing.")
@click.option("--mechanism", type=click.Choice(_MECHANISMS), default="gaussian", show_default=True)
@click.option(
    "--sensitivity", type=int, help=f"Integer noise: S in grid units; default {_DEFAULT_SENSITIVITY}."
)
@click.option("--dimension", type=int, help="Integer noise: number of coordinates; needed.")
@click.option("--shares", type=int, help="discrete-gaussian: independent shares in the sum; default 1.")
@click.option("--sampling", default="poisson", show_default=True, help="poisson, or none: no amplification.")
@click.option("--relation", default="add-or-remove-one", show_default=True, help="Neighbouring relation.")
@click.option("--records", type=int, help="Records in all: delta must be below one over it.")
@click.option(
    "--group", type=int, default=1, show_default=True, help="Also for so many records of one person."
)
@click.option("--allow-large-epsilon", is_flag=True, help="Give an epsilon of 20 or more all the same.")
@as_json
def account(
    events: Path | None,
    *,
    delta: float,
    epsilon: float | None,
    sampling: str,
    relation: str,
    records: int | None,
    group: int,
    allow_large_epsilon: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Price a run, or the events in EVENTS.json, at a delta.

    EVENTS.json is a list of events in canonical form, each with an optional "count".  With --epsilon and one
    of --noise-multiplier, --sample-rate and --steps left out, that one is computed, rounded to the safe side.
    """
    from fedpriv import dp

    described = options["mechanism"] != _MECHANISMS[0] or any(
        value is not None for name, value in options.items() if name != "mechanism"
    )
    dp.check_sampling(sampling)
    dp.check_relation(relation)
    if records is not None:
        dp.check_delta_for_records(delta, records)
    if epsilon is not None:
        dp.check_epsilon(epsilon, allow_large=allow_large_epsilon)
    if sampling == "none":
        if options["sample_rate"] not in (None, 1.0):
            raise UsageError(
                "--sampling none claims no amplification", hint="leave --sample-rate out, or give 1"
            )
        options["sample_rate"] = 1.0
    solved = ""
    if events is not None:
        if described or epsilon is not None:
            raise UsageError(
                "EVENTS.json says all about the events", hint="leave the options that describe a run out"
            )
        counted = _read(events)
    else:
        solved = _solve(options, epsilon, delta)
        counted = [(_event(options), options["steps"])]
    result = _price(counted, delta)
    dp.check_epsilon(min(result["epsilon_pld"], result["epsilon_rdp"]), allow_large=allow_large_epsilon)
    result |= {"relation": dp.RELATION, "delta": delta, "events": len(counted)}
    if group > 1:
        result |= {"group": group, "epsilon_group": dp.epsilon_group(counted, group, delta)}
    if solved:
        result |= {"solved_for": solved, solved: options[solved]}
    if solved == "sample_rate" and records is not None:
        result["batch"] = int(records * options["sample_rate"])
    if as_json:
        print_json(result)
    else:
        from fedpriv.cli.display import print_pairs

        print_pairs([(name.replace("_", " "), _show(value)) for name, value in result.items()])


def _solve(options: dict[str, Any], epsilon: float | None, delta: float) -> str:
    """Fill in the one of the three unknowns that is missing; say which, "" where none is."""
    from fedpriv import dp

    missing = [name for name in ("noise_multiplier", "sample_rate", "steps") if options[name] is None]
    if not missing and epsilon is None:
        return ""
    if len(missing) != 1 or epsilon is None:
        listed = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise UsageError(
            f"{listed} missing: the figures do not settle the run"
            if missing
            else "nothing is left to solve for",
            hint="give --noise-multiplier, --sample-rate and --steps; or --epsilon and two of the three",
        )
    if options["mechanism"] != "gaussian":
        raise UsageError(
            "--epsilon solves for Gaussian noise",
            hint="solve without --mechanism, then price the answer with it",
        )
    z, rate, steps = options["noise_multiplier"], options["sample_rate"], options["steps"]
    name = missing[0]
    if name == "noise_multiplier":
        options[name] = dp.noise_multiplier(epsilon, delta, rate, steps)
    elif name == "steps":
        options[name] = dp.rounds_for(epsilon, delta, z, rate)
    else:
        options[name] = dp.sampling_rate_for(epsilon, delta, z, steps)
    if not options[name]:
        raise UsageError(
            f"nothing fits epsilon {epsilon:g} at delta {delta:g}", hint="use more noise or a larger epsilon"
        )
    return name


def _event(options: dict[str, Any]) -> Event:
    """The event that the options describe: integer noise of the least variance that has the multiplier."""
    from fedpriv import dp

    z, rate = options["noise_multiplier"], options["sample_rate"]
    if options["steps"] < 0:
        raise UsageError(f"--steps is {options['steps']}; it cannot be negative")
    gaussian = dp.PoissonGaussian(z, rate)
    extra = [name for name in ("sensitivity", "dimension", "shares") if options[name] is not None]
    if options["mechanism"] == "gaussian":
        if extra:
            raise UsageError(
                f"--{extra[0]} belongs to integer noise", hint="give --mechanism skellam, or leave it out"
            )
        return gaussian
    if options["dimension"] is None:
        raise UsageError(
            "--dimension is missing: integer noise pays for its distance from Gaussian noise by coordinate",
            hint="give the number of trained parameters",
        )
    sensitivity = _DEFAULT_SENSITIVITY if options["sensitivity"] is None else options["sensitivity"]
    if options["mechanism"] == "skellam":
        if options["shares"] is not None:
            raise UsageError(
                "--shares does not matter for Skellam noise", hint="leave it out: shares add up exactly"
            )
        return dp.PoissonSkellam(dp.variance_for(z, sensitivity), sensitivity, options["dimension"], rate)
    shares = 1 if options["shares"] is None else options["shares"]
    share = dp.variance_for(z, sensitivity, shares=shares)
    return dp.PoissonDiscreteGaussian(share, shares, sensitivity, options["dimension"], rate)


def _read(path: Path) -> list[tuple[Event, int]]:
    """The events of a file, with their counts."""
    from fedpriv import dp

    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{str(path)!r} is not JSON: {error}", hint="write a list of events") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f"{str(path)!r} is not a list of events", hint="write a list of JSON objects")
    counted = []
    for number, entry in enumerate(entries):
        count = entry.pop("count", 1)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise DataError(f"event {number}: its count is {count!r}", hint="a count is a whole number")
        counted.append((dp.event_from_dict(entry), count))
    return counted


def _price(counted: list[tuple[Event, int]], delta: float) -> dict[str, Any]:
    """Both figures, infinite where an engine gives none, and the name of the smaller one."""
    from fedpriv import dp

    figures = []
    refusals = []
    for engine in (dp.epsilon_pld, dp.epsilon_rdp):
        try:
            figures.append(engine(counted, delta))
        except UsageError as error:  # integer noise too coarse for one engine, or delta too small for PLD
            figures.append(math.inf)
            refusals.append(error)
    if len(refusals) == len(figures):
        raise refusals[-1]
    by_pld, by_rdp = figures
    return {
        "epsilon": min(by_pld, by_rdp),
        "method": "pld" if by_pld <= by_rdp else "rdp",
        "epsilon_pld": by_pld,
        "epsilon_rdp": by_rdp,
    }


def _show(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
