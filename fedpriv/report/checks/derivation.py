"""What follows from a plan's parameters: its noise, its events, and what each adversary sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from fedpriv import dp
from fedpriv.errors import IntegrityError
from fedpriv.report.encryption import hides_updates

__all__ = ["Derivation"]


@dataclass(frozen=True, slots=True)
class Derivation:
    """A plan's mechanism, derived and not read.

    ``event`` is what one round does, ``against`` what each of the plan's adversaries sees of it, in their
    order; ``None`` where no bound is claimed.
    """

    noise: dp.NoisePlan
    event: dp.Event
    against: tuple[dp.Event | None, ...]

    @classmethod
    def of(cls, plan: dict[str, Any]) -> Derivation:
        """That of ``plan.json``; :class:`FedprivError` where its parameters are none of a mechanism."""
        noise = dp.NoisePlan(
            trust=plan["trust"],
            clients=plan["clients"],
            min_survivors=plan["min_survivors"],
            max_colluders=plan["max_colluders"],
            noise_multiplier=float(plan["noise_multiplier"]),
            sensitivity=plan["sensitivity"],
            dimension=plan["dimension"],
            sampling_rate=float(plan["sampling_rate"]),
            levels=tuple(plan.get("levels", ())),
        )
        events = _round_events(noise, plan)
        against = tuple(_event_against(events, plan, adversary) for adversary in plan["adversaries"])
        return cls(noise, events.event(), against)


def _round_events(noise: dp.NoisePlan, plan: dict[str, Any]) -> dp.RoundEvents:
    """What a round is: one noisy sum, several noisy steps, or a row of a matrix mechanism."""
    steps = plan["local_steps"] if plan.get("work") == "steps" else 1
    bands, cohorts = plan.get("bands"), plan.get("cohorts")
    if type(steps) is not int or not all(
        number is None or type(number) is int for number in (bands, cohorts)
    ):
        raise IntegrityError("plan.json: 'local_steps', 'bands' and 'cohorts' are whole numbers")
    if bands is not None and cohorts != bands:
        raise IntegrityError("plan.json: the cohorts of a matrix mechanism are as many as its bands")
    return dp.RoundEvents(noise, steps=steps, bands=bands, cohorts=cohorts if bands is None else None)


def _event_against(
    events: dp.RoundEvents, plan: dict[str, Any], adversary: dict[str, Any]
) -> dp.Event | None:
    """The event that an adversary sees; a server from which updates are not hidden sees single ones."""
    who = adversary["adversary"]
    if who == "authority":  # which has the sums, as the server has
        return events.against("server")
    if who not in get_args(dp.Adversary):
        raise IntegrityError(f"plan.json names an adversary that this version does not know: {who!r}")
    name: dp.Adversary = "unmasked" if who == "server" and not hides_updates(plan) else who
    return events.against(name)
