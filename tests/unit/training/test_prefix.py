"""Hidden states below the trained blocks, kept: same gradients, less work, never where it would be wrong."""

from __future__ import annotations

import dataclasses
import stat

import numpy as np
import pytest
import torch

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.peft import Manifest, PeftSpec, attach
from fedpriv.training import PREFIX_DTYPES, RecordGradients, keep_prefixes

FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama")
INDICES = np.array([7, 0, 3, 10, 4, 5, 2])


def ready(tiny, family="bert", method="lora", layers=(-1,)):
    """A model whose last block and head are trained, away from its start."""
    rank = 3 if "lora" in method else 8  # the default, which other methods leave alone
    model = attach(tiny(family), PeftSpec(method, rank=rank, layers=None if method == "head" else layers))
    manifest = Manifest.of(model)
    noise = 0.1 * np.random.default_rng(1).standard_normal(manifest.size)
    manifest.restore(model, manifest.flatten(model) + noise.astype(np.float32))
    return model, manifest


def rows_of(task, manifest, encoded, indices=INDICES, micro_batch=3):
    gradients = RecordGradients(task.model, task, manifest, clip=1.0, micro_batch=micro_batch)
    return np.concatenate(list(gradients.clipped(encoded, indices)))


def below(task, family):
    """How often the first block runs, counted from now on."""
    blocks = next(m for m in task.model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 2)
    original, calls = type(blocks[0]).forward, []

    def counting(block, *args, **kwargs):
        if block is blocks[0]:
            calls.append(1)
        return original(block, *args, **kwargs)

    return type(blocks[0]), counting, calls


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["lora", "ffa-lora", "head"])
def test_the_gradients_are_the_same_and_the_lower_blocks_are_not_run_again(
    tiny, records, task_of, family, method, monkeypatch
):
    model, manifest = ready(tiny, family, method)
    task, encoded = task_of(model), records(11)
    gradients = RecordGradients(model, task, manifest, clip=1.0, micro_batch=3)

    def rows():
        return np.concatenate(list(gradients.clipped(encoded, INDICES)))

    expected = rows()
    keep_prefixes(task, [encoded], budget=1 << 20)
    assert len(task.prefixes) == 1
    # To the bit: each batch's states were computed together, as without.
    np.testing.assert_array_equal(rows(), expected)
    owner, counting, calls = below(task, family)
    monkeypatch.setattr(owner, "forward", counting)
    manifest.restore(model, manifest.flatten(model) + np.float32(0.01))
    again = rows()
    assert not calls
    task.prefixes.clear()
    np.testing.assert_array_equal(again, rows())
    assert calls


def test_only_what_has_not_been_visited_is_computed(tiny, records, task_of):
    model, manifest = ready(tiny)
    task, encoded = task_of(model), records(11)
    keep_prefixes(task, [encoded], budget=1 << 20)
    rows_of(task, manifest, encoded, np.array([1, 2]))
    prefix = task.prefixes[encoded]
    assert prefix.visited.nonzero()[0].tolist() == [1, 2]
    task.evaluate(encoded)
    assert prefix.visited.all()


def test_other_records_and_a_changed_table_are_not_served_from_it(tiny, records, task_of):
    model, manifest = ready(tiny)
    task, encoded, other = task_of(model), records(11), records(11, seed=5)
    expected = rows_of(task, manifest, other)
    keep_prefixes(task, [encoded], budget=1 << 20)
    np.testing.assert_array_equal(rows_of(task, manifest, other), expected)


@pytest.mark.parametrize(("method", "layers"), [("lora", (0, 1)), ("bitfit", None), ("lora", None)])
def test_nothing_is_kept_where_the_lowest_block_is_trained(tiny, records, task_of, method, layers):
    model, _ = ready(tiny, "bert", method, layers)
    task = task_of(model)
    keep_prefixes(task, [records(11)], budget=1 << 20)
    assert task.prefixes == {}


def test_nothing_is_kept_where_something_below_the_blocks_is_trained(tiny, records, task_of):
    model, _ = ready(tiny)
    for name, parameter in model.named_parameters():
        if "embeddings.LayerNorm" in name:
            parameter.requires_grad_(True)
    task = task_of(model)
    keep_prefixes(task, [records(11)], budget=1 << 20)
    assert task.prefixes == {}


def test_the_budget_goes_to_the_first_records_that_fit(tiny, records, task_of):
    model, _ = ready(tiny)
    task, large, small = task_of(model), records(40), records(5, seed=2)
    keep_prefixes(task, [large, small], budget=4 * 16 * int(small.offsets[-1]))
    assert list(task.prefixes) == [small]
    keep_prefixes(task, [large], budget=0)
    assert len(task.prefixes) == 1


@pytest.mark.parametrize("dtype", PREFIX_DTYPES)
def test_a_folder_keeps_them_for_a_later_process_private_to_the_user(tiny, records, task_of, tmp_path, dtype):
    model, manifest = ready(tiny)
    encoded, folder = records(11), tmp_path / "states"

    def attempt(encoded):
        task = task_of(model)
        keep_prefixes(task, [encoded], budget=1 << 20, dtype=dtype, folder=folder)
        return task

    first = attempt(encoded)
    expected = rows_of(first, manifest, encoded)
    first.prefixes[encoded].save()
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    same = dataclasses.replace(encoded)
    later = attempt(same)
    assert later.prefixes[same].visited.sum() == len(INDICES)
    np.testing.assert_array_equal(rows_of(later, manifest, same), expected)
    # In another precision, with other weights below, or of other records they are in another file.
    task = task_of(model)
    other = next(each for each in PREFIX_DTYPES if each != dtype)
    keep_prefixes(task, [encoded], budget=1 << 20, dtype=other, folder=folder)
    assert not task.prefixes[encoded].visited.any()
    different = records(11, seed=9)
    assert not attempt(different).prefixes[different].visited.any()
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if "layer.0" in name).add_(0.5)
    assert not attempt(encoded).prefixes[encoded].visited.any()


def test_a_file_cut_short_is_computed_anew(tiny, records, task_of, tmp_path):
    model, manifest = ready(tiny)
    task, encoded = task_of(model), records(11)
    keep_prefixes(task, [encoded], budget=1 << 20, folder=tmp_path)
    expected = rows_of(task, manifest, encoded)
    task.prefixes[encoded].save()
    for file in tmp_path.glob("*.states"):
        file.write_bytes(file.read_bytes()[:-4])
    task = task_of(model)
    keep_prefixes(task, [encoded], budget=1 << 20, folder=tmp_path)
    assert not task.prefixes[encoded].visited.any()
    np.testing.assert_array_equal(rows_of(task, manifest, encoded), expected)


def test_a_folder_that_cannot_be_is_one_sentence(tiny, records, task_of, tmp_path):
    model, _ = ready(tiny)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot keep hidden states"):
        keep_prefixes(task_of(model), [records(3)], budget=1 << 20, folder=tmp_path / "file")


def test_an_error_inside_leaves_the_model_as_it_was(tiny, records, task_of):
    model, _ = ready(tiny)
    task, encoded = task_of(model), records(11)
    before = task.predict(encoded)
    keep_prefixes(task, [encoded], budget=1 << 20)
    prefix = task.prefixes.pop(encoded)
    with pytest.raises(RuntimeError, match="stop"), prefix.standing_in(np.array([1])):
        raise RuntimeError("stop")
    np.testing.assert_array_equal(task.predict(encoded), before)


def test_a_frozen_weight_that_changes_underneath_is_noticed(tiny, records, task_of):
    model, _ = ready(tiny)
    task, encoded = task_of(model), records(11)
    keep_prefixes(task, [encoded], budget=1 << 20)
    task.predict(encoded)
    weight = next(p for name, p in model.named_parameters() if "layer.0" in name)
    weight.requires_grad_(True)
    with pytest.raises(UsageError, match="is trained now"):
        task.predict(encoded)
    weight.requires_grad_(False)
    task.predict(encoded)
    with torch.no_grad():
        weight.mul_(2.0)
    with pytest.raises(IntegrityError, match="has changed since"):
        task.predict(encoded)
