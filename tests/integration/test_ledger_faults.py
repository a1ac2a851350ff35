"""The ledger under kills, failing disks, damaged files and races: nothing that it answered is ever missing.

`benchmarks/ledger_faults.py` runs the same at length.  What each trial asserts stands in the three modules of
`parties` imported here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from parties import ledger_damage as damage
from parties.ledger_closed import CLOSED, without_permission
from parties.ledger_kills import kills, races
from parties.sqlite_faults import available

SEED = 20260131

needs_the_layer_below = pytest.mark.skipif(not available(), reason="ctypes cannot reach SQLite's library")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the damaged ledgers are put."""
    where = tmp_path / "damaged"
    where.mkdir()
    return where


@pytest.fixture
def recording(tmp_path: Path) -> damage.Recording:
    """A dozen rows as the disk saw them."""
    return damage.record(tmp_path, rows=12, seed=SEED)


@needs_the_layer_below
def test_a_process_that_ends_before_or_within_any_write_loses_no_answer(
    folder: Path, recording: damage.Recording
) -> None:
    ends = damage.kill_points(folder, recording)
    assert ends.total() > len(recording.operations) > 100
    assert set(ends) == {"as answered", "last row kept"}


@needs_the_layer_below
def test_a_power_failure_at_any_moment_loses_no_answer(folder: Path, recording: damage.Recording) -> None:
    ends = damage.power_failures(folder, recording, draws=2, seed=SEED)
    assert set(ends) == {"as answered", "last row kept"}


@needs_the_layer_below
def test_a_log_cut_anywhere_costs_no_answered_row(folder: Path, recording: damage.Recording) -> None:
    ends = damage.cut_logs(folder, recording, every=2048)
    assert ends["as answered"] > 0
    assert set(ends) <= {"as answered", "last row kept", "IntegrityError"}


@needs_the_layer_below
def test_a_file_cut_anywhere_is_refused(folder: Path, recording: damage.Recording) -> None:
    ends = damage.cut_files(folder, recording)
    assert ends.pop("whole: as answered") == 1
    assert set(ends) == {"IntegrityError"}
    assert ends.total() > 30


@needs_the_layer_below
@pytest.mark.slow
@pytest.mark.parametrize("log", [False, True])
def test_a_flipped_bit_changes_nothing_or_is_refused(
    folder: Path, recording: damage.Recording, log: bool
) -> None:
    ends = damage.flipped_bits(folder, recording, count=1000, seed=SEED, log=log)
    assert ends["as answered"] > 0
    assert (ends["IntegrityError"] > 100) is not log  # a log at fault is the row's that was not answered


@needs_the_layer_below
@pytest.mark.slow
def test_whatever_single_operation_the_disk_refuses_the_ledger_says_so_and_goes_on(folder: Path) -> None:
    ends = damage.refused_operations(folder, rows=3, seed=SEED)
    assert {end.split(": ")[1] for end in ends} <= {
        "every row answered",
        "UsageError, then on",
        "UsageError on opening",
    }
    assert all(ends[f"{how}: UsageError, then on"] for how in ("refused", "short", "full"))


def test_a_limit_on_the_size_of_files_is_one_clear_error_at_every_size(folder: Path) -> None:
    ends = damage.size_limits(folder, rows=12, seed=SEED)
    assert ends.pop("every row answered") == 1
    assert set(ends) == {"UsageError while it is made", "UsageError at a row"}


def test_a_full_disk_is_one_clear_error_and_the_ledger_goes_on_when_there_is_room(folder: Path) -> None:
    ends = damage.small_disks(folder, rows=12, seed=SEED)
    if not ends:
        pytest.skip("no file system can be mounted here")
    assert set(ends) == {"UsageError while it is made", "UsageError at a row", "every row answered"}


@pytest.mark.parametrize("what", CLOSED)
def test_a_user_without_permission_is_told_so(what: str) -> None:
    said = without_permission(what)
    assert said.startswith("UsageError: The ledger ")
    assert "cannot be" in said


@pytest.mark.slow
def test_kills_at_random_moments_lose_no_answer_and_the_next_reserve_works(tmp_path: Path) -> None:
    found = kills(tmp_path, count=60, seed=SEED)
    assert found["kills"] == 60
    assert sum(found[f"next reserve: {end}"] for end in ("RESERVE", "BudgetExceeded")) == 60
    # How far a process comes before it is killed depends on the machine; the benchmark counts it.
    assert found["answered: RESERVE"] >= found["next reserve: RESERVE"]


@pytest.mark.slow
def test_of_two_processes_that_fit_only_singly_one_is_admitted(tmp_path: Path) -> None:
    found = races(tmp_path, trials=200)
    outcomes = found["outcomes"]
    assert isinstance(outcomes, dict)
    # Which of the two is faster is the machine's affair; that it is exactly one, each time, is not.
    assert set(outcomes) <= {f"{what}: {run} admitted" for what in ("reserve", "plan") for run in "ab"}
    assert sum(outcomes.values()) == 200
