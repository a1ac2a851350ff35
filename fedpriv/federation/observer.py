"""What a run tells while it goes and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fedpriv.federation.lora_gap import LoraGap

if TYPE_CHECKING:
    from fedpriv.federation.planning.plan import Plan
    from fedpriv.training import Continuations

__all__ = ["RoundRecord", "RunObserver", "RunResult", "Silent"]


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One finished round.

    ``dropped`` holds a pair ``(client, stage)`` for each client that vanished.  ``epsilon_pld`` and
    ``epsilon_rdp`` are what the data set has spent so far, under the two views of the same events.  ``clip``
    is the clipping norm that the round used; ``gap`` is measured in simulations that ask for it.
    ``accuracy`` and ``perplexity`` (of a language model) are those of the held-out data, in rounds that
    measure them.
    """

    round: int
    rounds: int
    clients: int
    survivors: tuple[int, ...]
    dropped: tuple[tuple[int, str], ...]
    realised_multiplier: float
    epsilon_pld: float
    epsilon_rdp: float
    epsilon_budget: float
    accuracy: float | None
    seconds: float
    bytes_per_client: int
    aggregate_digest: str
    clip: float | None = None
    gap: LoraGap | None = None
    perplexity: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended, and where it left its adapter; :func:`fedpriv.report.write` makes the report.

    ``majority`` is for classes; what follows ``insecure`` for language models, and what they wrote only where
    ``training.generate`` asked for it.  Where clients keep a part of the model to themselves, all figures are
    of the shared parts alone (``shared_alone``); a simulation leaves each client's own adapter in a folder of
    ``own_adapters``, and ``personal`` says how they do, where ``simulation.measure_personal`` asked for it.
    """

    run_dir: Path
    adapter: Path
    accuracy: float
    base_accuracy: float
    majority: float | None
    epsilon_spent: float
    epsilon_rdp: float
    epsilon_budget: float
    delta: float
    rounds_done: int
    rounds_planned: int
    bytes_per_client_round: int
    bytes_per_client_total: int
    dropouts: int
    insecure: bool
    perplexity: float | None = None
    base_perplexity: float | None = None
    continuations: Continuations | None = None
    base_continuations: Continuations | None = None
    shared_alone: bool = False
    own_adapters: Path | None = None
    personal: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; paths as strings."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


class RunObserver(Protocol):
    """Is called by :func:`fedpriv.federation.run.run` as the run goes."""

    def started(self, plan: Plan, resumed_from: int) -> None:
        """The plan is committed; ``resumed_from`` rounds were finished by an earlier call."""

    def round_finished(self, record: RoundRecord) -> None:
        """A sum was released, accounted and applied."""

    def round_lost(self, round_: int, reason: str) -> None:
        """A round ended without a sum; its budget stays spent unless nothing left a client."""

    def finished(self, result: RunResult) -> None:
        """The adapter is written and the run is closed in the ledger."""


class Silent:
    """An observer that says nothing."""

    def started(self, plan: Plan, resumed_from: int) -> None:
        """Say nothing."""

    def round_finished(self, record: RoundRecord) -> None:
        """Say nothing."""

    def round_lost(self, round_: int, reason: str) -> None:
        """Say nothing."""

    def finished(self, result: RunResult) -> None:
        """Say nothing."""
