"""The server's step: equal to torch's optimizers, and exact across a checkpoint."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.training import ServerOptimizer

SETTINGS = [
    ("sgd", {"learning_rate": 0.1}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9}),
    ("adam", {"learning_rate": 0.05}),
    ("adam", {"learning_rate": 0.05, "beta1": 0.5, "beta2": 0.999}),
]


def gradients(steps=12, size=7):
    return np.random.default_rng(0).standard_normal((steps, size))


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_twelve_steps_equal_torch(name, options):
    weights = np.linspace(-1, 1, 7).astype(np.float32)
    parameter = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    if name == "sgd":
        other = torch.optim.SGD([parameter], lr=0.1, momentum=options.get("momentum", 0.0))
    else:
        betas = (options.get("beta1", 0.9), options.get("beta2", 0.99))
        other = torch.optim.Adam([parameter], lr=0.05, betas=betas)
    ours = ServerOptimizer(name, **options)
    for gradient in gradients():
        parameter.grad = torch.from_numpy(gradient.copy())
        other.step()
        kept = weights.copy()
        moved = ours.step(weights, gradient)
        assert moved.dtype == np.float32
        np.testing.assert_array_equal(weights, kept)
        weights = moved
    np.testing.assert_allclose(weights, parameter.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), SETTINGS)
def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(name, options):
    straight = ServerOptimizer(name, **options)
    broken = ServerOptimizer(name, **options)
    one = two = np.zeros(7, dtype=np.float32)
    for step, gradient in enumerate(gradients()):
        if step in (0, 5):
            stored = io.BytesIO()
            np.savez(stored, **broken.state_dict())
            stored.seek(0)
            broken = ServerOptimizer(name, **options)
            with np.load(stored) as state:
                broken.load_state_dict(state)
        one, two = straight.step(one, gradient), broken.step(two, gradient)
    assert one.tobytes() == two.tobytes()


def test_a_wrong_gradient_leaves_the_state_as_it_was():
    server = ServerOptimizer("adam", learning_rate=0.1)
    weights = np.zeros(3, dtype=np.float32)
    server.step(weights, np.ones(3))
    before = server.state_dict()
    for wrong in (np.ones(4), np.ones((1, 3)), np.array([1.0, np.nan, 0.0])):
        with pytest.raises(UsageError):
            server.step(weights, wrong)
    with pytest.raises(UsageError):
        server.step(np.zeros(4, dtype=np.float32), np.ones(3))
    after = server.state_dict()
    assert before["steps"] == after["steps"]
    np.testing.assert_array_equal(before["second"], after["second"])


@pytest.mark.parametrize(
    "change",
    [{"name": "sgd"}, {"steps": 0}, {"first": np.zeros(2)}, {"second": np.zeros(0)}, {"first": [np.nan] * 3}],
)
def test_a_state_that_does_not_fit_is_refused(change):
    server = ServerOptimizer("adam", learning_rate=0.1)
    server.step(np.zeros(3, dtype=np.float32), np.ones(3))
    state = server.state_dict()
    for wrong in ({**state, **change}, {"name": "adam"}):
        with pytest.raises(IntegrityError):
            ServerOptimizer("adam", learning_rate=0.1).load_state_dict(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "adagrad"},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"momentum": 1.0},
        {"beta2": -0.1},
        {"epsilon": 0.0},
    ],
)
def test_rates_out_of_range_are_refused(wrong):
    with pytest.raises(UsageError):
        ServerOptimizer(**{"name": "sgd", "learning_rate": 0.1, **wrong})
