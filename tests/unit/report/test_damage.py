"""A run directory damaged at random: verification answers or refuses by name, and never falls over."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sample_run import make_run

from fedpriv.errors import FedprivError
from fedpriv.report import verify, write

JUNK: tuple[Any, ...] = (None, True, -1, 0, 2**70, 1e300, 0.5, "", "x", "-1", "nan", [], [1], {}, {"a": 1})
FILES = ("run.json", "plan.json", "result.json", "ledger.json", "report.json")
WRITTEN = ("run.json", "result.json")
CASES = 60


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds with its report."""
    run_dir = make_run(tmp_path_factory.mktemp("reported"), rounds=2)
    write(run_dir)
    return run_dir


def damage(value: Any, rng: random.Random) -> Any:
    """``value`` with one leaf or branch replaced by junk, or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: damage(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        index = rng.randrange(len(value))
        return [*value[:index], damage(value[index], rng), *value[index + 1 :]]
    return rng.choice(JUNK)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damage_is_answered_or_refused(reported: Path, tmp_path: Path, name: str) -> None:
    whole = json.loads((reported / name).read_text())
    run_dir = Path(shutil.copytree(reported, tmp_path / "run"))
    for seed in range(CASES):
        (run_dir / name).write_text(json.dumps(damage(whole, random.Random(seed))))
        for use in (verify, write) if name in WRITTEN else (verify,):
            with suppress(FedprivError):
                use(run_dir)
