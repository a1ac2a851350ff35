"""Every method on every family: what it sends, how it starts, what its sums compose to, what it costs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from fedpriv.errors import UsageError
from fedpriv.peft import (
    METHODS,
    NEVER_EXACT,
    Manifest,
    MethodName,
    PeftSpec,
    attach,
    method_called,
    parameters_sent,
)

FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama")
HEAD = {"bert": 51, "roberta": 272 + 51, "distilbert": 272 + 51, "gpt2": 48, "llama": 48}
WIDTH, LAYERS = 16, 2
# Two heads of eight share one head of keys and values in the Llama.
KEY_WIDTH = {"llama": 8}
NO_CELL = {
    ("llama", "bitfit"): "no bias",
    ("distilbert", "prefix"): "takes no keys and values",
    **{(family, "deep-prompt"): "is for vision transformers" for family in FAMILIES},
}
CELLS = [(family, method) for family in FAMILIES for method in METHODS if (family, method) not in NO_CELL]

# For seed 5, the beginnings of digests: of the manifest, of the initial vector, and of LoRA's two halves.
PINNED = {
    ("bert", "lora"): ("7c8520dfd64707f6", "41a5a7c8b3264822", "8d7cd31bf8aa02fa"),
    ("bert", "ffa-lora"): ("b7d16082b5bb10b9", "a9f953bd4f586b0d", "8d7cd31bf8aa02fa"),
    ("bert", "bitfit"): ("35e7297cb02bc2f4", "1cb3d045f68576c6", "e3b0c44298fc1c14"),
    ("bert", "head"): ("c4e1fd3594abdb0c", "f2531395d75b7438", "e3b0c44298fc1c14"),
    ("gpt2", "lora"): ("ad0f9abd5c23a242", "f71fad367090b971", "982fe5711f0e7c7d"),
    ("gpt2", "ffa-lora"): ("2f503c891c2dd2c4", "d6efb85348f902a2", "982fe5711f0e7c7d"),
    ("gpt2", "bitfit"): ("b4be2ccda316bfab", "1bb0b22468942a61", "e3b0c44298fc1c14"),
    ("gpt2", "head"): ("51e304d9f37fd525", "bc50e4f12159ac58", "e3b0c44298fc1c14"),
}


def short(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def own_size(family: str, method: str) -> int:
    """What a method sends besides the head, counted by hand."""
    ffn, keys = 24, KEY_WIDTH.get(family, WIDTH)
    attention = 3 * WIDTH if family == "gpt2" else keys
    adapter = 2 * WIDTH * 16 + 16 + WIDTH
    return {
        "adapter": LAYERS * adapter,
        "ia3": LAYERS * (attention + (4 * WIDTH if family == "gpt2" else ffn + keys))
        + (LAYERS * WIDTH if family in ("bert", "roberta") else 0),
        "prompt": 10 * WIDTH,
        "prefix": 10 * LAYERS * 2 * keys,
        "p-tuning": 10 * WIDTH + (WIDTH * 64 + 64) + (64 * 64 + 64) + (64 * WIDTH + WIDTH),
        "fed-sb": LAYERS * 8 * 8 * (1 if family == "gpt2" else 2),
    }[method]


def test_the_names_of_the_configuration_are_those_of_the_classes():
    assert get_args(MethodName) == tuple(METHODS)
    assert all(METHODS[name].name == name for name in METHODS)
    options = set(PeftSpec.__dataclass_fields__) - {"method", "seed"}
    assert set().union(*(method.options for method in METHODS.values())) == options


@pytest.mark.parametrize(("family", "method"), PINNED)
def test_manifests_and_first_weights_are_those_of_earlier_versions(tiny, family, method):
    model = attach(tiny(family), PeftSpec(method, seed=5))
    manifest = Manifest.of(model)
    halves = sorted((name, p) for name, p in model.named_parameters() if ".lora_" in name)
    found = (
        manifest.digest()[:16],
        short(manifest.flatten(model).tobytes()),
        short(*(half.detach().numpy().tobytes() for _, half in halves)),
    )
    assert found == PINNED[family, method]


@pytest.mark.parametrize(("family", "method"), CELLS)
def test_a_method_sends_its_own_parameters_and_the_head_and_costs_what_it_says(tiny, family, method):
    base = tiny(family)
    before = {name: p.clone() for name, p in base.named_parameters()}
    cost = parameters_sent(base, PeftSpec(method))
    for name, parameter in base.named_parameters():
        assert torch.equal(parameter, before[name])
    model = attach(base, PeftSpec(method))
    manifest, spec = Manifest.of(model), PeftSpec(method)
    assert cost == spec.kind.width(manifest, spec)
    assert (cost < manifest.size) == (method in ("rolora", "fedsvd", "flasc", "fedsa-lora", "fedkseed"))
    if method in ("adapter", "ia3", "prompt", "prefix", "p-tuning", "fed-sb"):
        assert cost == HEAD[family] + own_size(family, method)
    if method == "full":
        assert cost == sum(parameter.numel() for parameter in before.values())
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert any(part in name for name in trained for part in ("classifier", "score"))


@pytest.mark.parametrize(("family", "method"), NO_CELL)
def test_a_family_without_a_place_for_a_method_is_refused(tiny, family, method):
    with pytest.raises(UsageError, match=NO_CELL[family, method]):
        attach(tiny(family), PeftSpec(method))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["adapter", "ia3", "fed-sb", "full"])
def test_a_fresh_method_changes_no_logit_and_every_part_of_it_can_learn(tiny, logits, family, method):
    spec = PeftSpec(method, placement="houlsby") if method == "adapter" else PeftSpec(method)
    before = logits(tiny(family))
    model = attach(tiny(family), spec)
    assert torch.allclose(logits(model), before, atol=1e-6)
    ids = torch.tensor([[5, 6, 7, 8]])
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 0].sum().backward()
    own = [(name, p.grad) for name, p in model.named_parameters() if name.endswith((".core", ".up.weight"))]
    assert all(bool(gradient.any()) for _, gradient in own)
    assert bool(own) == (method in ("adapter", "fed-sb"))


def test_adapters_stand_behind_the_parts_that_the_papers_name(tiny):
    for family, feed_forward, attention in (
        ("bert", "layer.1.output.dense", "layer.1.attention.output.dense"),
        ("distilbert", "layer.1.ffn.lin2", "layer.1.attention.out_lin"),
        ("gpt2", "h.1.mlp.c_proj", "h.1.attn.c_proj"),
        ("llama", "layers.1.mlp.down_proj", "layers.1.self_attn.o_proj"),
    ):
        for placement, places in (("pfeiffer", {feed_forward}), ("houlsby", {feed_forward, attention})):
            model = attach(tiny(family), PeftSpec("adapter", placement=placement, bottleneck=3, layers=(-1,)))
            found = {
                name.removesuffix(".down") for name, _ in model.named_modules() if name.endswith(".down")
            }
            assert len(found) == len(places)
            assert all(any(name.endswith(f".{place}") for name in found) for place in places)


def test_layers_restrict_ia3_and_fed_sb(tiny):
    for method in ("ia3", "fed-sb"):
        model = attach(tiny("bert"), PeftSpec(method, layers=(-1,)))
        own = [e.name for e in Manifest.of(model).entries if "classifier" not in e.name]
        assert own
        assert all("layer.1." in name for name in own)


def test_ia3_scales_what_it_is_told_to(tiny):
    spec = PeftSpec("ia3", target_modules=("query", "intermediate.dense"), feedforward_modules=("query",))
    shapes = {e.name: e.shape for e in Manifest.of(attach(tiny("bert"), spec)).entries if "ia3" in e.name}
    assert len(shapes) == 4
    for name, shape in shapes.items():
        assert shape == ((1, 16) if "query" in name else (24, 1))
    for wrong in (
        {"feedforward_modules": ("query",)},
        {"target_modules": ("query",), "feedforward_modules": ("value",)},
    ):
        with pytest.raises(UsageError):
            attach(tiny("bert"), PeftSpec("ia3", **wrong))


@pytest.mark.parametrize("method", ["adapter", "fed-sb"])
def test_a_second_method_of_ours_is_refused(tiny, method):
    model = attach(tiny("bert"), PeftSpec(method))
    with pytest.raises(UsageError, match="already"):
        attach(model, PeftSpec("head"))


def test_a_core_larger_than_a_weight_is_refused(tiny):
    with pytest.raises(UsageError, match="larger than the side"):
        attach(tiny("bert"), PeftSpec("fed-sb", rank=17))


@pytest.mark.parametrize("method", METHODS)
def test_the_random_state_is_left_alone(tiny, method):
    base = tiny("vit" if method == "deep-prompt" else "bert")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    attach(base, PeftSpec(method))
    assert torch.equal(torch.rand(3), expected)


_ELSEWHERE = """
import hashlib, torch, transformers
from fedpriv.peft import METHODS, Manifest, PeftSpec, attach
sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
for method in METHODS:
    torch.manual_seed(0)
    if method == "deep-prompt":
        config = transformers.ViTConfig(**sizes, image_size=8, patch_size=4)
        model = transformers.ViTForImageClassification(config)
    else:
        model = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, vocab_size=50))
    model.eval()
    torch.manual_seed(SEED)
    model = attach(model, PeftSpec(method, seed=3))
    state = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        state.update(name.encode() + tensor.numpy().tobytes())
    print(method, Manifest.of(model).digest(), state.hexdigest())
"""


@pytest.mark.slow
def test_two_processes_begin_with_the_same_manifest_and_the_same_weights():
    said = [
        subprocess.run(
            [sys.executable, "-c", _ELSEWHERE.replace("SEED", seed)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == len(METHODS)


def effective(model, spec, vector):
    """The weight that one adapted map computes with, minus what it was: what it does to unit vectors."""
    Manifest.of(model).restore(model, vector)
    name = "bert.encoder.layer.0.attention.self.query"
    if spec.kind.stored == "peft":
        name = f"base_model.model.{name}"
    layer = model.get_submodule(name)
    with torch.no_grad():
        return (layer(torch.eye(16)) - layer(torch.zeros(16, 16))).double()


def test_what_is_not_exact_is_what_multiplies_two_trained_things():
    products = {"lora", "hetlora", "flasc", "adapter", "p-tuning"}
    assert {name for name, method in METHODS.items() if not method.exact} == products


@pytest.mark.parametrize("method", ["lora", "ffa-lora", "fed-sb", "bitfit", "full"])
def test_the_mean_of_the_clients_models_is_the_model_of_the_mean_where_that_is_said(tiny, method):
    spec = PeftSpec(method)
    model = attach(tiny("bert"), spec)
    start = Manifest.of(model).flatten(model)
    drawn = np.random.default_rng(0)
    clients = [start + drawn.standard_normal(start.size).astype(np.float32) for _ in range(3)]
    mean_of_models = sum(effective(model, spec, client) for client in clients) / 3
    model_of_mean = effective(model, spec, np.mean(clients, axis=0))
    apart = float((mean_of_models - model_of_mean).norm() / mean_of_models.norm())
    assert (apart < 1e-5) == method_called(method).exact
    assert (apart > 0.1) == (method == "lora")


def test_cores_at_random_bases_reach_no_further_than_they_should(tiny):
    """Both bases are orthonormal, so a core of norm one is a change of the weight of norm alpha / rank."""
    spec = PeftSpec("fed-sb", rank=4, alpha=8.0)
    model = attach(tiny("bert"), spec)
    core = model.get_submodule("bert.encoder.layer.0.attention.self.query")
    before = effective(model, spec, Manifest.of(model).flatten(model))
    core.core.data.copy_(torch.eye(4) / 2)
    after = effective(model, spec, Manifest.of(model).flatten(model))
    assert float((after - before).norm()) == pytest.approx(2.0, rel=1e-5)
    assert not {"down", "up"} & {e.name.rsplit(".", 1)[-1] for e in Manifest.of(model).entries}


@pytest.mark.parametrize("name", NEVER_EXACT)
def test_known_methods_that_cannot_be_had_are_refused_with_the_nearest(name):
    with pytest.raises(UsageError) as refused:
        PeftSpec(name)
    assert "summed securely" in str(refused.value)
    nearest = refused.value.hint.rsplit(" ", 1)[-1]
    assert nearest in METHODS


@pytest.mark.parametrize("method", METHODS)
def test_an_option_of_another_method_is_refused_by_name(method):
    values = {
        "rank": 3,
        "alpha": 3.0,
        "target_modules": ("query",),
        "layers": (0,),
        "placement": "houlsby",
        "bottleneck": 3,
        "virtual_tokens": 3,
        "encoder_width": 3,
        "feedforward_modules": ("query",),
        "ranks": (2, 8),
        "density": 0.5,
        "directions": 3,
        "perturbation": 0.5,
    }
    own = METHODS[method].options
    for option, value in values.items():
        if option in own:
            assert getattr(PeftSpec(method, **{option: value}), option) == value
        else:
            with pytest.raises(UsageError, match=f"{method} has no option {option}"):
                PeftSpec(method, **{option: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "adapter", "placement": "parallel"},
        {"method": "adapter", "bottleneck": 0},
        {"method": "prompt", "virtual_tokens": 0},
        {"method": "p-tuning", "encoder_width": -1},
        {"method": "ia3", "target_modules": ()},
        {"method": "fed-sb", "rank": 0},
        {"method": "hetlora", "ranks": (2, 4)},  # nobody has the rank of the model, 8
        {"method": "hetlora", "ranks": (0, 8)},
        {"method": "flasc", "density": 0.0},
        {"method": "flasc", "density": 1.5},
        {"method": "fedkseed", "directions": 0},
        {"method": "fedkseed", "perturbation": 0.0},
        {"method": "fedkseed", "perturbation": 2.0},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        PeftSpec(**wrong)


def test_orders_of_cost_are_those_of_the_papers(tiny):
    sizes = [
        parameters_sent(tiny("bert"), PeftSpec(m)) for m in ("head", "fed-sb", "ffa-lora", "lora", "full")
    ]
    assert all(less < more for less, more in pairwise(sizes))
