"""How long a run will take on this machine, from a short measurement."""

from __future__ import annotations

import time

import numpy as np

from fedpriv.federation.config import Config
from fedpriv.federation.planning.plan import Estimate
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.local_work import record_learner
from fedpriv.federation.workplace import Workplace

__all__ = ["measured"]

_COPIES = 3
"""Of a micro-batch's logits: themselves, their softmax, and a gradient."""

_FORWARD_SHARE = 1 / 3
"""A forward pass, as a share of a forward and a backward pass."""


def measured(work: Workplace, config: Config) -> Estimate:
    """Time two micro-batches of record gradients; an evaluation is taken as a share of that."""
    batch, spec = config.training.micro_batch, work.spec
    gradients = record_learner(work, config.privacy.clip)
    most = spec.kind.width(work.manifest, spec)
    within = RoundCoordinates(work.manifest, spec, work.start, most).at(1, work.start)
    some = np.linspace(0, len(work.dataset.train) - 1, 2 * batch, dtype=np.int64)
    for _ in gradients.clipped(
        work.train, some[:batch], within
    ):  # the first pass pays for what is set up once
        pass
    start = time.perf_counter()
    for _ in gradients.clipped(work.train, some, within):
        pass
    per_record = (time.perf_counter() - start) / len(some)
    evaluations = 2 + config.run.rounds // config.training.evaluate_every
    return Estimate(
        seconds=per_record
        * (
            config.run.rounds * _records_a_round(work, config)
            + evaluations * len(work.dataset.test) * _FORWARD_SHARE
        ),
        memory_bytes=_peak_memory(),
        logits_bytes=_logits(work, config),
    )


def _logits(work: Workplace, config: Config) -> int | None:
    """Bytes of the logits of a micro-batch of the longest texts, with their loss; None where they are not
    held as a whole.

    There is one for each token and word of the vocabulary, which no PEFT method makes fewer.
    """
    from fedpriv.training import CausalLanguageModel

    if not isinstance(work.task, CausalLanguageModel) or work.task.in_blocks:
        return None
    lengths = work.train.lengths
    longest = 0 if lengths is None else int(lengths.max(initial=0))
    return _COPIES * 4 * config.training.micro_batch * longest * work.task.vocabulary


def _records_a_round(work: Workplace, config: Config) -> float:
    """How many gradients of records a round takes, in expectation."""
    steps = config.local_steps
    if config.work != "update":
        return (steps or 1) * (config.privacy.expected_batch or 0.0)
    if steps is None:
        return float((config.local_epochs or 1) * len(work.dataset.train))
    return float(sum(steps * min(config.local.batch, shard.size) for shard in work.dataset.shards))


def _peak_memory() -> int:
    """The process's largest resident set so far, in bytes."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
