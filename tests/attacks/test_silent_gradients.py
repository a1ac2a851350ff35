"""Gradients that are silently not a record's: what breaks the bound elsewhere is right here, or refused."""

from __future__ import annotations

import copy
import itertools
import math
import warnings

import pytest
import torch
from opacus import GradSampleModule
from parties.small_models import (
    FAMILIES,
    base_of,
    batch_of,
    losses,
    methods,
    model_of,
    padded,
    record_of,
    without_dropout,
)
from reference.record_gradients import clipped, record_rows
from torch import nn
from torch.nn import functional

from fedpriv.errors import UnsafeParameters
from fedpriv.training.per_record import PerRecordGradients


def apart(one, other) -> float:
    return math.sqrt(sum(float((one[name] - other[name]).double().square().sum()) for name in one))


def some(batch, indices):
    return {key: value[indices] for key, value in batch.items()}


def by_opacus(model, batch, clip, *, loss=None, reduction="sum"):
    """The clipped sum as Opacus has it: clipped over whatever comes first in what its hooks collect."""
    model = copy.deepcopy(model).train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        GradSampleModule(model, loss_reduction=reduction)
        (losses(model, batch).sum() if loss is None else loss(model, batch)).backward()
    samples = {name: p.grad_sample for name, p in model.named_parameters() if p.requires_grad}
    norms = torch.stack([s.flatten(1).norm(dim=1) for s in samples.values()]).norm(dim=0)
    factors = (clip / (norms + 1e-6)).clamp(max=1.0)
    return {name: torch.tensordot(factors, s, 1) for name, s in samples.items()}


# Prompts that meet the batch as one value.


@pytest.fixture
def prompted():
    model = model_of("gpt2", "prompt")
    without_dropout(model)
    return model


def weighted(model, batch):
    """Records that count more than others, as in importance sampling."""
    return losses(model, {key: value for key, value in batch.items() if key != "weight"}) * batch["weight"]


def test_a_prompt_is_clipped_for_the_whole_batch_by_opacus_and_for_each_record_here(prompted):
    """There one record turns the whole clipped sum, by up to 2 C."""
    batch = batch_of("gpt2", 12, length=3) | {"weight": torch.tensor([1.0, 8.0] * 6)}
    engine = PerRecordGradients(prompted, weighted)
    clip = 0.5 * float(engine.clipped_sum(batch, clip=1.0).norms.min())

    def there(batch):
        return by_opacus(prompted, batch, clip, loss=lambda m, b: weighted(m, b).sum())

    worst_there = worst_here = 0.0
    for kept, added in itertools.product((0, 2, 4), (1, 3, 5)):
        before, after = some(batch, [kept]), some(batch, [kept, added])
        worst_there = max(worst_there, apart(there(before), there(after)))
        sums = (engine.clipped_sum(one, clip=clip).sums for one in (before, after))
        worst_here = max(worst_here, apart(*sums))
    assert worst_there > 1.1 * clip
    assert worst_here <= clip


def test_a_prompts_sum_of_many_records_is_no_longer_than_one_by_opacus(prompted):
    batch, clip = batch_of("gpt2", 12), 0.01
    there = by_opacus(prompted, batch, clip)
    assert apart(there, {name: torch.zeros_like(value) for name, value in there.items()}) <= clip
    rows = record_rows(prompted, losses, [record_of(batch, i) for i in range(12)])
    here = PerRecordGradients(prompted, losses).clipped_sum(batch, clip=clip).sums
    expected = clipped(rows, clip)
    for name, value in here.items():
        torch.testing.assert_close(value.double(), torch.from_numpy(expected[name]), rtol=1e-4, atol=1e-8)


# A mean over the tokens of the batch.


def token_mean(model, batch):
    """What transformers returns as ``loss``."""
    return model(**batch).loss


def token_mean_by_record(model, batch):
    """The same, as each record's part in it: what a record adds depends on how long the others are."""
    each = losses(model, batch) * (batch["labels"][:, 1:] != -100).sum(1)
    return each / (batch["labels"][:, 1:] != -100).sum()


def test_one_long_record_moves_a_token_mean_further_than_the_clip():
    torch.manual_seed(0)
    model = model_of("gpt2", "lora")
    without_dropout(model)
    batch = batch_of("gpt2", 21, length=20)
    for key in ("attention_mask", "labels", "input_ids"):
        batch[key][:20, 3:] = -100 if key == "labels" else 0
    engine = PerRecordGradients(model, losses)
    before, after = some(batch, list(range(20))), batch
    clip = float(engine.clipped_sum(before, clip=1.0).norms.max())
    there = [by_opacus(model, one, clip, loss=token_mean, reduction="mean") for one in (before, after)]
    assert apart(*there) > 1.25 * clip
    here = [engine.clipped_sum(one, clip=clip).sums for one in (before, after)]
    assert apart(*here) <= clip
    with pytest.raises(UnsafeParameters, match="is not that of the record alone"):
        PerRecordGradients(model, token_mean_by_record).clipped_sum(after, clip=clip)


def test_a_mean_over_the_batch_is_refused_by_its_shape():
    engine = PerRecordGradients(model_of("gpt2", "lora"), token_mean)
    with pytest.raises(UnsafeParameters, match="not as one number a record"):
        engine.clipped_sum(batch_of("gpt2", 3), clip=1.0)


# Modules that let records see each other.


class Centred(nn.Module):
    """Subtracts the mean of the batch, always or in training alone."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.always = nn.Linear(4, 3), always

    def forward(self, x):
        y = self.linear(x)
        return y - y.mean(0, keepdim=True) if self.always or self.training else y


def square(model, x):
    return model(x).square().sum(1)


def points(size):
    return torch.randn(size, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("way", ["direct", "one-by-one"])
def test_batch_normalisation_is_refused_by_name_in_training_and_right_in_evaluation(way):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)).train()
    with pytest.raises(UnsafeParameters, match=r"'1' \(BatchNorm1d\) mixes"):
        PerRecordGradients(model, square, way=way)
    engine = PerRecordGradients(model.eval(), square, way=way)
    engine.clipped_sum(points(5), clip=1.0)
    model.train()
    with pytest.raises(UnsafeParameters, match="mixes"):
        engine.clipped_sum(points(5), clip=1.0)


@pytest.mark.parametrize("way", ["direct", "one-by-one"])
@pytest.mark.parametrize("always", [True, False])
def test_a_module_that_subtracts_the_mean_of_the_batch_is_refused(always, way):
    engine = PerRecordGradients(Centred(always=always).train(), square, way=way)
    with pytest.raises(UnsafeParameters, match="is not that of the record alone"):
        engine.clipped_sum(points(6), clip=1.0)


def test_a_module_that_mixes_records_in_training_is_refused_when_training_begins():
    engine = PerRecordGradients(Centred(always=False).eval(), square)
    engine.clipped_sum(points(6), clip=1.0)
    engine.model.train()
    with pytest.raises(UnsafeParameters, match="is not that of the record alone"):
        engine.clipped_sum(points(6), clip=1.0)


@pytest.mark.parametrize("first", ["one record", "copies of one", "infinite ones"])
def test_a_first_batch_that_shows_nothing_does_not_pass_the_trial_for_good(first):
    """One record is its own mean; numbers that are not finite compare with nothing."""
    engine = PerRecordGradients(Centred(always=True), square)
    batch = points(6)
    if first == "one record":
        batch = batch[:1]
    elif first == "copies of one":
        batch = batch[:1].repeat(5, 1)
    else:
        batch[:] = torch.inf
    assert engine.clipped_sum(batch, clip=1.0).norms.shape == (len(batch),)
    with pytest.raises(UnsafeParameters, match="is not that of the record alone"):
        engine.clipped_sum(points(6), clip=1.0)


def test_the_trial_in_training_leaves_the_random_numbers_and_the_buffers():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1 if self.training else 0
            return functional.dropout(self.linear(x), 0.5, self.training)

    model = Counting().train()
    torch.manual_seed(4)
    PerRecordGradients(model, square).clipped_sum(points(6), clip=1.0)
    after = torch.get_rng_state()
    assert int(model.calls) == 1, "the pass of the batch itself"
    torch.manual_seed(4)
    functional.dropout(torch.ones(6, 3), 0.5)
    assert torch.equal(after, torch.get_rng_state())


# Padding, which is as long as the longest record of the batch asks for.


def test_left_padding_without_positions_is_refused():
    """GPT-2 counts positions from the left, padding included."""
    batch = {key: value.flip(1) for key, value in batch_of("gpt2", 6).items()}
    with pytest.raises(UnsafeParameters, match="how far it is padded"):
        PerRecordGradients(model_of("gpt2", "lora"), losses).clipped_sum(batch, clip=1.0)


def test_padding_that_counts_is_found_in_the_first_batch_that_has_any():
    def with_padding(model, batch):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        targets = batch["input_ids"][:, 1:]
        return functional.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none").mean(1)

    engine = PerRecordGradients(model_of("gpt2", "lora"), with_padding)
    batch = batch_of("gpt2", 6)
    engine.clipped_sum(some(batch, [0, 3]), clip=1.0)
    with pytest.raises(UnsafeParameters, match="how far it is padded"):
        engine.clipped_sum(batch, clip=1.0)


CELLS = [
    (family, method)
    for family in FAMILIES
    for method in methods(family)
    if (family, method) not in {("gpt2-classes", "prompt"), ("gpt2-classes", "p-tuning")}
]
FAST = {("bert", "dora"), ("gpt2", "prompt"), ("llama", "full"), ("t5", "prefix"), ("vit", "lora")}


def sensitivity_holds(family, method):
    """Neighbours that differ in one record, the longest, so that all others are padded differently."""
    model, batch = model_of(family, method), batch_of(family, 5)
    engine = PerRecordGradients(model, losses)
    norms = engine.clipped_sum(batch, clip=1.0).norms
    for clip in (0.2 * float(norms.min()), float(norms.median())):
        for clipping in ("flat", "per-layer", "automatic"):
            without = some(padded(family, batch, 2), [0, 1, 2, 3])
            sums = (engine.clipped_sum(b, clip=clip, clipping=clipping).sums for b in (batch, without))
            assert apart(*sums) <= clip, clipping


@pytest.mark.parametrize(("family", "method"), sorted(FAST))
def test_one_record_moves_the_sum_by_the_clip_at_most(family, method):
    sensitivity_holds(family, method)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "method"), [cell for cell in CELLS if cell not in FAST])
def test_one_record_moves_the_sum_by_the_clip_at_most_in_the_rest_of_the_matrix(family, method):
    sensitivity_holds(family, method)


# Losses with something beside the record.


def test_a_penalty_in_each_records_loss_is_each_records():
    """Its gradient is a function of that record's loss, and clipped with it."""

    def penalised(model, batch):
        norm = sum(p.square().sum() for p in model.parameters() if p.requires_grad)
        return losses(model, batch) + 0.1 * norm

    model, batch = model_of("bert", "lora"), batch_of("bert", 5)
    found = PerRecordGradients(model, penalised).clipped_sum(batch, clip=0.7)
    rows = record_rows(model, penalised, [record_of(batch, i) for i in range(5)])
    expected = clipped(rows, 0.7)
    for name, value in found.sums.items():
        torch.testing.assert_close(value.double(), torch.from_numpy(expected[name]), rtol=1e-4, atol=1e-7)


def test_a_penalty_on_the_batch_is_refused():
    class Penalised(nn.Module):
        """Hands part of its loss on beside the records, as mixtures of experts do."""

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            return self.linear(x), self.linear.weight.square().sum().reshape(1).repeat_interleave(len(x))

    def both(model, x):
        out, penalty = model(x)
        return out.square().sum(1).detach() + penalty

    with pytest.raises(UnsafeParameters):
        PerRecordGradients(Penalised(), both).clipped_sum(points(5), clip=1.0)


def test_a_trained_parameter_that_no_loss_depends_on_is_refused_by_name():
    model = nn.ModuleDict({"used": nn.Linear(4, 3), "idle": nn.Linear(4, 3)})
    engine = PerRecordGradients(model, lambda model, x: square(model["used"], x))
    with pytest.raises(UnsafeParameters, match=r"'idle\.\w+' is trained and takes no part"):
        engine.clipped_sum(points(5), clip=1.0)


# Records that are not finite.


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_record_that_is_not_finite_is_left_out_and_counted(method, value):
    model, batch = model_of("vit", method), batch_of("vit", 6)
    engine = PerRecordGradients(model, losses)
    others = engine.clipped_sum(some(batch, [0, 1, 3, 4, 5]), clip=0.5)
    batch["pixel_values"][2, 0, 3, 3] = value
    found = engine.clipped_sum(batch, clip=0.5)
    assert found.dropped == engine.dropped == 1
    for name, expected in others.sums.items():
        torch.testing.assert_close(found.sums[name], expected, rtol=1e-5, atol=1e-6)


# The model between calls.


def snapshot(model):
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        {
            name: (
                sorted(vars(module)),
                module.training,
                len(module._forward_hooks),
                len(module._backward_hooks),
            )
            for name, module in model.named_modules()
        },
        {
            name: (id(p), type(p), p.requires_grad, p.grad, sorted(vars(p)))
            for name, p in model.named_parameters()
        },
    )


def assert_untouched(model, before):
    values, modules, parameters = snapshot(model)
    assert values.keys() == before[0].keys()
    assert all(torch.equal(value, before[0][name]) for name, value in values.items())
    assert modules == before[1]
    assert parameters == before[2]
    assert all(kind is nn.Parameter for _, kind, *_ in parameters.values())


@pytest.mark.parametrize("way", ["direct", "one-by-one"])
@pytest.mark.parametrize(("family", "method"), [("bert", "lora"), ("gpt2", "full"), ("t5", "prefix-mlp")])
def test_the_model_is_to_the_bit_what_it_was(family, method, way):
    model = model_of(family, method).train()
    before = snapshot(model)
    PerRecordGradients(model, losses, way=way).clipped_sum(batch_of(family, 4), clip=1.0)
    assert_untouched(model, before)


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("late", [False, True])
def test_the_model_is_what_it_was_after_a_failure(where, late):
    """In the trial, or in a batch after it."""
    model, armed = model_of("bert", "lora"), []

    def failing(model, batch):
        found = losses(model, batch)
        if not armed:
            return found
        if where == "forward":
            raise Stop

        class Break(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.clone()

            @staticmethod
            def backward(ctx, g):
                raise Stop

        base_of(model).classifier.register_forward_hook(lambda *_: None).remove()
        return Break.apply(found)

    engine = PerRecordGradients(model, failing)
    if late:
        engine.clipped_sum(batch_of("bert", 4), clip=1.0)
    before = snapshot(model)
    armed.append(True)
    with pytest.raises(Stop):
        engine.clipped_sum(batch_of("bert", 4), clip=1.0)
    assert_untouched(model, before)
    armed.clear()
    assert engine.clipped_sum(batch_of("bert", 4), clip=1.0).dropped == 0


def test_a_parameter_that_is_used_behind_its_modules_back_is_refused_and_gets_no_gradient():
    class Holding(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)
            self.held = [self.linear.weight]

        def forward(self, x):
            return x @ self.held[0].t() + self.linear.bias

    model = Holding()
    before = snapshot(model)
    with pytest.raises(UnsafeParameters, match=r"'linear\.weight' is used from outside"):
        PerRecordGradients(model, square).clipped_sum(points(5), clip=1.0)
    assert_untouched(model, before)


# A forward pass that goes another way later.


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_padding_that_comes_only_later_changes_nothing(family, training):
    """A batch without padding needs no mask, and takes another way through attention."""
    model, batch = model_of(family, "full"), batch_of(family, 7)
    without_dropout(model).train(training)
    engine = PerRecordGradients(model, losses)
    engine.clipped_sum(some(batch, [0, 3, 6]), clip=1.0)
    found = engine.clipped_sum(padded(family, batch, 1), clip=0.8)
    model.eval()
    expected = clipped(record_rows(model, losses, [record_of(batch, i) for i in range(7)]), 0.8)
    for name, value in found.sums.items():
        torch.testing.assert_close(value.double(), torch.from_numpy(expected[name]), rtol=1e-3, atol=2e-6)


def test_a_way_that_opens_later_is_tried_when_it_opens():
    class Forked(nn.Module):
        """From six points on it subtracts their mean over the batch, from a parameter of its own."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 3)

        def forward(self, x):
            y = self.b(self.a(x))
            if len(x) > 5:
                y = y * self.b.bias
                y = y - y.mean(0, keepdim=True)
            return y

    engine = PerRecordGradients(Forked(), square)
    engine.clipped_sum(points(5), clip=1.0)
    with pytest.raises(UnsafeParameters, match="is not that of the record alone"):
        engine.clipped_sum(points(6), clip=1.0)
