"""A run that was interrupted goes on with its plan, and pays once for what was reserved."""

from __future__ import annotations

import shutil

import pytest
import torch

import fedpriv
from fedpriv.errors import IntegrityError, UsageError

from .conftest import STEPS, network


def steps(loop, count):
    states = []
    for batch, _ in zip(loop, range(count), strict=False):
        loop.step(batch)
        states.append(loop.state_dict())
    return states


def test_a_resumed_run_continues_its_plan_with_fresh_noise(private, spent):
    loop, model = private()
    state = steps(loop, 3)[-1]
    weights = {name: p.clone() for name, p in model.state_dict().items()}
    del loop
    ends = []
    for _ in range(2):
        fresh = network()
        fresh.load_state_dict(weights)
        resumed, _ = private(fresh)
        resumed.load_state_dict(state)
        resumed.step(next(iter(resumed)))
        ends.append(fresh[0].weight.detach().clone())
    assert not torch.equal(*ends)
    # Two goes at the fourth step: both are spent.
    assert spent().released == 5
    assert resumed.remaining == STEPS - 5
    for batch in resumed:
        resumed.step(batch)
    assert spent().released == STEPS
    assert len(spent().runs) == 1


def test_steps_that_were_reserved_after_the_state_was_saved_stay_spent(private, spent):
    loop, _ = private()
    state = steps(loop, 2)[-1]
    batch = loop._gradients.draw()
    loop._gradients.reserve(batch)  # and here the process dies
    resumed, _ = private()
    resumed.load_state_dict(state)
    assert resumed.steps == 3
    for batch in resumed:
        resumed.step(batch)
    assert (spent().reserved, spent().released) == (STEPS, STEPS - 1)


def test_a_run_is_never_resumed_on_an_older_ledger(private, home, tmp_path):
    loop, _ = private()
    steps(loop, 1)
    old = tmp_path / "old"
    shutil.copytree(home, old)
    state = steps(loop, 2)[-1]
    resumed, _ = private(budget=fedpriv.Budget(8, 1e-4, ledger=old / "ledger.sqlite"))
    with pytest.raises(IntegrityError, match="older copy of the ledger"):
        resumed.load_state_dict(state)


@pytest.mark.parametrize(
    "other",
    [{"max_grad_norm": 0.1}, {"steps": STEPS + 1}, {"sample_rate": 0.05}, {"noise_multiplier": 2.0}],
    ids=lambda other: next(iter(other)),
)
def test_a_run_is_resumed_with_its_own_arguments_only(private, other):
    loop, _ = private()
    state = steps(loop, 1)[-1]
    resumed, _ = private(**other)
    with pytest.raises(UsageError, match="planned with another"):
        resumed.load_state_dict(state)


def test_a_finished_or_begun_run_takes_up_nothing(private):
    loop, _ = private()
    state = steps(loop, 1)[-1]
    loop.finish()
    with pytest.raises(UsageError, match="has begun cannot take up another"):
        loop.load_state_dict(state)
    resumed, _ = private()
    with pytest.raises(UsageError, match="has finished"):
        resumed.load_state_dict(state)
    with pytest.raises(UsageError, match="not the saved state"):
        resumed.load_state_dict({"steps": 3})


def test_a_state_from_before_the_first_step_begins_anew(private, spent):
    loop, _ = private()
    state = loop.state_dict()
    resumed, _ = private()
    resumed.load_state_dict(state)
    steps(resumed, 1)
    assert spent().released == 1
