"""Runs in which slopes along public directions travel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parties.tiny_run import tiny_config

from fedpriv import dp
from fedpriv.entropy import Entropy
from fedpriv.errors import ConfigError
from fedpriv.federation.checkpoint import CHECKPOINT, Checkpoint
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.round import RoundRunner, fresh_identities
from fedpriv.federation.run import run
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.local_work import learner
from fedpriv.federation.work.record_work import RECORD_SHARE
from fedpriv.federation.workplace import prepare
from fedpriv.peft import Directions
from fedpriv.report import verify, write
from fedpriv.training import RecordGradients

SEED = 5
OPTIONS = {
    "peft__directions": 4,
    "server__optimizer": "sgd",
    "server__momentum": 0.0,
    "server__learning_rate": 0.5,
    "privacy__insecure_seed": SEED,
    "privacy__clip": 0.05,
}


@pytest.mark.slow
def test_a_run_is_its_rounds_by_hand_and_its_report_verifies(tmp_path: Path) -> None:
    """Clients' vectors from full gradients along the directions; the step by the sum that is released."""
    config = tiny_config(tmp_path, "fedkseed", **OPTIONS)
    result = run(config, tmp_path / "run")
    write(tmp_path / "run")
    assert verify(tmp_path / "run").ok
    assert result.bytes_per_client_round is not None
    work = prepare(config)
    plan = make_plan(config, work)
    assert plan.coordinates == plan.noise.dimension == 4
    entropy = Entropy(SEED)
    runner = RoundRunner(
        work=work,
        plan=plan,
        entropy=entropy,
        gradients=learner(work, plan),
        run_id=bytes(16),
        keys=fresh_identities(plan, work.dataset.clients, entropy.stream("identities").read),
    )
    coordinates, model = RoundCoordinates.of(work, plan), work.start.copy()
    whole = RecordGradients(work.model, work.task, work.manifest, clip=1e9)
    for round_ in (1, 2):
        within = coordinates.at(round_, model)
        assert isinstance(within, Directions)
        signs = np.stack(list(within.each())).astype(float)
        for client in (1, 2):
            work.manifest.restore(work.model, model)
            sent = runner.local.contribution(round_, client, model)
            shard = work.dataset.shards[client - 1]
            words = entropy.stream("sampling", round_, client).words
            sampled = shard[dp.poisson_sample(shard.size, plan.noise.sampling_rate, words)]
            expected = np.zeros(4, dtype=np.int64)
            for record in sampled:
                (gradient,) = next(whole.clipped(work.train, [record]))
                slopes = signs @ gradient / np.sqrt(4)
                slopes *= min(1.0, plan.grid.clip * RECORD_SHARE / np.linalg.norm(slopes))
                expected += plan.grid.quantise(slopes[np.newaxis])
            assert np.linalg.norm(sent - expected) <= 0.05 * np.linalg.norm(expected)
        outcome = runner.run(round_, model, {})
        step = sum(value * sign for value, sign in zip(outcome.gradient, signs, strict=True)) / np.sqrt(4)
        model = (model - 0.5 * step).astype(np.float32)
    found = Checkpoint.load(result.run_dir / CHECKPOINT)
    np.testing.assert_allclose(found.parameters, model, atol=1e-6)


def test_what_does_not_go_with_slopes_is_refused_by_its_key(tmp_path: Path) -> None:
    for key, changes in {
        "peft.method": {"trust": "local", "local__steps": 2},
        "training.engine": {"training__engine": "one-by-one"},
        "compression.share": {"compression__share": 0.5},
    }.items():
        with pytest.raises(ConfigError) as refused:
            tiny_config(tmp_path, "fedkseed", **changes)
        assert refused.value.key == key
        assert refused.value.hint
