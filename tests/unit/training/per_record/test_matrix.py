"""Every family with every method: the clipped sum is that of a slow loop over single, unpadded records."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import peft
import pytest
import torch
from parties.small_models import (
    FAMILIES,
    away_from_zero,
    batch_of,
    losses,
    methods,
    model_of,
    only,
    record_of,
    without_dropout,
)
from reference.record_gradients import clipped, record_rows
from torch import nn
from torch.nn import functional

from fedpriv.errors import UnsafeParameters
from fedpriv.peft import Manifest, PeftSpec, attach
from fedpriv.training.frozen import FrozenWeights
from fedpriv.training.per_record import CLIPPINGS, PerRecordGradients

RECORDS = 7
# What single precision leaves over the depth of these models; the gaps seen are below 1e-6.
TOLERANCE = 1e-5

# The last token of a GPT-2 classifier is found from token ids, which virtual tokens hide.
PADDING_MATTERS = {("gpt2-classes", "prompt"), ("gpt2-classes", "p-tuning")}
CELLS = [
    (family, method)
    for family in FAMILIES
    for method in methods(family)
    if (family, method) not in PADDING_MATTERS
]
FAST = {
    ("bert", "lora"),
    ("bert", "prompt"),
    ("roberta", "full"),
    ("roberta-tokens", "bottleneck"),
    ("distilbert", "vera"),
    ("gpt2", "full"),
    ("gpt2", "dora"),
    ("gpt2-classes", "adalora"),
    ("llama", "p-tuning"),
    ("llama", "full"),
    ("t5", "prefix-mlp"),
    ("t5", "full"),
    ("vit", "bitfit"),
    ("dinov2", "full"),
    ("bert", "lora-embedding"),
    ("llama", "ia3"),
}


def whole_norm(sums) -> float:
    return float(np.sqrt(sum((np.asarray(value, dtype=float) ** 2).sum() for value in sums.values())))


def gap(sums, expected) -> float:
    """Relative to the whole gradient."""
    assert set(sums) == set(expected)
    apart = {name: sums[name].double().numpy() - expected[name] for name in expected}
    return whole_norm(apart) / whole_norm(expected)


def check(model: nn.Module, family: str, *, clippings=CLIPPINGS, tolerance: float = TOLERANCE) -> None:
    """Each way of clipping against the loop, at a clip that about half of the records exceed."""
    batch = batch_of(family, RECORDS)
    rows = record_rows(model, losses, [record_of(batch, index) for index in range(RECORDS)])
    norms = np.sqrt(sum((found.reshape(RECORDS, -1) ** 2).sum(1) for found in rows.values()))
    clip = float(np.median(norms))
    assert 0 < (norms > clip).sum() < RECORDS
    engine = PerRecordGradients(model, losses)
    for clipping in clippings:
        found = engine.clipped_sum(batch, clip=clip, clipping=clipping)
        assert gap(found.sums, clipped(rows, clip, clipping)) < tolerance, clipping
        np.testing.assert_allclose(found.norms.numpy(), norms, rtol=tolerance)
        assert found.dropped == 0
    engine = PerRecordGradients(without_dropout(model).train(), losses)
    found = engine.clipped_sum(batch, clip=clip)
    assert gap(found.sums, clipped(rows, clip)) < tolerance, "in training"


@pytest.mark.parametrize(("family", "method"), sorted(FAST))
def test_the_sum_is_that_of_a_loop_over_single_records(family, method):
    check(model_of(family, method), family)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "method"), [cell for cell in CELLS if cell not in FAST])
def test_the_sum_is_that_of_a_loop_for_the_rest_of_the_matrix(family, method):
    check(model_of(family, method), family)


@pytest.mark.parametrize(("family", "method"), sorted(PADDING_MATTERS))
def test_a_method_that_hides_the_padding_from_its_head_is_refused(family, method):
    """There a record's loss moves with the length of the longest record of its batch."""
    engine = PerRecordGradients(model_of(family, method), losses)
    with pytest.raises(UnsafeParameters, match="how far it is padded"):
        engine.clipped_sum(batch_of(family, RECORDS), clip=1.0)


RUN_FAMILIES = ("bert", "roberta", "distilbert", "gpt2-classes")
RUN_METHODS = {
    "fed-sb": PeftSpec("fed-sb", rank=4),
    "pfeiffer": PeftSpec("adapter", bottleneck=4),
    "houlsby": PeftSpec("adapter", placement="houlsby", bottleneck=4),
    "ia3": PeftSpec("ia3"),
    "prompt": PeftSpec("prompt", virtual_tokens=3),
    "prefix": PeftSpec("prefix", virtual_tokens=3),
    "p-tuning": PeftSpec("p-tuning", virtual_tokens=3, encoder_width=16),
    "full": PeftSpec("full"),
}
# DistilBERT takes no keys and values from outside.
RUN_CELLS = [
    (family, method)
    for family in RUN_FAMILIES
    for method in RUN_METHODS
    if (family, method) != ("distilbert", "prefix") and (family, method) not in PADDING_MATTERS
]
FAST_RUN_CELLS = {("bert", method) for method in RUN_METHODS} | {("gpt2-classes", "fed-sb")}


def run_model(family: str, method: str) -> nn.Module:
    """A classifier as a run trains it, away from where its method starts."""
    torch.manual_seed(0)
    model = attach(FAMILIES[family].build(), RUN_METHODS[method]).eval()
    away_from_zero(model)
    return model


def check_run_method(family: str, method: str) -> None:
    model = run_model(family, method)
    frozen = FrozenWeights.of(model, Manifest.of(model))
    check(model, family)
    frozen.verify(model)


@pytest.mark.parametrize(("family", "method"), sorted(FAST_RUN_CELLS))
def test_the_methods_of_a_run_are_those_of_a_loop_and_move_nothing_frozen(family, method):
    check_run_method(family, method)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "method"), [cell for cell in RUN_CELLS if cell not in FAST_RUN_CELLS])
def test_the_methods_of_a_run_are_those_of_a_loop_for_the_other_families(family, method):
    check_run_method(family, method)


@pytest.mark.parametrize("method", ["prompt", "p-tuning"])
def test_a_run_with_a_prompt_before_a_decoder_s_own_head_is_refused(method):
    engine = PerRecordGradients(run_model("gpt2-classes", method), losses)
    with pytest.raises(UnsafeParameters, match="how far it is padded"):
        engine.clipped_sum(batch_of("gpt2-classes", RECORDS), clip=1.0)


def test_ffa_lora_trains_b_alone():
    check(only(model_of("bert", "lora"), lambda name: "lora_B" in name), "bert")


def test_rolora_by_turns_is_tried_again_at_each_turn():
    model, batch = model_of("gpt2", "lora"), batch_of("gpt2", RECORDS)
    engine = PerRecordGradients(model, losses)
    for half in ("lora_A", "lora_B", "lora_A"):
        only(model, lambda name, half=half: half in name)
        rows = record_rows(model, losses, [record_of(batch, index) for index in range(RECORDS)])
        found = engine.clipped_sum(batch, clip=0.3)
        assert all(half in name for name in found.sums)
        assert gap(found.sums, clipped(rows, 0.3)) < TOLERANCE


@pytest.mark.parametrize(
    ("family", "saved"), [("bert", "classifier"), ("gpt2-classes", "score"), ("bert-tokens", "classifier")]
)
def test_lora_with_a_head_saved_beside_it(family, saved):
    torch.manual_seed(0)
    fan = {"fan_in_fan_out": True} if family.startswith("gpt2") else {}
    config = peft.LoraConfig(
        r=4,
        target_modules=list(FAMILIES[family].targets),
        modules_to_save=[saved],
        task_type=FAMILIES[family].task,
        **fan,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's, about names of transformers
        model = peft.get_peft_model(FAMILIES[family].build(), config).eval()
    away_from_zero(model)
    assert any("modules_to_save" in name for name, p in model.named_parameters() if p.requires_grad)
    check(model, family)


def test_a_head_tied_to_the_embeddings_gets_the_gradients_of_both():
    model = model_of("gpt2", "full")
    assert model.lm_head.weight is model.transformer.wte.weight
    check(model, "gpt2")


HALF = ["parameters", "autocast"]


@pytest.mark.parametrize("half", HALF)
@pytest.mark.parametrize(
    ("family", "method"), [("bert", "lora"), ("gpt2", "full"), ("llama", "ia3"), ("bert", "ln-tuning")]
)
def test_in_bfloat16_the_sum_is_as_near_the_truth_as_the_loops(family, method, half):
    """Norms and sums are float32 or better; the error is that of bfloat16 forward passes, no more.

    A bfloat16 has 8 bits: the loop itself is 1e-2 off its single-precision self.  The two differ in how
    products are grouped, so the tolerance is three times the loop's own error.
    """
    model, batch = model_of(family, method), batch_of(family, RECORDS)
    singles = [{key: value[i : i + 1] for key, value in batch.items()} for i in range(RECORDS)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    exact = record_rows(model, losses, singles)
    if half == "parameters":
        model = model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=half == "autocast"):
        loop = record_rows(model, losses, singles)
        norms = np.sqrt(sum((found.reshape(RECORDS, -1) ** 2).sum(1) for found in loop.values()))
        clip = float(np.median(norms))
        found = PerRecordGradients(model, losses).clipped_sum(batch, clip=clip)
    own = {name: torch.from_numpy(value) for name, value in clipped(loop, clip).items()}
    error = gap(own, clipped(exact, clip))
    assert gap(found.sums, clipped(exact, clip)) < 3 * error < 0.3
    assert {value.dtype for value in found.sums.values()} == {torch.float32}
    assert found.norms.dtype == torch.float64


def test_a_double_precision_model_keeps_it():
    model, batch = model_of("bert", "lora").double(), batch_of("bert", RECORDS)
    rows = record_rows(model, losses, [record_of(batch, index) for index in range(RECORDS)])
    found = PerRecordGradients(model, losses).clipped_sum(batch, clip=0.5)
    assert {value.dtype for value in found.sums.values()} == {torch.float64}
    # The losses are taken in single precision.
    assert gap(found.sums, clipped(rows, 0.5)) < 1e-6


def test_each_way_and_the_rows_agree():
    model, batch = model_of("bert", "lora"), batch_of("bert", RECORDS)
    sums = {
        way: PerRecordGradients(model, losses, way=way).clipped_sum(batch, clip=0.5).sums
        for way in ("direct", "one-by-one", "opacus")
    }
    for one, other in itertools.pairwise(sums.values()):
        assert gap(one, {name: value.double().numpy() for name, value in other.items()}) < TOLERANCE
    rows = PerRecordGradients(model, losses).rows(batch)
    expected = clipped({name: found.double().numpy() for name, found in rows.items()}, 0.5)
    assert gap(sums["direct"], expected) < TOLERANCE


def test_dropout_is_drawn_as_in_plain_training():
    """In training mode the gradient of the whole batch is the one that autograd has for the same draws."""
    model, batch = model_of("bert", "lora").train(), batch_of("bert", RECORDS)
    engine = PerRecordGradients(model, losses)
    engine.rows(batch)
    torch.manual_seed(7)
    found = engine.rows(batch)
    torch.manual_seed(7)
    losses(model, batch).sum().backward()
    for name, parameter in engine.parameters().items():
        torch.testing.assert_close(found[name].sum(0), parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_parameter_without_dimensions_is_covered():
    class Temperature(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(0.3))
            self.head = nn.Linear(5, 3)

        def forward(self, x):
            return self.head(x) * self.scale.exp()

    def of(model, batch):
        return functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none")

    torch.manual_seed(0)
    batch = {"x": torch.randn(RECORDS, 5), "y": torch.arange(RECORDS) % 3}
    model = Temperature()
    singles = [{key: value[i : i + 1] for key, value in batch.items()} for i in range(RECORDS)]
    found = PerRecordGradients(model, of).clipped_sum(batch, clip=0.9)
    assert gap(found.sums, clipped(record_rows(model, of, singles), 0.9)) < TOLERANCE


def test_no_records_add_nothing():
    """An empty Poisson sample: zeros of the right shapes, so that the step is noise alone."""
    model = model_of("bert", "lora")
    found = PerRecordGradients(model, losses).clipped_sum(batch_of("bert", 3), clip=1.0)
    empty = PerRecordGradients(model, losses).clipped_sum(
        {key: value[:0] for key, value in batch_of("bert", 3).items()}, clip=1.0
    )
    assert {name: value.shape for name, value in empty.sums.items()} == {
        name: value.shape for name, value in found.sums.items()
    }
    assert not any(bool(value.any()) for value in empty.sums.values())
    assert empty.norms.shape == (0,)
    assert empty.dropped == 0
