"""What the keys of ``[simulation]`` get wrong together, and with the rest of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.errors import ConfigError
from fedpriv.federation.config.tables import Peft, Simulation
from fedpriv.peft import method_called
from fedpriv.peft.methods.lora import Lora

if TYPE_CHECKING:
    from fedpriv.federation.config.config import Config

__all__ = ["check_deployable", "check_simulation"]

_NO_GAP = {
    "gradients": (
        "there is none: one step on the sum of gradients, all taken at one model, is a step of that model",
        'leave it out, or let clients take several steps (`unit = "client"`, or `local.steps`)',
    ),
    "steps": (
        "a client's own noise is in each of its steps, so that there is no update without it",
        'leave it out, or use `trust = "distributed"` or `unit = "client"`',
    ),
}
"""Why no gap can be measured, and what to do, by what a client puts into the sum."""


def check_simulation(work: str, peft: Peft, simulation: Simulation) -> None:
    """Refuse keys that say nothing without another, and a gap where there is none to measure.

    Args:
        work: what a client puts into a round's sum, see :data:`fedpriv.federation.config.rules.Work`.
        peft: what is trained.
        simulation: the table.
    """
    for key, needs in (("straggler_misses", "stragglers"), ("away_rounds", "away")):
        if getattr(simulation, key) is not None and not getattr(simulation, needs):
            raise ConfigError(
                f"`simulation.{key}` is set, and `simulation.{needs}` is 0",
                key=f"simulation.{key}",
                hint=f"set `simulation.{needs}`, or leave it out",
            )
    if not simulation.measure_gap:
        return
    method = method_called(peft.method)
    if method.personal:
        raise ConfigError(
            f"`simulation.measure_gap` is set, and with {method.name} no product of means is made: each "
            "client's own B multiplies the mean",
            key="simulation.measure_gap",
            hint="leave it out, or take lora, the method that has a gap",
        )
    if not isinstance(method, Lora) or "ranks" in method.options:
        raise ConfigError(
            f"`simulation.measure_gap` is set, and {method.name} "
            + (
                "starts every client from a model of its own rank"
                if isinstance(method, Lora)
                else "has no halves"
            ),
            key="simulation.measure_gap",
            hint="leave it out, or take lora, the method that has a gap",
        )
    if work in _NO_GAP:
        why, hint = _NO_GAP[work]
        raise ConfigError(
            f"`simulation.measure_gap` is set, and {why}", key="simulation.measure_gap", hint=hint
        )


def check_deployable(config: Config) -> None:
    """Refuse what only a simulation can measure, where the clients are real.

    Raises:
        ConfigError: it is asked for.
    """
    for key, asked, why in (
        ("simulation.measure_gap", config.simulation.measure_gap, "no party sees updates before noise"),
        (
            "simulation.measure_personal",
            config.simulation.measure_personal,
            "no party has clients' own parts",
        ),
        ("training.groups", config.training.groups, "the server's held-out records come without that column"),
    ):
        if asked:
            raise ConfigError(
                f"`{key}` is set, and on a network {why}",
                key=key,
                hint="leave it out, or simulate the clients",
            )
    alone = config.unit == "client" or config.data.disjointness == "asserted"
    if config.run.participation is not None and not alone:
        raise ConfigError(
            "`run.participation` is set, and it is not known that no record stands at two clients: one that "
            "does would be in several cohorts, and cost more than is charged",
            key="run.participation",
            hint='see to it, and say so with `data.disjointness = "asserted"`; or leave participation out',
        )
