"""Local training: the same steps as plain PyTorch takes, in the order that was drawn; nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.peft import Manifest, PeftSpec, attach
from fedpriv.training import LocalTraining


def ready(tiny, task_of, method="lora", **options):
    model = attach(tiny("bert"), PeftSpec(method, rank=3 if "lora" in method else 8))
    manifest = Manifest.of(model)
    noise = 0.1 * np.random.default_rng(1).standard_normal(manifest.size)
    start = (manifest.flatten(model) + noise).astype(np.float32)
    values = {"learning_rate": 0.05, "batch": 4} | options
    return LocalTraining(model, task_of(model), manifest, **values), start


def by_torch(training: LocalTraining, encoded, batches, start):
    """The same steps with torch.optim.SGD on the same batches."""
    model = training.model
    training.manifest.restore(model, start)
    model.eval()
    parameters = training.manifest.parameters(model)
    optimizer = torch.optim.SGD(parameters, lr=training.learning_rate)
    for batch in batches:
        optimizer.zero_grad()
        training.task.losses(encoded, batch).mean().backward()
        optimizer.step()
    model.zero_grad()
    return training.manifest.flatten(model).astype(np.float64) - start


@pytest.mark.parametrize("options", [{"steps": 5}, {"epochs": 2}, {"steps": 1, "batch": 100}])
def test_equal_to_plain_sgd_on_the_same_batches(tiny, records, task_of, options):
    training, start = ready(tiny, task_of, **options)
    encoded, mine = records(13), np.array([1, 3, 4, 6, 7, 8, 9, 10, 12])
    moved = training.update(encoded, mine, start, np.random.default_rng(5))
    batches = list(training._batches(mine, np.random.default_rng(5)))
    assert len(batches) == options.get("steps", 2 * 3)
    assert np.linalg.norm(moved) > 1e-3
    assert np.allclose(moved, by_torch(training, encoded, batches, start), rtol=1e-4, atol=1e-7)
    training.verify_frozen()


def test_coordinates_that_may_not_move_rest_and_the_others_take_the_same_first_step(tiny, records, task_of):
    training, start = ready(tiny, task_of, steps=1, batch=100)
    encoded, mine, rng = records(9), np.arange(9), np.random.default_rng
    free = training.update(encoded, mine, start, rng(0))
    moves = np.random.default_rng(3).random(start.size) < 0.3
    first = training.manifest.entries[0]
    moves[: first.size] = False  # a whole parameter rests
    held = training.update(encoded, mine, start, rng(0), moves)
    assert not held[~moves].any()
    assert np.allclose(held[moves], free[moves], rtol=1e-4, atol=1e-7)
    several, start = ready(tiny, task_of, steps=5)
    moved = several.update(encoded, mine, start, rng(0), moves)
    assert not moved[~moves].any()
    assert moved[moves].any()


def test_each_pass_takes_every_record_once_in_a_new_order(tiny, task_of):
    training, _ = ready(tiny, task_of, epochs=3)
    mine = np.arange(20, 31)
    batches = list(training._batches(mine, np.random.default_rng(0)))
    passes = [np.concatenate(batches[first : first + 3]) for first in range(0, 9, 3)]
    assert all(sorted(order) == sorted(mine) for order in passes)
    assert len({tuple(order) for order in passes}) == 3


def test_the_records_of_others_change_nothing(tiny, records, task_of):
    training, start = ready(tiny, task_of, epochs=1)
    encoded, mine = records(12), np.array([0, 2, 5])
    before = training.update(encoded, mine, start, np.random.default_rng(1))
    training.update(encoded, np.array([1, 3, 4, 6]), start, np.random.default_rng(2))
    again = training.update(encoded, mine, start, np.random.default_rng(1))
    assert np.array_equal(before, again)


def test_a_client_without_records_does_not_move(tiny, records, task_of):
    training, start = ready(tiny, task_of, steps=3)
    moved = training.update(records(3), np.zeros(0, dtype=np.int64), start, np.random.default_rng(0))
    assert not moved.any()


def test_training_that_runs_away_counts_as_zero(tiny, records, task_of):
    training, start = ready(tiny, task_of, steps=4, learning_rate=1e38)
    moved = training.update(records(8), np.arange(8), start, np.random.default_rng(0))
    assert not moved.any()
    assert training.dropped == 1


def test_a_frozen_weight_that_moved_is_named(tiny, records, task_of):
    training, _ = ready(tiny, task_of, steps=1)
    with torch.no_grad():
        frozen = next(p for p in training.model.parameters() if not p.requires_grad)
        frozen.add_(1.0)
    with pytest.raises(IntegrityError):
        training.verify_frozen()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 1, "epochs": 1},
        {"steps": 0},
        {"epochs": 0},
        {"steps": 1, "batch": 0},
        {"steps": 1, "learning_rate": 0.0},
        {"steps": 1, "learning_rate": float("nan")},
        {"steps": 1, "optimizer": "adam"},
    ],
)
def test_options_that_make_no_sense_are_refused(tiny, task_of, options):
    with pytest.raises(UsageError):
        ready(tiny, task_of, **options)


def test_an_index_outside_the_records_is_refused(tiny, records, task_of):
    training, start = ready(tiny, task_of, steps=1)
    with pytest.raises(UsageError, match="outside"):
        training.update(records(3), np.array([3]), start, np.random.default_rng(0))
