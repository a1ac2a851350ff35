"""What a plan promises, what it refuses, and that nothing of it can change under one name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from fedpriv.crypto import Keystream
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.flower import PrivateSumPlan

SIZES: dict[str, Any] = {
    "session": "plan test",
    "clients": 5,
    "min_survivors": 4,
    "max_colluders": 1,
    "vectors": {"b": 3, "a": 2},
    "clip": 1.0,
    "noise_multiplier": 4.0,
    "rounds": 3,
}


def test_the_package_loads_no_flwr() -> None:
    code = "import sys, fedpriv.flower; print('flwr' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_noise_of_the_fewest_honest_survivors_is_what_epsilon_counts() -> None:
    plan = PrivateSumPlan(**SIZES)
    variance = (4 - 1) * plan.noise.share_variance
    assert variance >= (4.0 * plan.grid.sensitivity) ** 2
    assert plan.noise.event().noise_variance == variance
    assert plan.epsilon(1e-5, 1) < plan.epsilon(1e-5) == plan.epsilon(1e-5, 3)


def test_a_plan_for_an_epsilon_keeps_it_and_wastes_little() -> None:
    sizes = {name: value for name, value in SIZES.items() if name != "noise_multiplier"}
    plan = PrivateSumPlan.for_epsilon(2.0, 1e-5, **sizes)
    assert 1.99 < plan.epsilon(1e-5) <= 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"session": "plan test 2"},
        {"min_survivors": 5},
        {"max_colluders": 2},
        {"vectors": {"b": 2, "a": 3}},
        {"clip": 1.5},
        {"noise_multiplier": 4.5},
        {"rounds": 4},
        {"bits": 40},
    ],
)
def test_every_value_is_part_of_the_run_s_name(change: dict[str, Any]) -> None:
    assert PrivateSumPlan(**{**SIZES, **change}).run_id != PrivateSumPlan(**SIZES).run_id


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"min_survivors": 3}, UnsafeParameters, "cannot be opened safely"),
        ({"clients": 2, "min_survivors": 2}, UnsafeParameters, "protects nobody"),
        ({"max_colluders": 4}, UnsafeParameters, "no honest noise"),
        ({"bits": 8}, UnsafeParameters, "bits"),
        ({"noise_multiplier": 0.0}, UsageError, "noise multiplier"),
        ({"noise_multiplier": float("nan")}, UsageError, "noise_multiplier"),
        ({"rounds": 0}, UsageError, "at least one round"),
        ({"vectors": {}}, UsageError, "one vector"),
        ({"session": ""}, UsageError, "has a name"),
    ],
)
def test_sizes_that_would_not_protect_are_refused(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        PrivateSumPlan(**{**SIZES, **change})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_sent_as_zeros_and_told_to_nobody_else(
    value: float, caplog: pytest.LogCaptureFixture
) -> None:
    plan = PrivateSumPlan(**SIZES)
    broken = {name: np.zeros(d) for name, d in plan.vectors.items()}
    sent = plan.encode(broken, 1, Keystream(bytes(32)).words)
    next(iter(broken.values()))[0] = value
    assert np.array_equal(plan.encode(broken, 1, Keystream(bytes(32)).words), sent)
    assert "not finite; zeros are sent" in caplog.text


def test_a_vector_too_long_to_be_squared_is_clipped_like_any_other() -> None:
    plan = PrivateSumPlan(**SIZES)
    sent = [
        plan.encode(
            {name: np.full(d, size) for name, d in plan.vectors.items()}, 1, Keystream(bytes(32)).words
        )
        for size in (1e200, 1e90)
    ]
    gap = plan.grid.fixed.centre(sent[0]) - plan.grid.fixed.centre(sent[1])
    assert np.abs(gap).max() <= 1  # the same direction and length, rounded
