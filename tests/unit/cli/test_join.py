"""``fedpriv join``: from the shared adapter and what a client keeps to the client's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner, Result

from fedpriv.cli import main
from fedpriv.federation.work.kept import Kept
from fedpriv.peft import Manifest, PeftSpec, attach, digest_of, load, save

SPEC = PeftSpec("fedsa-lora", rank=2)


def base() -> torch.nn.Module:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: torch.nn.Module = transformers.BertForSequenceClassification(
            transformers.BertConfig(**sizes, vocab_size=50)
        )
    return model.eval()


@pytest.fixture
def shared(tmp_path: Path) -> Manifest:
    """A server's adapter in ``adapter``, and what a client kept of two rounds in ``kept``."""
    model = attach(base(), SPEC)
    manifest = Manifest.of(model)
    save(model, SPEC, manifest, tmp_path / "adapter", base_model="tiny", labels=("a", "b"))
    mask = SPEC.kind.keeps(manifest, SPEC)
    assert mask is not None
    kept = Kept(manifest, SPEC, mask, manifest.flatten(model), lambda client: tmp_path / "kept")
    for round_ in (3, 5):
        kept.keep(1, round_, np.full(manifest.size, round_ / 8))
    return manifest


def call(*arguments: Path | str) -> Result:
    return CliRunner().invoke(main, ["join", *map(str, arguments)], catch_exceptions=False)


def test_the_newest_round_is_joined_or_the_one_that_is_named(tmp_path: Path, shared: Manifest) -> None:
    mask = SPEC.kind.keeps(shared, SPEC)
    said = call(tmp_path / "adapter", tmp_path / "kept", tmp_path / "own", "--json")
    assert said.exit_code == 0
    assert json.loads(said.output) == {
        "adapter": str(tmp_path / "own"),
        "digest": digest_of(tmp_path / "own"),
        "round": 5,
    }
    assert (shared.flatten(load(base(), tmp_path / "own"))[mask] == 5 / 8).all()
    older = call(tmp_path / "adapter", tmp_path / "kept" / "round-000003.safetensors", tmp_path / "older")
    assert older.exit_code == 0
    assert "as of its round 3" in older.output
    assert (shared.flatten(load(base(), tmp_path / "older"))[mask] == 3 / 8).all()


def test_what_cannot_be_joined_is_one_sentence_and_status_2(tmp_path: Path, shared: Manifest) -> None:
    adapter, kept, own = (tmp_path / name for name in ("adapter", "kept", "own"))
    path = kept / "round-000005.safetensors"
    content = path.read_bytes()
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("x")
    other = attach(base(), PeftSpec("fedsa-lora", rank=3))
    save(
        other,
        PeftSpec("fedsa-lora", rank=3),
        Manifest.of(other),
        tmp_path / "wider",
        base_model="tiny",
        labels=("a", "b"),
    )
    for arguments, words in (
        ((adapter, tmp_path / "empty", own), "holds no part of a model that a client keeps"),
        ((adapter, tmp_path / "nowhere", own), "holds no part of a model that a client keeps"),
        ((adapter, adapter / "fedpriv.json", own), "or is not a client's own part of a model"),
        ((tmp_path / "nowhere", kept, own), "is missing or is not a fedpriv adapter's record"),
        ((tmp_path / "wider", kept, own), "of different models"),
        ((adapter, kept, tmp_path / "mine"), "is not an empty folder"),
    ):
        refused = call(*arguments)
        assert refused.exit_code == 2, arguments
        assert words in refused.stderr
        assert len(refused.stderr.splitlines()) <= 2
        assert not own.exists()
    path.write_bytes(content[:-3])
    refused = call(adapter, kept, own)
    assert refused.exit_code == 2
    assert "round-000005.safetensors cannot be used: it is damaged" in refused.stderr
