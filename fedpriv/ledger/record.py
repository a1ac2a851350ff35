"""One run as a caller sees it: what was committed, and which rounds stand where."""

from __future__ import annotations

from dataclasses import dataclass

from fedpriv.dp import Event
from fedpriv.ledger.chain import Chain, RoundState

__all__ = ["RunRecord"]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What the ledger knows of one run: its committed plan and the numbers of its rounds, ascending.

    ``pending`` rounds are reserved and neither released nor voided: they count as spent. ``epsilon`` is the
    figure that ``rule`` gave when the plan was admitted.
    """

    run_id: str
    dataset: str
    event: Event
    rounds: int
    rule: str
    epsilon: float
    finished: bool
    pending: tuple[int, ...]
    released: tuple[int, ...]
    voided: tuple[int, ...]

    @property
    def counted(self) -> int:
        """How many rounds count as spent."""
        return len(self.pending) + len(self.released)

    @property
    def remaining(self) -> int:
        """How many more rounds the plan allows; a budget that is shared may allow fewer."""
        return 0 if self.finished else self.rounds - self.counted

    @property
    def last_round(self) -> int | None:
        """The highest round number that was ever reserved, ``None`` before the first."""
        return max(self.pending + self.released + self.voided, default=None)

    @classmethod
    def of(cls, chain: Chain, run_id: str) -> RunRecord:
        """The record of a run that ``chain`` knows."""
        run = chain.runs[run_id]
        return cls(
            run_id=run_id,
            dataset=chain.dataset,
            event=run.event,
            rounds=run.rounds,
            rule=run.rule,
            epsilon=run.epsilon,
            finished=run.finished,
            pending=run.numbers(RoundState.RESERVED),
            released=run.numbers(RoundState.RELEASED),
            voided=run.numbers(RoundState.VOIDED),
        )
