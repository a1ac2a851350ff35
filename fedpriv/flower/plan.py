"""What all parties of a session agree on: what is summed, how much noise it gets, who may be missing."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv import dp
from fedpriv.crypto import Keystream, canonical_json, digest
from fedpriv.encoding import ClientGrid, Rotation
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.secagg import UPDATE, SecAggParams, Sum, Vector

__all__ = ["PrivateSumPlan", "PrivateTotal"]

_DOMAIN: Final = "fedpriv flower"
_LARGEST: Final = 1e100
"""Far above any clip, and its square far below what a float holds, however many are added."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PrivateTotal:
    """What a finished round gives the server, and all that it learns.

    Attributes:
        vectors: by name, the noisy sums over the survivors: shape (d,), float64, model units.
        integers: all of them as they were summed, rotated: shape (sum of all d,), int64, grid units.
        survivors: the clients whose vectors are in the sums, ascending.
        noise_multiplier: z that was realised, the colluders' noise not counted; never below the plan's.
    """

    vectors: Mapping[str, NDArray[np.float64]]
    integers: NDArray[np.int64]
    survivors: tuple[int, ...]
    noise_multiplier: float


@dataclass(frozen=True, slots=True, eq=False)
class PrivateSumPlan:
    """The agreement of one session; every party holds the same, and no message changes it.

    The unit of privacy is the client: its whole vector, or zeros in its place.  Each client clips the vectors
    of a round *together* to ``clip`` in l2 and adds a share of Skellam noise, so that the shares of
    ``min_survivors - max_colluders`` clients suffice (protocols/dp/spec.md).  There is no sampling, and none
    is claimed.

    Args:
        session: its name; a node takes part in the one that its policy names.
        clients: n, clients of the roster, at least 3.
        min_survivors: t, the fewest whose sum is opened.
        max_colluders: c, clients that may be in league with the server.
        vectors: name -> dimension of what each client's training function returns.
        clip: C, model units.
        noise_multiplier: z, standard deviation of the noise in the sum over the sensitivity.
        rounds: the most rounds that a client answers.
        bits: of one coordinate on the wire.

    Raises:
        UsageError: a value out of range.
        UnsafeParameters: sizes that would not protect, or too few bits; the message says how many.

    >>> plan = PrivateSumPlan(session="example", clients=4, min_survivors=3, max_colluders=1,
    ...                       vectors={"update": 100}, clip=1.0, noise_multiplier=4.0, rounds=2)
    >>> round(plan.epsilon(1e-5), 2)
    1.36
    """

    session: str
    clients: int
    min_survivors: int
    max_colluders: int
    vectors: Mapping[str, int]
    clip: float
    noise_multiplier: float
    rounds: int
    bits: int = 32
    grid: ClientGrid = field(init=False, repr=False)
    noise: dp.NoisePlan = field(init=False, repr=False)
    params: SecAggParams = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.session or not self.session.isprintable():
            raise UsageError(
                "A session has a name.", hint="Choose one that no other session of its nodes has."
            )
        if not self.vectors or min(self.vectors.values()) < 1 or self.rounds < 1:
            raise UsageError("A session has at least one round, one vector, and one coordinate in each.")
        dimension = sum(self.vectors.values())
        grid = ClientGrid.plan(
            bits=self.bits,
            clients=self.clients,
            clip=self.clip,
            noise_multiplier=self.noise_multiplier,
            share_excess=dp.share_excess(
                "distributed",
                clients=self.clients,
                min_survivors=self.min_survivors,
                max_colluders=self.max_colluders,
            ),
            dimension=dimension,
        )
        noise = dp.NoisePlan(
            trust="distributed",
            clients=self.clients,
            min_survivors=self.min_survivors,
            max_colluders=self.max_colluders,
            noise_multiplier=self.noise_multiplier,
            sensitivity=grid.sensitivity,
            dimension=dimension,
            sampling_rate=1.0,
        )
        params = SecAggParams.for_cohort(
            self.clients,
            vectors=[Vector(UPDATE, grid.fixed.bits, dimension)],
            max_colluders=self.max_colluders,
            min_survivors=self.min_survivors,
        )
        if params.min_survivors != self.min_survivors:
            raise UnsafeParameters(
                f"With {self.clients} clients and {self.max_colluders} colluders a sum of "
                f"{self.min_survivors} survivors cannot be opened safely.",
                hint=f"Set min_survivors to at least {params.min_survivors}. [SA-9]",
            )
        for name, value in (("grid", grid), ("noise", noise), ("params", params)):
            object.__setattr__(self, name, value)  # derived, once, from what was given

    @classmethod
    def for_epsilon(cls, epsilon: float, delta: float, *, rounds: int, **sizes: Any) -> PrivateSumPlan:
        """The plan with the least noise, to four digits, whose ``rounds`` rounds cost at most (ε, δ).

        Args:
            sizes: the other arguments of the class but ``noise_multiplier``.

        Raises:
            UnsafeParameters: no noise is enough.
        """
        multiplier = dp.noise_multiplier(epsilon, delta, 1.0, rounds)
        while True:
            plan = cls(**sizes, rounds=rounds, noise_multiplier=multiplier)
            if plan.epsilon(delta) <= epsilon:
                return plan
            multiplier = dp.next_multiplier(multiplier)  # integer noise costs a little more than Gaussian

    def epsilon(self, delta: float, rounds: int | None = None) -> float:
        """ε at ``delta`` after so many rounds, all if not given; a client's whole vector is the unit.

        It holds against the server in league with ``max_colluders`` clients, and against anybody else who is
        shown the sums; a client that is shown them knows its own noise, so count it among the colluders.
        """
        return dp.epsilon_pld([(self.noise.event(), self.rounds if rounds is None else rounds)], delta)

    @property
    def run_id(self) -> bytes:
        """16 bytes that name the session; they bind every value of the plan."""
        values = {
            "session": self.session,
            "clients": self.clients,
            "min_survivors": self.min_survivors,
            "max_colluders": self.max_colluders,
            "vectors": dict(self.vectors),
            "clip": self.clip.hex(),
            "noise_multiplier": self.noise_multiplier.hex(),
            "rounds": self.rounds,
            "bits": self.bits,
        }
        return digest(f"{_DOMAIN} plan v1", canonical_json(values))[:16]

    def check_round(self, round_: int) -> None:
        """Refuse a round that the plan, and so ε, does not cover.

        Raises:
            UnsafeParameters: it does not.
        """
        if not 1 <= round_ <= self.rounds:
            raise UnsafeParameters(
                f"Round {round_} is not one of the {self.rounds} that this session's epsilon covers.",
                hint="Plan a new session with more rounds; it needs more noise for the same epsilon.",
            )

    def encode(
        self, vectors: Mapping[str, NDArray[np.floating]], round_: int, words: dp.Words
    ) -> NDArray[np.uint64]:
        """One client's contribution: clipped, rotated, rounded, its share of the noise added.

        Numbers that are not finite count as a vector of zeros, which nobody but this client's log is told: a
        refusal would say of the records what no noise covers.

        Args:
            vectors: by name, shape (d,), float32 or float64, model units.
            words: fresh uniform words for the noise.

        Returns:
            Residues modulo ``2**bits``, shape (sum of all d,), uint64.

        Raises:
            UsageError: another name, shape or dtype.
        """
        if vectors.keys() != self.vectors.keys():
            raise UsageError(f"The training gave {sorted(vectors)}; the plan says {sorted(self.vectors)}.")
        parts = []
        for name, dimension in sorted(self.vectors.items()):
            part = np.asarray(vectors[name])
            if part.shape != (dimension,) or part.dtype not in (np.float32, np.float64):
                raise UsageError(
                    f"The vector {name!r} is {part.dtype} of shape {part.shape}; the plan says float32 or "
                    f"float64 of shape ({dimension},)."
                )
            parts.append(part.astype(np.float64))
        whole = self._usable(np.concatenate(parts))
        integers = self.grid.encode(whole, rotation=self._rotation(round_))
        integers += dp.skellam(self.noise.share_variance, self.noise.dimension, words)
        return self.grid.fixed.to_residues(integers)

    def decode(self, total: Sum, round_: int) -> PrivateTotal:
        """What the opened sum of a round stands for."""
        integers = self.grid.fixed.centre(total.vectors[UPDATE])
        values = self.grid.decode(integers, rotation=self._rotation(round_))
        names = sorted(self.vectors)
        ends = np.cumsum([self.vectors[name] for name in names])[:-1]
        return PrivateTotal(
            vectors=dict(zip(names, np.split(values, ends), strict=True)),
            integers=integers,
            survivors=total.survivors,
            noise_multiplier=self.noise.realised_multiplier(len(total.survivors)),
        )

    def _usable(self, whole: NDArray[np.float64]) -> NDArray[np.float64]:
        """Zeros for what is no vector, and what is too long to be squared brought near the clip."""
        largest = float(np.abs(whole).max(initial=0.0))
        if not math.isfinite(largest):
            _log.warning("The training gave numbers that are not finite; zeros are sent in their place.")
            return np.zeros_like(whole)
        return whole / largest * self.clip if largest > _LARGEST else whole

    def _rotation(self, round_: int) -> Rotation:
        """The round's; public, as it serves accuracy and hides nothing."""
        seed = digest(f"{_DOMAIN} rotation v1", self.run_id, round_.to_bytes(8, "big"))
        return Rotation.draw(self.noise.dimension, Keystream(seed).words)
