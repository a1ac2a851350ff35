"""The plan of a run: everything that is fixed before the first round, and what it will cost.

A configuration says what is wanted; the plan says what will be done about it: noise multiplier, grid,
modulus, threshold, and the (ε, δ) that follow, against each adversary.  The tight composition (PLD) is valid
because the plan is committed to the ledger before anything is released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.aggregation import Ckks, Masked, Plain
from fedpriv.encoding import FixedPoint
from fedpriv.federation.config.rules import Work
from fedpriv.federation.planning import words
from fedpriv.federation.planning.cohorts import cohort
from fedpriv.federation.work.adaptive_clip import AdaptiveClip

__all__ = ["Adversary", "Aggregator", "Compressed", "Estimate", "Noisy", "Plan"]

Aggregator = Masked | Plain | Ckks

Noisy = NDArray[np.int64] | NDArray[np.float64]
"""A noisy sum in grid units: integers, or what was solved from the row of a matrix mechanism."""


@dataclass(frozen=True, slots=True)
class Adversary:
    """Somebody who looks on, what they see, and the ε that holds against them (``None``: no bound)."""

    adversary: Literal["server", "authority", "recipient", "peer", "unmasked"]
    description: str
    event: dp.Event | None
    epsilon_pld: float | None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Adversary:
        """What `to_dict` gave."""
        event = values["event"]
        return cls(
            adversary=values["adversary"],
            description=values["description"],
            event=None if event is None else dp.event_from_dict(event),
            epsilon_pld=values["epsilon_pld"],
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "adversary": self.adversary,
            "description": self.description,
            "event": None if self.event is None else dp.event_to_dict(self.event),
            "epsilon_pld": self.epsilon_pld,
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will take on this machine, from a short measurement.

    Attributes:
        seconds: all of it.
        memory_bytes: the process's largest so far.
        logits_bytes: of that, for a language model whose logits are held as a whole, what those of one
            micro-batch and their loss keep.
    """

    seconds: float
    memory_bytes: int
    logits_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Compressed:
    """How many coordinates travel in a round, of how many that the method has, and the bytes that a client
    may send (None: as many as that takes)."""

    coordinates: int
    of: int
    bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "share": self.coordinates / self.of}


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is fixed before the first round; ``dataset`` is the training records' fingerprint.

    ``unit_key`` names the unit in the ledger: for clients with the digest of who has which records.
    With ``cohorts`` the clients take turns in as many, drawn from the public ``seed``: ``noise`` and
    ``aggregator`` are those of the largest, ``smaller`` is the aggregator of the others.  ``bands`` are those
    of a matrix mechanism, whose cohorts are as many.
    ``work`` says what a client puts into the sum, see :data:`fedpriv.federation.config.rules.Work`.
    ``expected_batch`` is the public number by which a sum is divided: expected records, or the expected sum
    of the clients' weights where whole updates are summed.
    ``epsilon_person`` is what somebody with ``person_records`` records is promised, ``epsilon_everywhere``,
    under ``local``, somebody with one at every client; None where no bound is shown, or none is asked for.
    ``compressed`` says how many of the method's coordinates travel, where not simply all do; ``rotated``
    whether they are turned by a random rotation before they are rounded.
    ``flooding_slack`` is what the answers of a key's holders may add to δ beside ``delta``.
    """

    dataset: str
    unit: str
    trust: str
    aggregator: Aggregator
    rounds: int
    epsilon: float
    delta: float
    expected_batch: float
    records: int
    records_declared: bool
    grid: FixedPoint
    noise: dp.NoisePlan
    events: dp.RoundEvents
    epsilon_pld: float
    epsilon_rdp: float
    tv_slack: float
    adversaries: tuple[Adversary, ...]
    bytes_per_client_round: int
    masks_per_client: int
    insecure: bool
    estimate: Estimate | None = None
    unit_key: str = "record"
    work: Work = "gradients"
    local_steps: int | None = 1
    local_epochs: int | None = None
    adaptive_clip: AdaptiveClip | None = None
    bands: int | None = None
    cohorts: int | None = None
    all_clients: int = 0
    smaller: Aggregator | None = None
    seed: int = 0
    disjointness: Literal["asserted", "unknown"] = "unknown"
    person_records: int = 1
    epsilon_person: float | None = None
    epsilon_everywhere: float | None = None
    allow_large_epsilon: bool = False
    flooding_slack: float = 0.0
    compressed: Compressed | None = None
    rotated: bool = False

    @property
    def sampling_rate(self) -> float:
        """Probability with which a record takes part in a round."""
        return self.noise.sampling_rate

    @property
    def coordinates(self) -> int:
        """How many coordinates of the model travel in a round, beside the clip's where it moves."""
        return self.noise.dimension - (self.adaptive_clip is not None)

    @property
    def unit_details(self) -> dict[str, str]:
        """What a reserved round says of the unit; nothing where it is a record, as it always was."""
        return {} if self.unit == "record" else {"unit": self.unit_key}

    @property
    def everyone(self) -> range:
        """All clients' numbers."""
        return range(1, (self.all_clients or self.noise.clients) + 1)

    def members(self, round_: int) -> tuple[int, ...]:
        """The clients that take part in a round, ascending."""
        return cohort(
            round_,
            clients=len(self.everyone),
            cohorts=self.cohorts or 1,
            seed=self.seed,
        )

    @property
    def graph(self) -> Literal["complete", "sparse"] | None:
        """Who shares masks with whom: each with all others or with some; None without masks."""
        if not isinstance(self.aggregator, Masked):
            return None
        return "complete" if self.aggregator.params.complete else "sparse"

    @property
    def server_follows(self) -> bool:
        """Whether the sum protects only from a server that follows the protocol.

        On a sparse graph one that lies to its clients can open sums over fewer of them, with less noise
        (protocols/secagg/spec.md, section 8); so can it where the holders of a key open what it says is the
        sum (protocols/ckks/spec.md, section 7).
        """
        aggregator = self.aggregator
        return self.graph == "sparse" or (isinstance(aggregator, Ckks) and not aggregator.params.malicious)

    @property
    def prepares(self) -> bool:
        """Whether a round makes keys for the next: cohorts that take turns and sparse graphs cannot."""
        return self.cohorts is None and self.graph == "complete"

    def in_model_units(self, noisy: Noisy) -> NDArray[np.float64]:
        """Grid units as model units: ``noisy * 2**-scale_log2``, float64, same shape."""
        return np.ldexp(noisy.astype(np.float64), -self.grid.scale_log2)

    def aggregator_of(self, members: int) -> Aggregator:
        """The aggregator of a cohort of this size."""
        return self.aggregator if members == self.noise.clients or self.smaller is None else self.smaller

    @property
    def relation(self) -> str:
        """Which two federations are neighbours."""
        return "zero-out-one-client" if self.unit == "client" else self.noise.relation

    @property
    def event(self) -> dp.Event:
        """What one round is charged as."""
        return self.events.event()

    def frontier(self) -> tuple[dp.FrontierPoint, ...]:
        """The noise that other numbers of rounds and other ε would need; a second's work when first asked."""
        return dp.frontier_around(self.event, self.rounds, self.epsilon, self.delta)

    @property
    def large_epsilon(self) -> bool:
        """Whether the ε that is allowed is one that says next to nothing."""
        return self.epsilon >= dp.LARGE_EPSILON

    @property
    def warning(self) -> str | None:
        """What has to be said loudly of the way in which updates are summed; None where nothing has."""
        return self.aggregator.params.warning if isinstance(self.aggregator, Ckks) else None

    @property
    def problems(self) -> list[str]:
        """Why the plan must not be run; empty where it may."""
        found = []
        if self.epsilon_pld > self.epsilon:
            found.append(
                f"{self.rounds} rounds at noise multiplier {self.noise.noise_multiplier:g} cost "
                f"ε = {self.epsilon_pld:.3f}, and privacy.epsilon allows {self.epsilon:g}"
            )
        return found

    @property
    def guarantee(self) -> str:
        """The guarantee in one sentence: (ε, δ), unit, adjacency, against whom, under which condition."""
        return words.guarantee(self)

    @property
    def frontier_note(self) -> str:
        """What the figures of :meth:`frontier` are, in one line."""
        return words.frontier_note(self)

    def lines(self) -> list[tuple[str, str]]:
        """The plan for a person: pairs of label and text."""
        return words.lines(self)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; integers that may pass 2^53 as decimal strings."""
        noise, grid = self.noise, self.grid
        return {
            "unit": self.unit,
            "trust": self.trust,
            "aggregator": self.aggregator.name,
            "graph": self.graph,
            "ckks": self._encryption(),
            "epsilon": self.epsilon,
            "delta": self.delta,
            "clip": grid.clip,
            "noise_multiplier": noise.noise_multiplier,
            "sampling_rate": self.sampling_rate,
            "rounds": self.rounds,
            "expected_batch": self.expected_batch,
            "records": self.records,
            "records_declared": self.records_declared,
            "clients": noise.clients,
            "min_survivors": noise.min_survivors,
            "max_colluders": noise.max_colluders,
            "threshold": self.aggregator.threshold,
            "bits": grid.bits,
            "scale_log2": grid.scale_log2,
            "sensitivity": noise.sensitivity,
            "work": self.work,
            "local_steps": self.local_steps,
            "local_epochs": self.local_epochs,
            "bands": self.bands,
            "cohorts": self.cohorts,
            "clients_in_all": self.all_clients or noise.clients,
            "adaptive_clip": None if self.adaptive_clip is None else asdict(self.adaptive_clip),
            "client_bound": grid.client_bound,
            "rotated": self.rotated,
            "dimension": noise.dimension,
            "compression": None if self.compressed is None else self.compressed.to_dict(),
            "levels": list(noise.levels),
            "share_variance": str(noise.share_variance),
            "server_variance": str(noise.server_variance),
            "epsilon_pld": self.epsilon_pld,
            "epsilon_rdp": self.epsilon_rdp,
            "tv_slack": self.tv_slack,
            "relation": self.relation,
            "bytes_per_client_round": self.bytes_per_client_round,
            "masks_per_client": self.masks_per_client,
            "guarantee": self.guarantee,
            "adversaries": [entry.to_dict() for entry in self.adversaries],
            "event": dp.event_to_dict(self.event),
            "insecure": self.insecure,
            "allow_large_epsilon": self.allow_large_epsilon,
            "disjointness": self.disjointness,
            "person_records": self.person_records,
            "epsilon_person": self.epsilon_person,
            "epsilon_everywhere": self.epsilon_everywhere,
        }

    def _encryption(self) -> dict[str, Any] | None:
        """The encrypted sum as plain JSON values; None where updates are summed otherwise."""
        if not isinstance(self.aggregator, Ckks):
            return None
        params = self.aggregator.params
        return {
            "mode": params.mode,
            "holders": len(params.holders),
            "threshold": params.threshold,
            "server": "malicious" if params.malicious else "semi-honest",
            "sums_per_key": params.sums_per_key,
            "statistical_bits": params.statistical_bits if params.mode == "threshold" else None,
            "flooding_slack": self.flooding_slack,
            "bound": str(params.bound),
            "degree": params.ring.degree,
            "modulus_bits": params.ring.modulus_bits,
        }
