"""Several noisy steps of a client between two sums, against a slow loop over single records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parties.small_run import small_config
from reference.record_gradients import clipped_gradients

from fedpriv import dp
from fedpriv.entropy import Entropy
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.work.local_work import learner, local_work
from fedpriv.federation.work.record_work import RECORD_SHARE
from fedpriv.federation.workplace import prepare


def test_local_steps_are_those_of_a_loop_over_single_records(tmp_path: Path) -> None:
    # The noise follows from the seed, so the integers must be the same but for float32 rounding of gradients.
    config = small_config(
        tmp_path,
        trust="local",
        local={"steps": 3, "learning_rate": 0.2},
        privacy__noise_multiplier=1.5,
        privacy__epsilon=50.0,
        privacy__allow_large_epsilon=True,
        run__rounds=1,
    )
    work = prepare(config)
    plan = make_plan(config, work)
    grid, noise, entropy = plan.grid, plan.noise, Entropy(5)
    start = work.manifest.flatten(work.model)
    made = local_work(work, plan, entropy, learner(work, plan))
    assert made.noisy
    found = made.contribution(1, 2, start)
    made.contribution(1, 3, start)  # another client's steps leave no trace
    assert np.array_equal(made.contribution(1, 2, start), found)

    shard, here, total = work.dataset.shards[1], start.astype(np.float64), np.zeros(noise.dimension)
    records = 0
    for step in (1, 2, 3):
        work.manifest.restore(work.model, here.astype(np.float32))
        chosen = shard[
            dp.poisson_sample(shard.size, noise.sampling_rate, entropy.stream("sampling", 1, 2, step).words)
        ]
        records += chosen.size
        one = np.zeros(noise.dimension)
        if chosen.size:
            rows = clipped_gradients(work.model, work.train, chosen, config.privacy.clip * RECORD_SHARE)
            one += np.rint(rows.numpy().astype(np.float64) * 2.0**grid.scale_log2).sum(axis=0)
        one += dp.skellam(noise.share_variance, noise.dimension, entropy.stream("noise", 1, 2, step).words)
        total += one
        here -= 0.2 * one * 2.0**-grid.scale_log2 / (config.privacy.expected_batch / 5)
    assert records > 5
    assert np.abs(found - total).max() <= 1e-5 * records * grid.sensitivity
    assert np.abs(total).max() > 0.1 * grid.sensitivity
    # The sum of five such contributions is their mean movement.
    moved = made.read(5 * found, 5)
    assert np.allclose(start.astype(np.float64) - moved, here, atol=1e-4)


def test_every_steps_noise_is_enough_alone_and_each_is_charged(tmp_path: Path) -> None:
    config = small_config(
        tmp_path,
        trust="local",
        local={"steps": 4},
        privacy__noise_multiplier=2.0,
        privacy__epsilon=50.0,
        privacy__allow_large_epsilon=True,
        run__rounds=3,
    )
    plan = make_plan(config, prepare(config))
    assert plan.noise.share_variance >= (2.0 * plan.grid.sensitivity) ** 2
    one = dp.PoissonGaussian(2.0, plan.sampling_rate)
    assert plan.epsilon_pld >= dp.epsilon_pld([(one, 12)], plan.delta) * (1 - 1e-9)
    assert plan.epsilon_pld == pytest.approx(dp.epsilon_pld([(one, 12)], plan.delta), rel=5e-3)
    assert all(entry.event == plan.event for entry in plan.adversaries)
