"""The base models of the examples are what they claim, are built once, and are never half built."""

from __future__ import annotations

import importlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import peft
import pytest
import torch
from parties.small_language import language_config
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from fedpriv.errors import UsageError
from fedpriv.federation.run import run
from fedpriv.federation.workplace import load_data
from fedpriv.training import CausalLanguageModel

EXAMPLES = Path(__file__).parents[2] / "examples"
SENTENCE = (
    "The committee will meet again on Tuesday to decide whether the bridge should be repaired or replaced."
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield importlib.import_module("models")


@pytest.fixture(scope="module")
def cache() -> Iterator[Path]:
    # Not pytest's folder: that one is kept, and the models take 630 MB.
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.iterdir()}


def test_smollm2_reads_english_from_a_folder_that_is_built_once(
    models: ModuleType, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models.smollm2(cache)
    first = stamps(folder)
    monkeypatch.setitem(sys.modules, "gguf", None)  # from here on it cannot be imported
    assert models.smollm2(cache) == folder
    assert stamps(folder) == first

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert tokenizer.tokenize("in  2024") == ["in", "ĠĠ", "2", "0", "2", "4"]  # digits are split off first
    batch = tokenizer(SENTENCE, return_tensors="pt")
    with torch.no_grad():
        output = model(**batch, labels=batch["input_ids"])
    assert torch.isfinite(output.logits).all()
    # This model's perplexity is 45; that of random guesses is the size of the vocabulary, 49,152.
    assert math.exp(output.loss) < 100


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_smollm2_s_adapter_of_a_run_gives_the_same_perplexity_with_peft_alone(
    models: ModuleType, cache: Path, tmp_path: Path
) -> None:
    corpora = importlib.import_module("corpora")
    spoken = [(t, r) for t, r in zip(*corpora.roles(), strict=True) if r in ("Ghost", "Osric", "Rosencrantz")]
    rows = [json.dumps({"text": text, "role": role}) + "\n" for text, role in spoken]
    (tmp_path / "roles.jsonl").write_text("".join(rows))
    folder = models.smollm2(cache)
    config = language_config(
        tmp_path,
        model={"id": str(folder), "max_length": 24},
        peft={"method": "lora", "rank": 8, "layers": [-2, -1]},
        privacy={"epsilon": 8.0, "delta": 1e-3, "expected_batch": 8.0, "noise_multiplier": 1.0},
        training={"micro_batch": 4, "evaluate_every": 1},
        server__learning_rate=0.2,  # a step that no draw of the noise can hide: 220 to 290 from 189
        run__rounds=1,
    )
    result = run(config, tmp_path / "run")
    assert result.base_perplexity is not None
    assert 50 < result.base_perplexity < 300
    base = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    model = peft.PeftModel.from_pretrained(base, result.adapter).eval()
    task = CausalLanguageModel(model, AutoTokenizer.from_pretrained(folder, local_files_only=True), 24)
    found = task.evaluate(task.encode(load_data(config).test.texts)).perplexity
    assert found == pytest.approx(result.perplexity, rel=1e-5)
    assert found != pytest.approx(result.base_perplexity, rel=1e-3)


def test_dinov2_sees_images_of_any_number_of_patches(models: ModuleType, cache: Path) -> None:
    folder = models.dinov2(cache)
    model, report = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    assert not report["missing_keys"]
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    for side in (224, 56):
        with torch.no_grad():
            features = model.eval()(images[:, :, :side, :side]).last_hidden_state
        assert features.shape == (2, 1 + (side // 14) ** 2, 384)
        assert torch.isfinite(features).all()


def test_minilm_is_where_its_package_is(models: ModuleType) -> None:
    assert (models.minilm() / "model.safetensors").is_file()


def test_a_build_that_stopped_half_way_is_not_taken_for_a_model(
    models: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(models, "_build_dinov2", stopped)
        with pytest.raises(KeyboardInterrupt):
            models.dinov2(tmp_path)
    assert not list(tmp_path.iterdir())

    # What a process leaves that is killed: nobody cleaned up behind it.
    left = tmp_path / ".dinov2-vit-s14-killed" / "dinov2-vit-s14"
    left.mkdir(parents=True)
    (left / "config.json").write_text("{}")
    folder = models.dinov2(tmp_path)
    assert (folder / "model.safetensors").stat().st_size > 80_000_000
    assert (folder / "config.json").stat().st_size > 100


def test_the_cache_is_under_fedpriv_home_else_in_the_user_s_cache_folder(
    models: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_build_smollm2", Path.mkdir)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FEDPRIV_HOME", raising=False)
    assert models.smollm2().parent == tmp_path / "cache" / "fedpriv" / "models"
    monkeypatch.setenv("FEDPRIV_HOME", str(tmp_path / "home"))
    assert models.smollm2().parent == tmp_path / "home" / "models"


def test_a_missing_package_is_named_with_the_command_that_installs_it(models: ModuleType) -> None:
    with pytest.raises(
        UsageError, match=r"no-such-model is not installed: .*pip install .*requirements\.txt"
    ):
        models.package_folder("no_such_model")
