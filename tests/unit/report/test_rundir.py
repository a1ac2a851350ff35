"""A folder that is not a run directory, or not a whole one, is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sample_run import edit, make_run

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.report import verify
from fedpriv.report.rundir import RunDirectory


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds."""
    return make_run(tmp_path_factory.mktemp("whole"), rounds=2)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run directory") as caught:
        verify(tmp_path / "nothing")
    assert caught.value.hint


def test_a_folder_that_holds_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run directory"):
        verify(tmp_path)


@pytest.mark.parametrize("name", ["plan.json", "ledger.json", "config.toml"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(IntegrityError, match=name) as caught:
        verify(copy)
    assert "--resume" in caught.value.hint


@pytest.mark.parametrize("name", ["run.json", "plan.json", "result.json", "ledger.json"])
def test_a_torn_file_is_named(copy: Path, name: str) -> None:
    text = (copy / name).read_text()
    (copy / name).write_text(text[: len(text) // 2])
    with pytest.raises(IntegrityError, match=rf"{name} is not valid JSON"):
        verify(copy)


def test_a_torn_line_is_named(copy: Path) -> None:
    with (copy / "rounds.jsonl").open("a") as file:
        file.write('{"round": 3, "surv')
    with pytest.raises(IntegrityError, match=r"rounds\.jsonl, line 3"):
        verify(copy)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("plan.json", "noise_multiplier", "0.8"),
        ("plan.json", "rounds", True),
        ("run.json", "roster", []),
        ("result.json", "rounds_done", None),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(copy: Path, name: str, key: str, value: object) -> None:
    edit(copy / name, **{key: value})
    with pytest.raises(IntegrityError, match=rf"{name}: '{key}' has the wrong type"):
        verify(copy)


def test_a_missing_key_is_named(copy: Path) -> None:
    plan = json.loads((copy / "plan.json").read_text())
    del plan["event"]
    (copy / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(IntegrityError, match=r"plan\.json has no 'event'"):
        verify(copy)


@pytest.mark.parametrize("survivors", [["1", "2"], [1, [2]], [-1]])
def test_survivors_that_are_no_clients_are_refused(copy: Path, survivors: list[object]) -> None:
    line = json.loads((copy / "rounds.jsonl").read_text().splitlines()[0])
    (copy / "rounds.jsonl").write_text(json.dumps(line | {"survivors": survivors}) + "\n")
    with pytest.raises(IntegrityError, match="line 1: survivors"):
        verify(copy)


def test_a_number_that_json_does_not_have_is_refused(copy: Path) -> None:
    text = (copy / "result.json").read_text()
    (copy / "result.json").write_text(text.replace('"accuracy": 0.7312', '"accuracy": NaN'))
    with pytest.raises(IntegrityError, match="NaN"):
        verify(copy)


def test_a_directory_of_another_format_is_refused(copy: Path) -> None:
    edit(copy / "run.json", format="fedpriv-run/9")
    with pytest.raises(IntegrityError, match="fedpriv-run/9"):
        RunDirectory.open(copy)
