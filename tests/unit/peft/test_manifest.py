"""The flat vector: its order, its round trip, and what its digest binds."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.peft import Entry, Manifest, PeftSpec, attach


def test_a_vector_written_into_a_model_is_read_back_bit_for_bit(tiny):
    model = attach(tiny("bert"), PeftSpec("lora"))
    manifest = Manifest.of(model)
    vector = np.random.default_rng(0).standard_normal(manifest.size).astype(np.float32)
    kept = vector.copy()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    manifest.restore(model, vector)
    assert manifest.flatten(model).tobytes() == kept.tobytes()
    vector[:] = 0
    assert manifest.flatten(model).tobytes() == kept.tobytes()
    for name, before in frozen.items():
        assert torch.equal(model.get_parameter(name), before)


def test_coordinates_stand_by_name_then_row_by_row(tiny):
    model = attach(tiny("bert"), PeftSpec("bitfit"))
    manifest = Manifest.of(model)
    names = [entry.name for entry in manifest.entries]
    assert names == sorted(names)
    vector = manifest.flatten(model)
    at = names.index("classifier.weight")
    start = manifest.offsets[at]
    weight = model.classifier.weight.detach().numpy()
    np.testing.assert_array_equal(vector[start : start + weight.size].reshape(weight.shape), weight)
    assert manifest.offsets[-1] + manifest.entries[-1].size == manifest.size == len(vector)


def test_two_clients_hold_the_same_digest_and_it_survives_json(tiny):
    first = Manifest.of(attach(tiny("bert"), PeftSpec("lora")))
    second = Manifest.of(attach(tiny("bert", seed=1), PeftSpec("lora", seed=4)))
    assert first == second
    assert first.digest() == second.digest()
    again = Manifest.from_dict(json.loads(json.dumps(first.to_dict())))
    assert again == first


def test_the_digest_binds_names_shapes_dtypes_and_which_are_trained():
    base = Manifest((Entry("a", (2, 3)), Entry("b", (4,))))
    others = [
        Manifest((Entry("a", (3, 2)), Entry("b", (4,)))),
        Manifest((Entry("a", (2, 3)), Entry("c", (4,)))),
        Manifest((Entry("a", (2, 3), "bfloat16"), Entry("b", (4,)))),
        Manifest((Entry("a", (2, 3)),)),
    ]
    assert len({base.digest(), *(other.digest() for other in others)}) == 5


@pytest.mark.parametrize("fault", ["short", "long", "matrix", "nan"])
def test_a_vector_that_does_not_fit_changes_nothing(tiny, fault):
    model = attach(tiny("bert"), PeftSpec("head"))
    manifest = Manifest.of(model)
    before = manifest.flatten(model)
    vector = {
        "short": np.zeros(manifest.size - 1),
        "long": np.zeros(manifest.size + 1),
        "matrix": np.zeros((1, manifest.size)),
        "nan": np.full(manifest.size, np.nan),
    }[fault]
    with pytest.raises(UsageError):
        manifest.restore(model, vector.astype(np.float32))
    np.testing.assert_array_equal(manifest.flatten(model), before)


def test_a_manifest_of_another_method_is_refused(tiny):
    manifest = Manifest.of(attach(tiny("bert"), PeftSpec("lora")))
    with pytest.raises(UsageError, match="no parameter"):
        manifest.flatten(attach(tiny("bert"), PeftSpec("head")))


def test_a_model_with_nothing_to_train_is_refused(tiny):
    with pytest.raises(UsageError, match="no trainable"):
        Manifest.of(tiny("bert").requires_grad_(False))


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"parameters": []},
        {"parameters": [], "more": 1},
        {"parameters": [{"name": "a", "shape": [2]}]},
        {"parameters": [{"name": "a", "shape": [True], "dtype": "float32"}]},
        {"parameters": [{"name": "a", "shape": [0], "dtype": "float32"}]},
        {"parameters": [{"name": "a", "shape": [2], "dtype": "int8"}]},
        {"parameters": [{"name": 3, "shape": [2], "dtype": "float32"}]},
        {"parameters": [{"name": n, "shape": [2], "dtype": "float32"} for n in "ba"]},
        {"parameters": [{"name": "a", "shape": [2], "dtype": "float32"}] * 2},
        {"parameters": 7},
        [],
    ],
)
def test_any_other_form_is_refused(form):
    with pytest.raises(IntegrityError):
        Manifest.from_dict(form)
