"""The plan of a run: everything that is fixed before the first round, and what it will cost.

A configuration says what is wanted; the plan says what will be done about it: noise multiplier, grid,
modulus, threshold, and the (ε, δ) that follow, against each adversary.  The tight composition (PLD) is valid
because the plan is committed to the ledger before anything is released.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from fedpriv import dp
from fedpriv.aggregation import Masked, Plain
from fedpriv.encoding import FixedPoint

__all__ = ["Adversary", "Estimate", "Plan", "together_with"]


@dataclass(frozen=True, slots=True)
class Adversary:
    """Somebody who looks on, what they see, and the ε that holds against them (``None``: no bound)."""

    adversary: Literal["server", "recipient", "peer", "unmasked"]
    description: str
    event: dp.Event | None
    epsilon_pld: float | None

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
    """What a run will take on this machine, from a short measurement."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is fixed before the first round; ``dataset`` is the training records' fingerprint."""

    dataset: str
    unit: str
    trust: str
    aggregator: Masked | Plain
    rounds: int
    epsilon: float
    delta: float
    expected_batch: float
    records: int
    records_declared: bool
    grid: FixedPoint
    noise: dp.NoisePlan
    epsilon_pld: float
    epsilon_rdp: float
    tv_slack: float
    adversaries: tuple[Adversary, ...]
    bytes_per_client_round: int
    masks_per_client: int
    insecure: bool
    estimate: Estimate | None = None

    @property
    def sampling_rate(self) -> float:
        """Probability with which a record takes part in a round."""
        return self.noise.sampling_rate

    @property
    def event(self) -> dp.Event:
        """What one round is charged as."""
        return self.noise.event()

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
        who = {
            ("distributed", True): (
                f"the server{together_with(self.noise.max_colluders)}, and everybody "
                f"who receives the model, as long as at least "
                f"{self.noise.min_survivors - self.noise.max_colluders} honest clients add their noise"
            ),
            ("distributed", False): (
                "everybody who receives the model, but not the server, which sees every update "
                "(aggregator = plain)"
            ),
            ("local", True): "everybody but the record's own client, the server included",
            ("local", False): "everybody but the record's own client, the server included",
            ("central", True): "everybody who receives the model, but not the server, which adds the noise",
            (
                "central",
                False,
            ): "everybody who receives the model, but not the server, which sees every update",
        }[self.trust, self.aggregator.hides_updates]
        return (
            f"Whether any one record was in the training data or not changes what is seen by at most "
            f"(ε = {_upward(self.epsilon_pld)}, δ = {self.delta:g}); this holds against {who}."
        )

    def lines(self) -> list[tuple[str, str]]:
        """The plan for a person: pairs of label and text."""
        noise, grid = self.noise, self.grid
        lines = [
            ("guarantee", self.guarantee),
            ("unit, trust, aggregator", f"{self.unit}, {self.trust}, {self.aggregator.name}"),
            (
                "rounds",
                f"{self.rounds} of {self.expected_batch:g} records expected, each record with q = "
                f"{self.sampling_rate:.5g} ({self.records:,} records, "
                f"{'as declared' if self.records_declared else 'counted, and so public'})",
            ),
            (
                "noise",
                f"multiplier {noise.noise_multiplier:g} of clip {grid.clip:g}; each client adds a standard "
                f"deviation of {math.sqrt(noise.share_variance) / 2.0**grid.scale_log2:.4g}",
            ),
            (
                "ε under the plan",
                f"{self.epsilon_pld:.4f} by PLD, {self.epsilon_rdp:.4f} by RDP, at δ = {self.delta:g}; "
                f"allowed {self.epsilon:g}",
            ),
        ]
        lines += [
            (f"ε against {entry.adversary}", f"{_bound(entry.epsilon_pld)}: {entry.description}")
            for entry in self.adversaries
        ]
        lines += [
            (
                "clients",
                f"{noise.clients}; a round needs {noise.min_survivors} survivors and bears "
                f"{noise.max_colluders} colluding",
            ),
            (
                "encoding",
                f"{noise.dimension:,} parameters in {grid.bits} bits, one unit is 2^{-grid.scale_log2}",
            ),
            (
                "traffic",
                f"{self.bytes_per_client_round:,} bytes sent per client and round; "
                f"{self.masks_per_client} masks to expand",
            ),
        ]
        if self.estimate is not None:
            lines.append(
                (
                    "on this machine",
                    f"about {_duration(self.estimate.seconds)}, "
                    f"{self.estimate.memory_bytes / 2**20:,.0f} MiB of memory",
                )
            )
        if self.insecure:
            lines.append(
                ("INSECURE", "privacy.insecure_seed is set: whoever knows it can take the noise off again")
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; integers that may pass 2^53 as decimal strings."""
        noise, grid = self.noise, self.grid
        return {
            "unit": self.unit,
            "trust": self.trust,
            "aggregator": self.aggregator.name,
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
            "sensitivity": grid.sensitivity,
            "client_bound": grid.client_bound,
            "dimension": noise.dimension,
            "share_variance": str(noise.share_variance),
            "server_variance": str(noise.server_variance),
            "epsilon_pld": self.epsilon_pld,
            "epsilon_rdp": self.epsilon_rdp,
            "tv_slack": self.tv_slack,
            "relation": noise.relation,
            "bytes_per_client_round": self.bytes_per_client_round,
            "masks_per_client": self.masks_per_client,
            "guarantee": self.guarantee,
            "adversaries": [entry.to_dict() for entry in self.adversaries],
            "event": dp.event_to_dict(self.event),
            "insecure": self.insecure,
        }


def together_with(colluders: int) -> str:
    """The clients on the server's side, in words."""
    if colluders == 0:
        return ""
    return f" together with up to {colluders} colluding client{'' if colluders == 1 else 's'}"


def _upward(epsilon: float) -> str:
    """Two decimals, never rounded down."""
    return f"{math.ceil(epsilon * 100) / 100:.2f}"


def _bound(epsilon: float | None) -> str:
    return "no useful bound" if epsilon is None else _upward(epsilon)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
