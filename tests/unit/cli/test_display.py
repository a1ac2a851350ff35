"""What a person sees of a run."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from fedpriv.cli.display import Display, Live, Plain, observer
from fedpriv.cli.summary import held_out, size, summary, upward
from fedpriv.federation.observer import RoundRecord, RunResult
from fedpriv.training import Continuations


@dataclass(frozen=True)
class Promise:
    """What the display reads of a plan."""

    rounds: int = 40
    epsilon: float = 3.0
    large_epsilon: bool = False
    guarantee: str = "Whether any [one] record was there changes little."
    insecure: bool = False
    warning: str | None = None


def record(number: int, **changes: object) -> RoundRecord:
    values = {
        "round": number,
        "rounds": 40,
        "clients": 8,
        "survivors": (1, 2, 3, 4, 6, 7, 8),
        "dropped": ((5, "upload"),),
        "realised_multiplier": 1.0,
        "epsilon_pld": 1.2301,
        "epsilon_rdp": 1.5,
        "epsilon_budget": 3.0,
        "accuracy": 0.7125,
        "seconds": 4.21,
        "bytes_per_client": 31_234,
        "aggregate_digest": "00" * 32,
    }
    return RoundRecord(**(values | changes))


def result(*, insecure: bool = False) -> RunResult:
    return RunResult(
        run_dir=Path("runs/demo"),
        adapter=Path("runs/demo/adapter"),
        accuracy=0.741,
        base_accuracy=0.498,
        majority=0.538,
        epsilon_spent=2.991,
        epsilon_rdp=3.31,
        epsilon_budget=3.0,
        delta=1e-5,
        rounds_done=40,
        rounds_planned=40,
        bytes_per_client_round=31_234,
        bytes_per_client_total=1_249_360,
        dropouts=9,
        insecure=insecure,
    )


def play(display: Display, *, insecure: bool = False, resumed_from: int = 0) -> None:
    with display:
        display.note("preparing")
        display.started(Promise(insecure=insecure), resumed_from)  # type: ignore[arg-type]
        display.round_finished(record(1))
        display.round_finished(record(2, dropped=(), survivors=tuple(range(1, 9)), accuracy=None))
        display.round_lost(3, "4 of 8 clients answered")
        display.finished(result(insecure=insecure))
    display.summary(result(insecure=insecure), Path("runs/demo/report.html"))


def test_plain_output_has_one_line_a_round() -> None:
    stream = io.StringIO()
    play(Plain(stream))
    lines = stream.getvalue().splitlines()
    assert lines[1] == Promise().guarantee
    assert lines[2] == (
        "round  1/40  survivors 7/8  epsilon 1.24 of 3  accuracy 0.713  31.2 kB a client  4.2 s  "
        "client 5 left at upload"
    )
    assert lines[3] == "round  2/40  survivors 8/8  epsilon 1.24 of 3  31.2 kB a client  4.2 s"
    assert lines[4] == "round 3: no sum, 4 of 8 clients answered"
    assert "\x1b" not in stream.getvalue()


def test_a_large_budget_is_said_before_the_first_round() -> None:
    stream = io.StringIO()
    display = Plain(stream)
    with display:
        display.started(Promise(epsilon=25.0, large_epsilon=True), 0)  # type: ignore[arg-type]
    assert "LARGE ε: up to 25 is allowed" in stream.getvalue()
    stream = io.StringIO()
    Plain(stream).started(Promise(), 0)  # type: ignore[arg-type]
    assert "LARGE" not in stream.getvalue()


def test_a_shared_key_is_said_before_the_first_round() -> None:
    said = Promise(warning="SHARED KEY: every client holds it")
    stream = io.StringIO()
    Plain(stream).started(said, 0)  # type: ignore[arg-type]
    assert "SHARED KEY: every client holds it\n" in stream.getvalue()
    stream = io.StringIO()
    Live(Console(file=stream, force_terminal=True, width=140)).started(said, 0)  # type: ignore[arg-type]
    assert "\x1b[1;31mSHARED KEY: every client holds it" in stream.getvalue()


def test_a_terminal_gets_the_same_facts() -> None:
    stream = io.StringIO()
    play(Live(Console(file=stream, force_terminal=True, width=140, color_system=None)))
    shown = stream.getvalue()
    for fact in (
        "[one] record",
        "1/40",
        "7/8",
        "1.24 of 3",
        "0.713",
        "31.2 kB",
        "client 5 left at upload",
        "no sum",
    ):
        assert fact in shown
    for _, text in summary(result(), Path("runs/demo/report.html")):
        assert text in shown


def test_a_language_model_is_judged_by_perplexity_and_by_what_it_writes() -> None:
    model = replace(
        result(),
        majority=None,
        perplexity=24.125,
        base_perplexity=31.5,
        continuations=Continuations(8, 0.2, 0.5),
        base_continuations=Continuations(8, 0.125, 0.625),
    )
    lines = dict(summary(model, None))
    assert (lines["report"], lines.get("evidence")) == ("could not be written", None)
    assert lines["perplexity"] == "24.12 on held-out texts; base model 31.50"
    assert lines["accuracy"] == "0.741 on held-out data; base model 0.498 (next tokens)"
    assert lines["writes"] == (
        "ROUGE-L 0.200 (base model 0.125), distinct-2 0.500 (0.625), from 8 beginnings"
    )
    assert held_out(record(3, perplexity=24.125)) == "perplexity 24.12"
    stream = io.StringIO()
    Plain(stream).summary(model, None)
    assert "perplexity  24.12 on held-out texts" in stream.getvalue()


def test_the_summary_says_what_was_asked() -> None:
    lines = dict(summary(result(), Path("runs/demo/report.html")))
    assert (
        lines["accuracy"] == "0.741 on held-out data; base model 0.498, majority guess 0.538 (+20.3 points)"
    )
    assert lines["epsilon"].startswith("3.00 spent of 3 allowed, at delta 1e-05")
    assert lines["sent"] == "1.2 MB by each client, 31.2 kB a round"
    assert lines["dropouts"].startswith("9, each a client")
    assert lines["adapter"] == str(Path("runs/demo/adapter"))
    assert lines["report"] == str(Path("runs/demo/report.html"))
    assert lines["evidence"].startswith(str(Path("runs/demo/evidence.dsse.json")))
    assert "INSECURE" not in lines


@pytest.mark.parametrize("live", [False, True])
def test_noise_from_a_seed_is_called_insecure_at_the_start_and_at_the_end(live: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=140, color_system=None)
    play(Live(console) if live else Plain(stream), insecure=True)
    assert stream.getvalue().count("INSECURE") == 2


def test_a_resumed_run_says_from_where() -> None:
    stream = io.StringIO()
    play(Plain(stream), resumed_from=12)
    assert "resuming after round 12 of 40" in stream.getvalue()


def test_an_interrupted_run_says_what_is_kept() -> None:
    display = Plain(io.StringIO())
    assert "nothing was spent" in display.kept(Path("runs/demo"))
    display.started(Promise(), 0)  # type: ignore[arg-type]
    display.round_finished(record(1))
    assert display.kept(Path("runs/demo")).startswith(
        "interrupted; 1 of 40 rounds are finished and kept in runs/demo"
    )


def test_a_pipe_gets_plain_output(capsys: pytest.CaptureFixture[str]) -> None:
    shown = observer()
    assert isinstance(shown, Plain)
    shown.note("to standard output")
    observer(to_stderr=True).note("to standard error")
    captured = capsys.readouterr()
    assert captured.out == "to standard output\n"
    assert captured.err == "to standard error\n"


@pytest.mark.parametrize(
    ("epsilon", "text"),
    [(0.0, "0.00"), (2.99, "2.99"), (2.9900001, "3.00"), (3.0, "3.00"), (float("inf"), "no bound")],
)
def test_an_epsilon_is_never_rounded_down(epsilon: float, text: str) -> None:
    assert upward(epsilon) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (2 * 10**12, "2.0 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
