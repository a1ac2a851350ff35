"""What a server's process writes of its run is told to an observer elsewhere, once, and in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from parties.deployed import agreed
from parties.small_run import small_config

from fedpriv.deployment.progress import PROGRESS, Progress, ProgressFile
from fedpriv.federation.observer import RoundRecord, RunResult
from fedpriv.federation.planning.make import plan_of
from fedpriv.federation.planning.plan import Plan
from fedpriv.training import Continuations


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    config = small_config(tmp_path_factory.mktemp("data"), privacy__noise_multiplier=3.0)
    return plan_of(config, agreed(config).subject(config))


@dataclass
class Heard:
    """An observer that keeps what it is told."""

    told: list[object] = field(default_factory=list)

    def started(self, plan: Plan, resumed_from: int) -> None:
        self.told.append(("started", plan.rounds, resumed_from))

    def round_finished(self, record: RoundRecord) -> None:
        self.told.append(record)

    def round_lost(self, round_: int, reason: str) -> None:
        self.told.append(("lost", round_, reason))

    def finished(self, result: RunResult) -> None:
        self.told.append(result)


RECORD = RoundRecord(
    round=2,
    rounds=4,
    clients=5,
    survivors=(1, 3, 4, 5),
    dropped=((2, "upload"),),
    realised_multiplier=3.0,
    epsilon_pld=0.5,
    epsilon_rdp=0.625,
    epsilon_budget=8.0,
    accuracy=None,
    seconds=1.5,
    bytes_per_client=100,
    aggregate_digest="ab" * 32,
    clip=1.0,
)


def test_what_is_written_is_told_once_and_as_it_was(tmp_path: Path, plan: Plan) -> None:
    path, heard = tmp_path / PROGRESS, Heard()
    progress = Progress(path, plan, heard)
    progress.look()  # before the run has begun
    file = ProgressFile(path)
    file.started(plan, 1)
    progress.look()
    file.round_finished(RECORD)
    file.round_lost(3, "2 clients are too few.")
    progress.look()
    progress.look()
    assert heard.told == [("started", 4, 1), RECORD, ("lost", 3, "2 clients are too few.")]
    assert (progress.result, progress.failure) == (None, None)


def test_a_result_s_figures_of_what_a_model_wrote_arrive_as_they_were(tmp_path: Path, plan: Plan) -> None:
    result = RunResult(
        run_dir=tmp_path,
        adapter=tmp_path / "adapter",
        accuracy=0.25,
        base_accuracy=0.125,
        majority=None,
        epsilon_spent=1.0,
        epsilon_rdp=1.5,
        epsilon_budget=8.0,
        delta=1e-4,
        rounds_done=4,
        rounds_planned=4,
        bytes_per_client_round=100,
        bytes_per_client_total=400,
        dropouts=0,
        insecure=False,
        perplexity=20.5,
        base_perplexity=40.25,
        continuations=Continuations(3, 0.5, 0.75),
        base_continuations=Continuations(3, 0.25, 0.5),
    )
    progress = Progress(tmp_path / PROGRESS, plan, Heard())
    ProgressFile(tmp_path / PROGRESS).finished(result)
    progress.look()
    assert progress.result == result


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path, plan: Plan) -> None:
    path, heard = tmp_path / PROGRESS, Heard()
    progress = Progress(path, plan, heard)
    ProgressFile(path).round_lost(3, "too few")
    whole = path.read_bytes()
    path.write_bytes(whole[:20])
    progress.look()
    assert heard.told == []
    path.write_bytes(whole)
    progress.look()
    assert heard.told == [("lost", 3, "too few")]


def test_a_failure_is_kept_with_what_to_do(tmp_path: Path, plan: Plan) -> None:
    path = tmp_path / PROGRESS
    progress = Progress(path, plan, Heard())
    ProgressFile(path).failed("Too few take part.", "Start them.")
    progress.look()
    assert progress.failure == ("Too few take part.", "Start them.")


def test_a_run_that_is_started_again_begins_the_file_anew(tmp_path: Path, plan: Plan) -> None:
    path = tmp_path / PROGRESS
    ProgressFile(path).failed("It stopped.", "")
    ProgressFile(path).started(plan, 2)
    heard = Heard()
    progress = Progress(path, plan, heard)
    progress.look()
    assert (heard.told, progress.failure) == ([("started", 4, 2)], None)
    assert path.stat().st_mode & 0o077 == 0
