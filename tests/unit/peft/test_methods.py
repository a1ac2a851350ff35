"""What each method trains, on each family, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fedpriv.errors import UsageError
from fedpriv.peft import Manifest, PeftSpec, attach, head_modules, uniform

HEADS = {
    "bert": ("classifier",),
    "roberta": ("classifier",),
    "distilbert": ("pre_classifier", "classifier"),
    "gpt2": ("score",),
    "llama": ("score",),
}
TARGETS = {
    "bert": ("query", "value"),
    "roberta": ("query", "value"),
    "distilbert": ("q_lin", "v_lin"),
    "gpt2": ("c_attn",),
    "llama": ("q_proj", "v_proj"),
}


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("family", HEADS)
def test_the_head_is_found_in_every_family(tiny, family):
    assert head_modules(tiny(family)) == HEADS[family]


@pytest.mark.parametrize("family", HEADS)
@pytest.mark.parametrize("method", ["lora", "ffa-lora"])
def test_lora_trains_its_halves_and_the_head_and_nothing_else(tiny, family, method):
    base = tiny(family)
    head_sizes = sum(p.numel() for h in HEADS[family] for p in base.get_submodule(h).parameters())
    model = attach(base, PeftSpec(method, rank=2))
    names = trained(model)
    halves = {name for name in names if ".lora_" in name}
    assert all(".lora_B." in name for name in halves) == (method == "ffa-lora")
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in halves} == set(TARGETS[family])
    rest = sorted(names - halves)
    assert all(".modules_to_save.default." in name for name in rest)
    assert sum(model.get_parameter(name).numel() for name in rest) == head_sizes
    assert len(halves) == 2 * len(TARGETS[family]) * (2 if method == "lora" else 1)


@pytest.mark.parametrize("family", HEADS)
def test_head_trains_the_head_alone(tiny, family):
    model = attach(tiny(family), PeftSpec("head"))
    assert {name.split(".")[0] for name in trained(model)} == set(HEADS[family])


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2"])
def test_bitfit_trains_every_bias_and_the_head(tiny, family):
    model = attach(tiny(family), PeftSpec("bitfit"))
    biases = {name for name, _ in model.named_parameters() if name.endswith(".bias")}
    head = {name for name, _ in model.named_parameters() if name.split(".")[0] in HEADS[family]}
    assert trained(model) == biases | head


def test_bitfit_on_a_family_without_biases_is_refused(tiny):
    with pytest.raises(UsageError, match="no bias"):
        attach(tiny("llama"), PeftSpec("bitfit"))


def test_layers_are_counted_from_either_end(tiny):
    top = trained(attach(tiny("bert"), PeftSpec("lora", layers=(-1,))))
    assert top == trained(attach(tiny("bert"), PeftSpec("lora", layers=(1,))))
    assert not any("layer.0." in name for name in top)
    biases = trained(attach(tiny("gpt2"), PeftSpec("bitfit", layers=(0,))))
    assert biases == {name for name in biases if ".h.0." in name or name.startswith("score")}
    assert len(biases) > 1


def test_a_fresh_adapter_changes_no_logit(tiny, logits):
    before = logits(tiny("bert"))
    for method in ("lora", "ffa-lora", "bitfit", "head"):
        assert torch.equal(logits(attach(tiny("bert"), PeftSpec(method))), before)


def test_every_client_draws_the_same_frozen_half_and_the_random_state_is_left_alone(tiny):
    first_base, second_base = tiny("bert"), tiny("bert")
    torch.manual_seed(5)
    first = attach(first_base, PeftSpec("ffa-lora", seed=9))
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    torch.manual_seed(77)
    second = attach(second_base, PeftSpec("ffa-lora", seed=9))
    other = attach(tiny("bert"), PeftSpec("ffa-lora", seed=10))
    name = "base_model.model.bert.encoder.layer.1.attention.self.query.lora_A.default.weight"
    half = first.get_parameter(name)
    assert torch.equal(half, second.get_parameter(name))
    assert not torch.equal(half, other.get_parameter(name))
    expected = uniform(9, name.replace(".default", ""), (8, 16), 1 / math.sqrt(16))
    np.testing.assert_array_equal(half.detach().numpy(), expected)


def test_all_linear_leaves_the_head_out(tiny):
    model = attach(tiny("roberta"), PeftSpec("lora", target_modules=("all-linear",)))
    adapted = {name.split(".lora_")[0] for name in trained(model) if ".lora_" in name}
    assert len(adapted) == 2 * 6
    assert not any("classifier" in name for name in adapted)


def test_a_target_name_that_also_stands_in_the_head_adapts_the_body_only(tiny):
    model = attach(tiny("roberta"), PeftSpec("lora", target_modules=("dense",)))
    adapted = {name.split(".lora_")[0] for name in trained(model) if ".lora_" in name}
    assert len(adapted) == 2 * 3
    assert not any("classifier" in name for name in adapted)
    assert any("classifier" in entry.name for entry in Manifest.of(model).entries)


def test_an_unknown_target_names_the_nearest(tiny):
    with pytest.raises(UsageError, match="'querry'") as caught:
        attach(tiny("bert"), PeftSpec("lora", target_modules=("querry",)))
    assert "query" in caught.value.hint


def test_a_layer_that_does_not_exist_is_refused(tiny):
    for layer in (2, -3):
        with pytest.raises(UsageError, match="2 hidden layers"):
            attach(tiny("bert"), PeftSpec("lora", layers=(layer,)))


def test_a_second_adapter_is_refused(tiny):
    model = attach(tiny("bert"), PeftSpec("lora"))
    with pytest.raises(UsageError, match="already"):
        attach(model, PeftSpec("lora"))


def test_a_model_without_a_head_is_refused(tiny):
    with pytest.raises(UsageError, match="no classification head"):
        attach(tiny("bert").bert, PeftSpec("head"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "prompting"},
        {"method": "lora", "rank": 0},
        {"method": "lora", "alpha": -1.0},
        {"method": "lora", "seed": -1},
        {"method": "lora", "target_modules": ()},
        {"method": "bitfit", "target_modules": ("query",)},
        {"method": "head", "layers": (0,)},
        {"method": "lora", "layers": ()},
    ],
)
def test_specifications_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UsageError):
        PeftSpec(**wrong)
