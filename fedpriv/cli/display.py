"""What a person sees: progress by round, the last lines, and tables; plain where it is no terminal."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from fedpriv.cli.summary import held_out, size, summary, upward
from fedpriv.cli.tables import print_table

if TYPE_CHECKING:
    from fedpriv.federation.observer import RoundRecord, RunResult
    from fedpriv.federation.planning.plan import Plan

__all__ = ["Display", "observer", "print_budgets", "print_pairs", "quiet_libraries"]

_INSECURE = (
    "INSECURE: the noise comes from privacy.insecure_seed; whoever knows the seed can take it off again"
)


class Display(Protocol):
    """An observer of a run that opens and closes with it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def note(self, text: str) -> None:
        """Say something that is not about a round."""

    def kept(self, folder: Path) -> str:
        """What an interrupted run has kept."""

    def started(self, plan: Plan, resumed_from: int) -> None: ...

    def round_finished(self, record: RoundRecord) -> None: ...

    def round_lost(self, round_: int, reason: str) -> None: ...

    def finished(self, result: RunResult) -> None: ...

    def summary(self, result: RunResult, report: Path | None) -> None:
        """The last lines; ``report`` is the page, where it could be written."""


class _Progress(ABC):
    """What both displays share: the count of finished rounds, and the lines."""

    def __init__(self) -> None:
        self._done = 0
        self._rounds = 0

    @abstractmethod
    def note(self, text: str) -> None:
        """Say one line."""

    def kept(self, folder: Path) -> str:
        if not self._rounds:
            return "interrupted while preparing; nothing was spent"
        return (
            f"interrupted; {self._done} of {self._rounds} rounds are finished and kept in {folder}, "
            "and the round that was under way counts as spent"
        )

    def started(self, plan: Plan, resumed_from: int) -> None:
        self._rounds, self._done = plan.rounds, resumed_from
        self.note(plan.guarantee)
        if plan.large_epsilon:
            self.note(f"LARGE ε: up to {plan.epsilon:g} is allowed, which protects next to nothing")
        if plan.warning is not None:
            self.note(plan.warning)
        if plan.insecure:
            self.note(_INSECURE)
        if resumed_from:
            self.note(f"resuming after round {resumed_from} of {plan.rounds}")

    def finished(self, result: RunResult) -> None:
        self._done = result.rounds_done

    def summary(self, result: RunResult, report: Path | None) -> None:
        lines = summary(result, report)
        width = max(len(label) for label, _ in lines) + 2
        for label, text in lines:
            self.note(f"{label:<{width}}{text}")


class Plain(_Progress):
    """One line a round, for files, pipes and terminals that are not."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.flush()

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def round_finished(self, record: RoundRecord) -> None:
        self._done = record.round
        parts = [
            f"round {record.round:>{len(str(record.rounds))}}/{record.rounds}",
            f"survivors {len(record.survivors)}/{record.clients}",
            f"epsilon {upward(record.epsilon_pld)} of {record.epsilon_budget:g}",
        ]
        if figure := held_out(record):
            parts.append(figure)
        parts += [f"{size(record.bytes_per_client)} a client", f"{record.seconds:.1f} s"]
        if record.dropped:
            parts.append(_dropped(record.dropped))
        self.note("  ".join(parts))

    def round_lost(self, round_: int, reason: str) -> None:
        self.note(f"round {round_}: no sum, {reason}")


class Live(_Progress):
    """A row of a table for each round above a bar, for terminals."""

    _HEADINGS = ("round", "survivors", "ε spent", "held out", "sent/client", "seconds", "dropped")
    _WIDTHS = (7, 9, 12, 16, 11, 7, 0)

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("preparing", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        loud = text.startswith(("INSECURE", "LARGE", "SHARED KEY"))
        self._console.print(escape(text), style="bold red" if loud else None)

    def started(self, plan: Plan, resumed_from: int) -> None:
        super().started(plan, resumed_from)
        self._progress.update(self._task, description="round", total=plan.rounds, completed=resumed_from)
        self._console.print(self._row(self._HEADINGS), style="bold", no_wrap=True)

    def round_finished(self, record: RoundRecord) -> None:
        self._done = record.round
        cells = (
            f"{record.round}/{record.rounds}",
            f"{len(record.survivors)}/{record.clients}",
            f"{upward(record.epsilon_pld)} of {record.epsilon_budget:g}",
            held_out(record),
            size(record.bytes_per_client),
            f"{record.seconds:.1f}",
            _dropped(record.dropped),
        )
        self._console.print(self._row(cells), highlight=False, no_wrap=True)
        self._progress.update(self._task, completed=record.round)

    def round_lost(self, round_: int, reason: str) -> None:
        self._console.print(escape(f"round {round_}: no sum, {reason}"), style="yellow")

    def summary(self, result: RunResult, report: Path | None) -> None:
        self._console.print(_pair_table(summary(result, report)))

    def _row(self, cells: Sequence[str]) -> str:
        return escape("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, self._WIDTHS, strict=True)))


def observer(*, to_stderr: bool = False) -> Display:
    """A display for this terminal, or a plain one where there is none; optionally on standard error."""
    console = Console(stderr=to_stderr)
    if console.is_terminal and not console.is_dumb_terminal:
        return Live(console)
    return Plain(sys.stderr if to_stderr else sys.stdout)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Labels and texts, a table on a terminal and lines elsewhere."""
    console = Console()
    if console.is_terminal:
        console.print(_pair_table(pairs))
        return
    width = max((len(label) for label, _ in pairs), default=0)
    for label, text in pairs:
        print(f"{label:<{width}}  {text}")  # noqa: T201 - this is the display


def print_budgets(rows: Sequence[dict[str, Any]]) -> None:
    """One line for each data set of a ledger."""
    headings = ("data set", "fingerprint", "ε spent", "ε allowed", "δ")
    cells = [
        (
            str(row["name"]),
            str(row["dataset"])[:12],
            upward(row["epsilon_spent"]),
            f"{row['epsilon']:g}",
            f"{row['delta']:g}",
        )
        for row in rows
    ]
    print_table(headings, cells)


def quiet_libraries() -> None:
    """Keep the libraries' own bars and remarks out of the progress; set before they are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(opacus|torch|transformers|peft)\b")


def _pair_table(pairs: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, text in pairs:
        table.add_row(escape(label), escape(text))
    return table


def _dropped(dropped: Sequence[tuple[int, str]]) -> str:
    return ", ".join(
        f"client {client} refused" if stage == "refused" else f"client {client} left at {stage}"
        for client, stage in dropped
    )
