"""Two masked rounds with each method: they end with the ε that was planned and an adapter that loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from parties.tiny_run import tiny_config

from fedpriv.errors import UsageError
from fedpriv.federation.run import run
from fedpriv.federation.workplace import prepare
from fedpriv.ledger.home import open_ledger
from fedpriv.peft import METHODS, Manifest, load, read
from fedpriv.training import SequenceClassification, load_classifier

# The others are in other tests of whole runs.
ELSEWHERE = ("lora", "ffa-lora", "fedsa-lora", "deep-prompt", "bitfit", "head")
NEW = tuple(name for name in METHODS if name not in ELSEWHERE)


# peft 0.21 asks transformers 5 for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.slow
@pytest.mark.parametrize("method", NEW)
def test_a_run_ends_with_its_epsilon_and_an_adapter_that_loads(tmp_path: Path, method: str) -> None:
    config = tiny_config(tmp_path, method)
    result = run(config, tmp_path / "run")
    assert result.rounds_done == 2
    assert 0 < result.epsilon_spent <= 8.0

    record = read(result.adapter)
    assert record.spec == config.peft.spec(config.run.seed)
    assert json.loads((result.run_dir / "run.json").read_text())["peft"]["parameters"] == record.manifest.size

    def base():
        model, tokenizer = load_classifier(
            str(tmp_path / "tiny"), label_names=record.labels, max_length=8, pooling=record.pooling
        )
        return model, tokenizer

    model, tokenizer = base()
    model = load(model, result.adapter)
    assert Manifest.of(model) == record.manifest
    task = SequenceClassification(model, tokenizer, 8)
    work = prepare(config)
    assert not np.array_equal(record.manifest.flatten(model), work.manifest.flatten(work.model))
    assert task.evaluate(task.encode(work.dataset.test.texts, work.dataset.test.labels)).accuracy == (
        result.accuracy
    )
    if record.spec.kind.stored != "state":
        alone, tokenizer = base()
        alone = peft.PeftModel.from_pretrained(alone, result.adapter).eval()
        inputs = tokenizer(
            ["a fine warm film", "a poor dull film number 7"], padding=True, return_tensors="pt"
        )
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            torch.testing.assert_close(alone(**inputs).logits, model(**inputs).logits, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_options_of_a_method_come_through_to_what_is_trained(tmp_path: Path) -> None:
    for method, option, value in (
        ("adapter", "bottleneck", 5),
        ("adapter", "placement", "houlsby"),
        ("prompt", "virtual_tokens", 3),
        ("p-tuning", "encoder_width", 7),
        ("fed-sb", "rank", 3),
        ("ia3", "target_modules", ["query"]),
    ):
        config = tiny_config(tmp_path, method, **{f"peft__{option}": value})
        work = prepare(config)
        assert work.spec == config.peft.spec(config.run.seed)
        assert work.manifest.size != prepare(tiny_config(tmp_path, method)).manifest.size


def test_a_prefix_under_pooling_of_our_own_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "prefix", model__pooling="mean")
    with pytest.raises(UsageError, match="takes no keys and values"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "plan.json").exists()
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:
        assert not ledger.datasets()


def test_virtual_tokens_that_do_not_fit_beside_the_texts_are_refused_at_once(tmp_path: Path) -> None:
    prepare(tiny_config(tmp_path, "prompt", model__max_length=22))
    with pytest.raises(UsageError, match="at most 32"):
        prepare(tiny_config(tmp_path, "prompt", model__max_length=23))
