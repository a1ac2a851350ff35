"""The examples and the README's lines do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def call(folder: Path, script: Path, *arguments: str) -> str:
    environment = os.environ | {
        "FEDPRIV_HOME": str(folder / "home"),
        "PYTHONWARNINGS": "error::UserWarning:fedpriv",
    }
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_secure_sum_in_three_lines(tmp_path: Path) -> None:
    assert call(tmp_path, EXAMPLES / "secure_sum.py").split() == ["[", "111", "218", "-267]"]


def test_a_private_mean_of_one_s_own(tmp_path: Path) -> None:
    first, second = call(tmp_path, EXAMPLES / "private_mean.py").splitlines()
    spent = re.fullmatch(r"epsilon ([\d.]+) at delta 0\.001, 24 bits a value", first)
    assert spent is not None
    assert 2.9 < float(spent[1]) <= 3.01
    error = re.fullmatch(r"error ([\d.]+) beside a mean of norm ([\d.]+)", second)
    assert error is not None
    assert 0.0 < float(error[1]) < 0.5 * float(error[2])


def test_an_encrypted_sum_that_four_of_five_clients_open(tmp_path: Path) -> None:
    first, second = call(tmp_path, EXAMPLES / "encrypted_sum.py").splitlines()
    assert first == "5 clients in the sum, opened by (1, 3, 4, 5), exact: True"
    assert re.fullmatch(r"each sent \d+ kB, [12]\.\d\d times the values in float32", second)


@pytest.mark.slow
def test_twenty_clients_as_processes_over_sockets(tmp_path: Path) -> None:
    # Client 7 is killed after its upload of round 2, and comes back with its saved state in round 3.
    lines = call(tmp_path, EXAMPLES / "loopback.py").splitlines()
    assert lines[0].startswith("20 clients, roster ")
    for line, exchanges in zip(lines[1:], (5, 3, 3), strict=True):
        assert f": {exchanges} exchanges" in line
        assert "20 of 20 in the sum" in line
        assert line.endswith("both sums exact")


@pytest.mark.slow
def test_the_quickstart_as_library_calls(tmp_path: Path) -> None:
    said = call(tmp_path, EXAMPLES / "library.py", "run.rounds=2", "privacy.expected_batch=24.0")
    assert re.search(r"ε = 3\.00, δ = 1e-05", said)
    assert re.search(r"epsilon (2\.9|3\.0)\d+ of 3, delta 1e-05", said)
    assert said.splitlines()[-1] == "verified: True"
    page = Path(tmp_path, said.splitlines()[-2].removeprefix("report: "))
    assert "<script" not in page.read_text()


FLOWER_APP = ("plan", "client_app", "server_app")


def test_the_readme_shows_the_examples_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.S)
    scripts = (EXAMPLES / "library.py").read_text() + (EXAMPLES / "secure_sum.py").read_text()
    scripts += "".join(
        (EXAMPLES / name).read_text()
        for name in ("loopback.py", "private_loop.py", "private_trainer.py", "encrypted_sum.py")
    )
    assert len(blocks) == 7
    (flower,) = [block for block in blocks if "PrivateSumPlan" in block]
    app = "".join((EXAMPLES / "flower" / "private_mean" / f"{name}.py").read_text() for name in FLOWER_APP)
    for line in flower.splitlines():
        assert line.startswith("#") or line.strip() in app, line
    for block in blocks:
        for line in block.splitlines():
            code = line.split("  #")[0].strip()
            for word in re.findall(r"(?:fedpriv|ckks|secagg)\.\w+", code):
                assert word in scripts, line
