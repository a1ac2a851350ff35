"""A user's mistake gets one sentence and a hint, exit status 2, no traceback, and spends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from parties.config_text import CONFIG

from fedpriv.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPRIV_HOME", str(tmp_path / "home"))
    rows = [f"text {k},{'good' if k % 2 else 'bad'},film {k // 20},site {k % 2}" for k in range(100)]
    Path("reviews.csv").write_text("\n".join(["text,label,film,site", *rows]) + "\n")
    Path("fedpriv.toml").write_text(CONFIG)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def assert_refused(result: Result, *words: str) -> None:
    """One sentence with ``words`` in it, one hint, nothing else."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"], result.stderr
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.source=reviwes.csv"], ["no data at 'reviwes.csv'", "reviews.csv"]),
        (["data.label=lable"], ["no column 'lable'", "did you mean 'label'?"]),
        (["partition.method=groups", "partition.column=flm"], ["no column 'flm'", "'film'"]),
        (
            ["partition.method=groups", "partition.column=film", "partition.clients=9"],
            ["4 of 9 clients would have no record"],
        ),
        (["data.test.source=held_out.csv"], ["'mixed' occurs only in the test records"]),
        (["privacy.delta=0.05"], ["privacy.delta", "too large for 80 records"]),
        (["privacy.delta=0.05", "privacy.records=80"], ["privacy.delta", "too large for 80 records"]),
        (["privacy.clip=0"], ["`privacy.clip` is 0; allowed: a number above 0"]),
        (["partition.clients=2"], ["`partition.clients` is 2, fewer than the 3"]),
        (["partition.method=column", "partition.column=site"], ["2", "fewer than the 3"]),
        (["privacy.epsilom=3"], ["`privacy.epsilom` is not a known key", "did you mean `privacy.epsilon`?"]),
        (["unit=client"], ["no record is sampled"]),
        (["ckks.mode=threshold"], ["`ckks.mode` is set, and `aggregator` is 'masked'"]),
        (["aggregator=ckks", "ckks.mode=treshold"], ["did you mean 'threshold'?"]),
        (["aggregator=ckks", "ckks.mode=threshold", "ckks.threshold=2"], ["allowed: 3 to 4"]),
        (["aggregator=ckks", "ckks.holders=3"], ["`ckks.holders` is set", "authority"]),
        (["nonsense"], ["'nonsense' is not a setting"]),
    ],
)
def test_a_wrong_configuration_or_wrong_data(
    folder: Path, command: str, overrides: list[str], words: list[str]
) -> None:
    Path("held_out.csv").write_text("text,label\nnew,good\nnewer,mixed\n")
    if "partition.method=column" in overrides:
        Path("fedpriv.toml").write_text(CONFIG.replace("clients = 4", ""))
    settings = [part for override in overrides for part in ("--set", override)]
    assert_refused(call(command, "fedpriv.toml", *settings), *words)
    assert not (folder / "home").exists()
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("command", ["run", "plan"])
def test_no_configuration_there(folder: Path, command: str) -> None:
    assert_refused(call(command, "fedpirv.toml"), "no configuration file 'fedpirv.toml'", "fedpriv init")


def test_a_model_that_is_not_there(folder: Path) -> None:
    result = call("run", "fedpriv.toml", "--set", "model.id=package:no_such_package_here/model")
    assert_refused(result, "no_such_package_here")


def test_nothing_to_resume(folder: Path) -> None:
    assert_refused(call("run", "fedpriv.toml", "--resume"), "no run to resume under 'runs/run'")
    (folder / "empty").mkdir()
    assert_refused(call("run", "fedpriv.toml", "--resume", "--run-dir", "empty"), "no run to resume")


@pytest.mark.parametrize("command", ["report", "verify"])
def test_a_folder_without_a_run(folder: Path, command: str) -> None:
    assert_refused(call(command, "nowhere"), "there is no run folder 'nowhere'")
    (folder / "empty").mkdir()
    assert call(command, "empty").exit_code == 2


def test_a_ledger_named_by_mistake_is_not_created(folder: Path) -> None:
    assert_refused(call("budget", "show", "--ledger", "absent.sqlite"), "there is no ledger 'absent.sqlite'")
    assert not Path("absent.sqlite").exists()


def test_a_file_in_the_way_of_a_folder(folder: Path) -> None:
    Path("taken").write_text("")
    assert_refused(call("init", "taken"), "taken")


def test_an_unknown_command_and_option(folder: Path) -> None:
    for arguments in (["trian"], ["run"], ["run", "fedpriv.toml", "--rounds", "3"], ["budget", "set", "x"]):
        result = call(*arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output
