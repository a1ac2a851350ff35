"""The commands that need no training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fedpriv.cli import main
from fedpriv.cli.run import _run_dir
from fedpriv.errors import UsageError
from fedpriv.federation.config import load

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPRIV_HOME", str(tmp_path / "home"))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_help_answers_and_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from fedpriv.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = ('torch', 'numpy', 'pandas', 'pydantic', 'rich', 'transformers', 'cryptography')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert "Commands:" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "init",
        "plan",
        "run",
        "deploy",
        "join",
        "audit",
        "report",
        "verify",
        "budget",
        "keys",
        "secagg",
        "ckks",
    ],
)
def test_every_command_has_help(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


def test_init_writes_the_quickstart_and_never_overwrites() -> None:
    result = call("init", "new/folder")
    assert result.exit_code == 0
    written = Path("new/folder/fedpriv.toml")
    assert "fedpriv run new/folder/fedpriv.toml" in result.output
    load(written)
    written.write_text("mine")
    assert call("init", "new/folder").exit_code == 2
    assert written.read_text() == "mine"


def test_the_quickstart_and_the_template_are_one_file() -> None:
    template = ROOT / "fedpriv" / "cli" / "templates" / "fedpriv.toml"
    assert template.read_bytes() == (ROOT / "examples" / "quickstart" / "fedpriv.toml").read_bytes()


def test_a_new_run_gets_a_free_folder_and_resume_the_latest() -> None:
    assert _run_dir("demo", resume=False) == Path("runs/demo")
    with pytest.raises(UsageError):
        _run_dir("demo", resume=True)
    for name in ("demo", "demo-2", "demo-10", "demo-x", "demonstration"):
        Path("runs", name).mkdir(parents=True)
    Path("runs/demo-11").write_text("a file")
    assert _run_dir("demo", resume=False) == Path("runs/demo-11")
    assert _run_dir("demo", resume=True) == Path("runs/demo-10")


def test_budgets_are_set_shown_and_found_again() -> None:
    fingerprint = "ab" * 32
    assert "no data set has a budget yet" in call("budget", "show").output
    assert (
        call("budget", "set", fingerprint, "--epsilon", "3", "--delta", "1e-5", "--name", "reviews").exit_code
        == 0
    )
    assert call("budget", "set", "reviews", "--epsilon", "4", "--delta", "1e-5").exit_code == 0
    assert call("budget", "set", fingerprint[:12], "--epsilon", "5", "--delta", "1e-5").exit_code == 0
    shown = json.loads(call("budget", "show", "--json").output)["datasets"]
    assert [(row["dataset"], row["name"], row["epsilon"], row["delta"]) for row in shown] == [
        (fingerprint, "reviews", 5.0, 1e-5)
    ]
    assert shown[0]["epsilon_spent"] == 0.0
    table = call("budget", "show").output
    assert "reviews" in table
    assert "0.00" in table


def test_a_budget_may_be_set_for_the_data_of_a_configuration() -> None:
    rows = [f"text {k},{'good' if k % 2 else 'bad'}" for k in range(50)]
    Path("r.csv").write_text("\n".join(["text,label", *rows]))
    Path("c.toml").write_text(
        '[run]\nrounds = 1\n[model]\nid = "m"\n[data]\nsource = "r.csv"\n[partition]\nclients = 3\n'
        "[privacy]\nepsilon = 1\ndelta = 1e-3\nexpected_batch = 4\n"
    )
    assert call("budget", "set", "c.toml", "--epsilon", "8", "--delta", "1e-3").exit_code == 0
    (row,) = json.loads(call("budget", "show", "--json").output)["datasets"]
    assert row["name"] == "r.csv"
    from fedpriv.federation.workplace import load_data

    assert row["dataset"] == load_data(load(Path("c.toml"))).fingerprint


def test_an_unknown_data_set_has_no_budget_to_set() -> None:
    call("budget", "set", "ab" * 32, "--epsilon", "3", "--delta", "1e-5", "--name", "reviews")
    result = call("budget", "set", "reviws", "--epsilon", "3", "--delta", "1e-5")
    assert result.exit_code == 2
    assert "knows no data set 'reviws'" in result.stderr
    assert "reviews (abababababab)" in result.stderr


@pytest.mark.parametrize(
    "option", [["--epsilon", "0"], ["--epsilon", "-1"], ["--delta", "1"], ["--delta", "0"]]
)
def test_a_budget_out_of_range(option: list[str]) -> None:
    good = {"--epsilon": "3", "--delta": "1e-5"} | {option[0]: option[1]}
    arguments = [part for pair in good.items() for part in pair]
    assert call("budget", "set", "ab" * 32, *arguments).exit_code == 2
