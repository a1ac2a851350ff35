"""Verification of a run in which excess noise was removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_run import make_run

from fedpriv.errors import IntegrityError
from fedpriv.report import verify

pytestmark = pytest.mark.slow


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return make_run(tmp_path, rounds=3, levels=(7, 8))


def edit(run_dir: Path, levels: Any) -> None:
    path = run_dir / "plan.json"
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "levels": levels}))


def failed(run_dir: Path) -> set[str]:
    return {check.name for check in verify(run_dir).checks if check.status == "failed"}


def test_the_noise_that_was_left_is_what_the_survivors_and_the_levels_give(run_dir: Path) -> None:
    assert verify(run_dir).ok
    lines = [json.loads(line) for line in (run_dir / "rounds.jsonl").read_text().splitlines()]
    assert lines[0]["realised_multiplier"] < 0.745 * 1.025


def test_a_plan_that_hides_its_levels_is_found_out(run_dir: Path) -> None:
    edit(run_dir, [])
    assert {"plan", "rounds"} <= failed(run_dir)


@pytest.mark.parametrize("levels", [None, 7, "78", [7.0, 8], [True], [[7]], {"7": 8}])
def test_levels_that_are_none_are_refused_by_name(run_dir: Path, levels: Any) -> None:
    edit(run_dir, levels)
    with pytest.raises(IntegrityError, match="levels"):
        verify(run_dir)


@pytest.mark.parametrize("levels", [[6], [8, 7], [9], [2**70]])
def test_levels_that_no_plan_can_have_fail_the_verification(run_dir: Path, levels: list[int]) -> None:
    edit(run_dir, levels)
    assert not verify(run_dir).ok
