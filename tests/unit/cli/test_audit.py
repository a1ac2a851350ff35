"""``fedpriv audit``: mistakes get one sentence and exit status 2, before anything is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from parties.config_text import CONFIG

from fedpriv.cli import main


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPRIV_HOME", str(tmp_path / "home"))
    rows = [f"text {k},{'good' if k % 2 else 'bad'}" for k in range(100)]
    Path("reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    Path("fedpriv.toml").write_text(CONFIG)
    Path("empty").mkdir()
    Path("run").mkdir()
    Path("run/config.toml").write_text(CONFIG)
    Path("run/run.json").write_text(json.dumps({"format": "fedpriv-run/1"}))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["audit", *arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs/none"], ["no run folder", "runs/none"]),
        (["none.toml"], ["none.toml"]),
        (["empty"], ["not a run's folder", "config.toml"]),
        (["fedpriv.toml", "--canaries", "10"], ["10 canaries", "at least 50"]),
        (["fedpriv.toml", "--canaries", "9000"], ["no more than 5,000 canaries"]),
        (["fedpriv.toml", "--base", "empty"], ["--base"]),
        (["run", "--set", "privacy.epsilon=1"], ["--set", "another mechanism"]),
        (
            ["fedpriv.toml", "--set", "trust=local", "--set", "local.steps=3"],
            ["no audit of this kind of run"],
        ),
        (["fedpriv.toml", "--set", "privacy.epsilon=-1"], ["privacy.epsilon"]),
    ],
)
def test_a_mistake_is_one_sentence_and_a_hint(arguments: list[str], words: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = [line.partition(":")[0] for line in result.stderr.strip().splitlines()]
    assert lines[-2:] == ["error", "hint"], result.stderr
    assert lines[:-2] in ([], ["a separate run with canaries; nothing is released, nothing is spent"])
    for word in words:
        assert word in result.stderr
    assert not list(Path().rglob("audit.json"))
    assert not list(Path().rglob("*.sqlite"))


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from fedpriv.cli import main\n"
        "try:\n    main(['audit', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = ('torch', 'numpy', 'pandas', 'pydantic', 'rich', 'transformers', 'cryptography')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert "CONFIG|RUN_DIR" in done.stdout
