"""What a run says of a round and at its end, in words and short figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedpriv.federation.observer import RoundRecord, RunResult

__all__ = ["held_out", "size", "summary", "upward"]


def summary(result: RunResult, report: Path | None) -> list[tuple[str, str]]:
    """The last lines of a run."""
    lines = [
        *_utility(result),
        *_own_models(result),
        (
            "epsilon",
            f"{upward(result.epsilon_spent)} spent of {result.epsilon_budget:g} allowed, "
            f"at delta {result.delta:g} (the looser RDP bound: {upward(result.epsilon_rdp)})",
        ),
        ("rounds", f"{result.rounds_done} of {result.rounds_planned}"),
        (
            "sent",
            f"{size(result.bytes_per_client_total)} by each client, "
            f"{size(result.bytes_per_client_round)} a round",
        ),
        (
            "dropouts",
            f"{result.dropouts}, each a client that vanished in the middle of a round"
            if result.dropouts
            else "none",
        ),
        ("adapter", str(result.adapter)),
        *_own_adapters(result),
        *_papers(report),
        ("verify", f"fedpriv verify {result.run_dir}"),
    ]
    if result.insecure:
        lines.append(("INSECURE", "the noise came from privacy.insecure_seed: nothing is protected"))
    return lines


def held_out(record: RoundRecord) -> str:
    """The figure of a round, where it was measured."""
    if record.perplexity is not None:
        return f"perplexity {record.perplexity:.2f}"
    return "" if record.accuracy is None else f"accuracy {record.accuracy:.3f}"


def upward(epsilon: float) -> str:
    """Two decimals, never rounded down: what was spent must not look smaller than it is.

    >>> upward(2.3001)
    '2.31'
    """
    return f"{math.ceil(round(epsilon * 100, 9)) / 100:.2f}" if math.isfinite(epsilon) else "no bound"


def size(count: int) -> str:
    """Bytes for a person, in powers of 1000.

    >>> size(31_234)
    '31.2 kB'
    """
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _utility(result: RunResult) -> list[tuple[str, str]]:
    """How good the model is on held-out data, beside what is had for nothing."""
    alone = ", by the shared parts alone" if result.shared_alone else ""
    figures = f"{result.accuracy:.3f} on held-out data{alone}; base model {result.base_accuracy:.3f}"
    if result.majority is not None:
        over_majority = 100 * (result.accuracy - result.majority)
        return [
            ("accuracy", f"{figures}, majority guess {result.majority:.3f} ({over_majority:+.1f} points)")
        ]
    lines = [
        ("perplexity", f"{result.perplexity:.2f} on held-out texts; base model {result.base_perplexity:.2f}"),
        ("accuracy", f"{figures} (next tokens)"),
    ]
    written, before = result.continuations, result.base_continuations
    if written is not None and before is not None:
        lines.append(
            (
                "writes",
                f"ROUGE-L {written.rouge_l:.3f} (base model {before.rouge_l:.3f}), distinct-2 "
                f"{written.distinct_2:.3f} ({before.distinct_2:.3f}), from {written.prompts} beginnings",
            )
        )
    return lines


def _papers(report: Path | None) -> list[tuple[str, str]]:
    """What was written for people who were not there."""
    if report is None:
        return [("report", "could not be written")]
    from fedpriv.report.bundle import NAME

    return [("report", str(report)), ("evidence", f"{report.with_name(NAME)}, the run in one signed file")]


def _own_models(result: RunResult) -> list[tuple[str, str]]:
    """How clients' own models do on what stands for their own records, where that was asked for."""
    found = result.personal
    if found is None:
        return []
    figures = (
        f"accuracy {found['mean']:.3f} at the mean over {len(found['clients'])} clients, "
        f"{found['worst']:.3f} at the worst; the shared parts alone {found['shared_mean']:.3f}"
    )
    if "perplexity" in found:
        figures += f"; perplexity {found['perplexity']:.2f}, {found['shared_perplexity']:.2f}"
    return [("own models", figures)]


def _own_adapters(result: RunResult) -> list[tuple[str, str]]:
    """Where clients' own adapters are."""
    if result.own_adapters is None:
        return []
    return [("own adapters", f"{result.own_adapters}, each as private as its client's records")]
