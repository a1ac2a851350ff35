"""Slopes of each record's loss: those of its gradient, bounded, and a function of one record to the bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference.record_gradients import clipped_gradients

from fedpriv.errors import UsageError
from fedpriv.peft import Coordinates, Directions, Manifest, PeftSpec, attach
from fedpriv.training import RecordSlopes

CLIP = 1e9


def ready(tiny, family="bert"):
    model = attach(tiny(family), PeftSpec("fedkseed")).eval()
    return model, Manifest.of(model)


def slopes_of(model, task_of, manifest, **options):
    given = {"clip": CLIP, "perturbation": 1e-3, **options}
    return RecordSlopes(model, task_of(model), manifest, **given)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_they_are_the_gradient_along_the_directions(tiny, records, task_of, family):
    """Against autograd; the step in single precision costs some digits."""
    model, manifest = ready(tiny, family)
    encoded, indices = records(6), np.arange(6)
    order = np.argsort(encoded.lengths[indices], kind="stable")
    gradients = clipped_gradients(model, encoded, indices, clip=CLIP).double().numpy()[order]
    within = Directions(manifest.size, 5, seed=3, round_=2)
    signs = np.stack(list(within.each())).astype(float)
    expected = gradients @ signs.T / math.sqrt(5)
    (found,) = slopes_of(model, task_of, manifest).clipped(encoded, indices, within)
    assert np.linalg.norm(found - expected) <= 0.02 * np.linalg.norm(expected)


def test_a_record_has_the_same_slopes_to_the_bit_whoever_is_with_it(tiny, records, task_of):
    model, manifest = ready(tiny)
    encoded = records(9)
    within = Directions(manifest.size, 3, seed=1, round_=1)
    learns = slopes_of(model, task_of, manifest)
    alone = {r: next(learns.clipped(encoded, [r], within))[0] for r in range(9)}
    for together in ([0, 1, 2, 3, 4, 5, 6, 7, 8], [8, 2], [4, 0, 7]):
        order = sorted(together, key=lambda r: (encoded.lengths[r], together.index(r)))
        for size in (1, 2, 32):
            learns.micro_batch = size
            rows = np.concatenate(list(learns.clipped(encoded, together, within)))
            assert rows.tolist() == [alone[r].tolist() for r in order]


def test_in_a_batch_with_padding_others_would_move_them_by_more_than_their_share(tiny, records, task_of):
    """Why records are computed alone: losses of one batch, over the step, differ by what others pad."""
    model, _ = ready(tiny)
    task, encoded = task_of(model), records(9)
    by_length = np.argsort(encoded.lengths)
    short, long = by_length[0], by_length[-1]
    with torch.no_grad():
        alone = float(task.losses(encoded, np.array([short])))
        padded = [float(task.losses(encoded, np.array([short, *[long] * n]))[0]) for n in (1, 3, 8)]
    moved = max(abs(other - alone) for other in padded) / (2 * 1e-3)
    assert (
        moved > 2.0**-10 * 0.01
    )  # at a clip of 0.01 more than all of the room of 2.5, for one record of many


def test_they_are_clipped_and_what_is_not_finite_is_dropped(tiny, records, task_of):
    model, manifest = ready(tiny)
    encoded = records(5)
    within = Directions(manifest.size, 4, seed=1, round_=1)
    learns = slopes_of(model, task_of, manifest, clip=1e-3)
    (rows,) = learns.clipped(encoded, range(5), within)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    assert (norms <= 1e-3).all()
    assert (norms > 0.999e-3).all()
    manifest.restore(model, np.full(manifest.size, 1e30, dtype=np.float32))
    (rows,) = learns.clipped(encoded, range(5), within)
    assert not rows.any()
    assert learns.dropped == 5


def test_the_model_is_as_it_was_also_after_an_error(tiny, records, task_of, monkeypatch):
    model, manifest = ready(tiny)
    encoded, task = records(4), task_of(model)
    before = manifest.flatten(model)
    learns = RecordSlopes(model, task, manifest, clip=1.0, perturbation=1e-3)
    within = Directions(manifest.size, 2, seed=1, round_=1)
    list(learns.clipped(encoded, range(4), within))
    assert np.array_equal(manifest.flatten(model), before)

    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(task, "losses", fails)
    with pytest.raises(KeyboardInterrupt):
        list(learns.clipped(encoded, range(4), within))
    assert np.array_equal(manifest.flatten(model), before)
    assert not any(module.training for module in model.modules())
    learns.verify_frozen()


def test_coordinates_and_a_step_that_is_none_are_refused(tiny, records, task_of):
    model, manifest = ready(tiny)
    with pytest.raises(UsageError, match="along directions"):
        list(
            slopes_of(model, task_of, manifest).clipped(
                records(3), [0], Coordinates(manifest.size, manifest.size)
            )
        )
    for step in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match="perturbation must be positive"):
            slopes_of(model, task_of, manifest, perturbation=step)
