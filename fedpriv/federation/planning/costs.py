"""What a plan costs: ε in every sense that the plan states, each from the events of its noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedpriv import dp
from fedpriv.aggregation import Ckks
from fedpriv.federation.banded import FineNoise
from fedpriv.federation.config import Config
from fedpriv.federation.planning.adversaries import adversaries
from fedpriv.federation.planning.encrypted import flooding_slack
from fedpriv.federation.planning.plan import Adversary, Aggregator
from fedpriv.federation.planning.subject import Subject
from fedpriv.federation.work.contribution import Contribution

__all__ = ["Costs", "costs_of"]


@dataclass(frozen=True, slots=True)
class Costs:
    """The prices of a plan; see `fedpriv.federation.planning.plan.Plan` for each."""

    epsilon_pld: float
    epsilon_rdp: float
    tv_slack: float
    flooding_slack: float
    adversaries: tuple[Adversary, ...]
    epsilon_person: float | None
    epsilon_everywhere: float | None

    @classmethod
    def from_dict(cls, plan: Mapping[str, Any]) -> Costs:
        """The prices that a written plan states."""
        return cls(
            epsilon_pld=plan["epsilon_pld"],
            epsilon_rdp=plan["epsilon_rdp"],
            tv_slack=plan["tv_slack"],
            flooding_slack=plan["ckks"]["flooding_slack"] if plan["ckks"] else 0.0,
            adversaries=tuple(map(Adversary.from_dict, plan["adversaries"])),
            epsilon_person=plan["epsilon_person"],
            epsilon_everywhere=plan["epsilon_everywhere"],
        )


def costs_of(
    config: Config, subject: Subject, one: Contribution, noise: dp.NoisePlan, aggregator: Aggregator
) -> Costs:
    """Price a plan: compose its events over all rounds.

    Raises:
        UnsafeParameters: integer noise, or the answers of a key's holders, would cost too much of δ.
    """
    rounds, delta, events = config.run.rounds, config.privacy.delta, one.events(noise)
    counted = [(events.event(), rounds)]
    epsilon = dp.epsilon_pld(counted, delta)
    flooding = 0.0
    if isinstance(aggregator, Ckks):
        flooding = flooding_slack(aggregator.params, rounds, epsilon=epsilon, delta=delta)
    return Costs(
        epsilon_pld=epsilon,
        epsilon_rdp=dp.epsilon_rdp(counted, delta),
        tv_slack=_slack(config, one, noise),
        flooding_slack=flooding,
        adversaries=adversaries(events, aggregator, rounds, delta),
        epsilon_person=_person(config, events, clients=subject.clients),
        epsilon_everywhere=_everywhere(config, events, clients=subject.clients),
    )


def _person(config: Config, events: dp.RoundEvents, *, clients: int) -> float | None:
    """What somebody with several records is promised; None where nobody has them, or no bound is shown."""
    records = config.privacy.person_records
    if records == 1:
        return None
    return dp.epsilon_of_units(
        events.event(),
        config.run.rounds,
        records if config.unit == "record" else min(records, clients),
        config.privacy.delta,
        apart=clients if config.trust == "local" else 1,
    )


def _everywhere(config: Config, events: dp.RoundEvents, *, clients: int) -> float | None:
    """Under ``local``, what somebody with one record at every client is promised."""
    if config.trust != "local" or config.data.disjointness == "asserted":
        return None
    each = (events.event(), config.run.rounds)
    return dp.epsilon_everywhere({str(client): each for client in range(clients)}, config.privacy.delta)


def _slack(config: Config, one: Contribution, noise: dp.NoisePlan) -> float:
    """Distance of the run's noise from Gaussian noise; a matrix mechanism's is not in its event."""
    rounds = config.run.rounds
    if one.bands is None:
        return one.releases(rounds) * dp.skellam_gaussian_tv(noise.event().noise_variance, noise.dimension)
    fine = FineNoise(noise, one.bands)
    epsilon = dp.epsilon_pld([(one.events(noise).event(), rounds)], config.privacy.delta)
    fine.check(rounds, epsilon=epsilon, delta=config.privacy.delta)
    return fine.slack(rounds)
