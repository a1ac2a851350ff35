"""The server's step: equal to torch's optimizers, and exact across a checkpoint."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.training import ServerOptimizer

YOGI = {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.95, "epsilon": 0.01}
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


@pytest.mark.parametrize(("name", "options"), [*SETTINGS, ("yogi", YOGI)])
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
    np.testing.assert_array_equal(before["counts"], after["counts"])
    np.testing.assert_array_equal(before["second"], after["second"])


@pytest.mark.parametrize(
    "change",
    [
        {"name": "sgd"},
        {"counts": np.zeros(2)},
        {"first": np.zeros(2)},
        {"second": np.zeros(0)},
        {"first": [np.nan] * 3},
    ],
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


def test_yogi_is_algorithm_two_of_its_paper_one_coordinate_at_a_time():
    ours, weights = ServerOptimizer("yogi", **YOGI), np.zeros(7, dtype=np.float32)
    x, m, v = [0.0] * 7, [0.0] * 7, [YOGI["epsilon"] ** 2] * 7
    for gradient in gradients():
        for i, delta in enumerate(-gradient):  # there the mean update, which points down
            m[i] = YOGI["beta1"] * m[i] + (1 - YOGI["beta1"]) * delta
            sign = int(v[i] > delta**2) - int(v[i] < delta**2)
            v[i] = v[i] - (1 - YOGI["beta2"]) * delta**2 * sign
            x[i] += YOGI["learning_rate"] * m[i] / (v[i] ** 0.5 + YOGI["epsilon"])
        weights = ours.step(weights, gradient)
    np.testing.assert_allclose(weights, x, rtol=1e-5, atol=1e-7)


def test_on_whole_updates_sgd_with_rate_one_is_the_mean_of_the_clients_models():
    start, clients = np.zeros(7, dtype=np.float32), gradients(steps=3)
    moved = ServerOptimizer("sgd", learning_rate=1.0).step(start, -(clients - start).mean(axis=0))
    np.testing.assert_allclose(moved, clients.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(("name", "options"), [*SETTINGS, ("yogi", YOGI)])
def test_coordinates_that_rest_keep_all_they_have(name, options):
    """Seven coordinates that step in turns are seven optimizers that have never heard of one another."""
    together, weights = ServerOptimizer(name, **options), np.linspace(-1, 1, 7).astype(np.float32)
    alone, single = [ServerOptimizer(name, **options) for _ in weights], [w.reshape(1) for w in weights]
    drawn = np.random.default_rng(3)
    for gradient in gradients():
        at = np.sort(drawn.choice(7, 3, replace=False))
        weights = together.step(weights, gradient[at], at=at)
        for i in at:
            single[i] = alone[i].step(single[i], gradient[[i]])
    assert weights.tobytes() == np.concatenate(single).tobytes()


def test_a_gradient_for_other_coordinates_is_refused():
    server = ServerOptimizer("sgd", learning_rate=0.1)
    with pytest.raises(UsageError, match="of which 2 step"):
        server.step(np.zeros(3, dtype=np.float32), np.ones(3), at=np.array([0, 2]))
    with pytest.raises(UsageError):
        server.replace_moments(np.zeros(3), np.zeros(0))
