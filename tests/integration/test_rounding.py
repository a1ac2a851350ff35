"""What a record does to the others' float32 gradients, which the sensitivity argument leaves room for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parties.small_run import small_config

from fedpriv.federation.work.record_work import RECORD_SHARE
from fedpriv.federation.workplace import prepare
from fedpriv.training import RecordGradients


@pytest.mark.slow
def test_a_record_moves_the_others_by_a_tenth_of_the_room_at_most(tmp_path: Path) -> None:
    config = small_config(tmp_path, peft__method="lora", peft__layers=[3, 4, 5], model__max_length=16)
    work = prepare(config)
    rng = np.random.default_rng(0)
    vector = work.manifest.flatten(work.model)
    moved_away = vector + rng.normal(0.0, 0.02, vector.size).astype(np.float32)
    work.manifest.restore(work.model, moved_away)  # lora_B starts at zero, where half of the gradients vanish
    gradients = RecordGradients(work.model, work.task, work.manifest, clip=1.0, micro_batch=32)

    def total(indices: np.ndarray) -> np.ndarray:
        rows = gradients.clipped(work.train, indices)
        return np.sum([batch.sum(axis=0, dtype=np.float64) for batch in rows], axis=0)

    room = 1.0 - RECORD_SHARE
    for _ in range(6):
        batch = rng.choice(len(work.dataset.train), size=48, replace=False)
        alone, others = total(batch[:1]), total(batch[1:])
        moved = np.linalg.norm(total(batch) - others - alone)
        assert 0.0 < moved < room / 10
