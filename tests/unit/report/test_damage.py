"""A run directory or a bundle damaged at random: verification answers or refuses by name, and never fails."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from parties.report_forger import resign, sign_again, statement_of
from sample_run import make_run, signer

from fedpriv.crypto import dsse
from fedpriv.errors import FedprivError
from fedpriv.report import bundle, verify, write

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


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damage_under_a_good_signature_is_answered_or_refused(
    reported: Path, tmp_path: Path, name: str
) -> None:
    whole = json.loads((reported / name).read_text())
    evidence = tmp_path / bundle.NAME
    sound = bundle.write(Path(shutil.copytree(reported, tmp_path / "run")), signer()).read_bytes()
    for seed in range(CASES):
        damaged = json.dumps(damage(whole, random.Random(seed)))
        evidence.write_bytes(sound)
        resign(evidence, lambda statement, text=damaged: statement["predicate"]["files"].update({name: text}))  # type: ignore[misc]
        with suppress(FedprivError):
            verify(evidence)


@pytest.mark.slow
def test_a_damaged_statement_is_answered_or_refused(reported: Path, tmp_path: Path) -> None:
    evidence = tmp_path / bundle.NAME
    sound = bundle.write(Path(shutil.copytree(reported, tmp_path / "run")), signer()).read_bytes()
    evidence.write_bytes(sound)
    whole = statement_of(evidence)
    for seed in range(CASES):
        sign_again(evidence, json.dumps(damage(whole, random.Random(seed))))
        with suppress(FedprivError):
            verify(evidence)


@pytest.mark.slow
def test_damaged_bytes_pass_only_for_the_same_payload(reported: Path, tmp_path: Path) -> None:
    evidence = tmp_path / bundle.NAME
    sound = bundle.write(Path(shutil.copytree(reported, tmp_path / "run")), signer()).read_bytes()
    for seed in range(CASES):
        rng, data = random.Random(seed), bytearray(sound)
        position = rng.randrange(len(data))
        data[position : position + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        evidence.write_bytes(data)
        with suppress(FedprivError):
            assert not verify(evidence).ok or dsse.decode(bytes(data)).payload == dsse.decode(sound).payload
