"""Checkpoints: what is read is what was written, and half a file is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpriv.errors import IntegrityError
from fedpriv.federation.checkpoint import Checkpoint, append_line, read_json, read_lines, write_json


@pytest.mark.parametrize("head", ["", "ab" * 32])
def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path, head: str) -> None:
    parameters = np.linspace(-1, 1, 7, dtype=np.float32)
    state = {"name": "adam", "steps": 3, "first": np.arange(7.0), "second": np.ones(7)}
    Checkpoint(3, parameters, state, head).save(tmp_path / "state.npz")
    read = Checkpoint.load(tmp_path / "state.npz")
    assert (read.round, read.head) == (3, head)
    assert np.array_equal(read.parameters, parameters)
    assert str(read.optimizer["name"]) == "adam"
    assert int(read.optimizer["steps"]) == 3
    assert np.array_equal(read.optimizer["first"], state["first"])


def test_a_torn_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    Checkpoint(1, np.zeros(50, dtype=np.float32), {}, "").save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError, match="cannot be read"):
            Checkpoint.load(path)
    path.unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        Checkpoint.load(path)


def test_a_torn_last_line_is_left_out_and_a_torn_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    assert read_lines(path) == []
    append_line(path, {"round": 1})
    append_line(path, {"round": 2})
    path.write_bytes(path.read_bytes() + b'{"rou')
    assert read_lines(path) == [{"round": 1}, {"round": 2}]
    path.write_bytes(b'{"rou\n{"round": 2}\n')
    with pytest.raises(IntegrityError):
        read_lines(path)


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"a": 1})
    assert read_json(tmp_path / "run.json") == {"a": 1}
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"run\.json"):
        read_json(tmp_path / "run.json")
