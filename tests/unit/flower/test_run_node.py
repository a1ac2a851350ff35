"""What a SuperNode's app says of an error: the run's own in its words, else that there was one (DE-8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr", reason="needs fedpriv[flower]")

from flwr.app import Message
from flwr.supercore.task_identity import TaskIdentity
from parties.recorded_run import Moment, Recorded, record

from fedpriv.deployment.messages import Refusal, decode_answer
from fedpriv.deployment.transport import Parts
from fedpriv.flower.node_policy import POLICY_KEY
from fedpriv.flower.run_node import _answer
from fedpriv.flower.transport import MESSAGE_TYPE, _to_records


@pytest.fixture(autouse=True)
def _a_task_of_flower() -> None:
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("recorded"), run__rounds=1)


def told(moment: Moment, parts: Parts | None = None, **node_config: Any) -> Refusal:
    message = Message(_to_records(moment.parts if parts is None else parts), 1, MESSAGE_TYPE)
    config = node_config or {POLICY_KEY: str(moment.folder / "policy.toml")}
    refusal = decode_answer(_answer(message, config, moment.bundle))
    assert isinstance(refusal, Refusal)
    return refusal


def test_an_exception_in_training_that_quotes_records_does_not_reach_the_server(
    run: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import PreTrainedTokenizerBase

    def fails(self: object, texts: object, *_: object, **__: object) -> None:
        raise ValueError(f"cannot encode {texts}")

    moment = run.at("upload 1", tmp_path / "node")
    monkeypatch.setattr(PreTrainedTokenizerBase, "__call__", fails)
    assert told(moment) == Refusal("failed", "", "")
    assert "film" in caplog.text  # it was such an exception, and the node's owner can read it


def test_where_a_node_s_files_lie_is_not_told(run: Recorded, tmp_path: Path) -> None:
    moment = run.at("upload 1", tmp_path / "node")
    (moment.folder / "roster.toml").unlink()
    refusal = told(moment)
    assert "roster.toml" in refusal.text
    assert str(tmp_path) not in refusal.text + refusal.hint


def test_the_run_s_own_errors_are_told_in_their_words(run: Recorded, tmp_path: Path) -> None:
    moment = run.at("upload 1", tmp_path / "node")
    other = Parts({**moment.parts.values, "agreement": bytes(32)}, moment.parts.blobs)
    refusal = told(moment, other)
    assert (refusal.error, refusal.text.endswith("[DE-1]")) == ("ProtocolViolation", True)


def test_a_node_without_a_policy_says_how_to_name_one(run: Recorded, tmp_path: Path) -> None:
    moment = run.at("upload 1", tmp_path / "node")
    refusal = told(moment, other="value")
    assert refusal.error == "UsageError"
    assert "--node-config" in refusal.hint
