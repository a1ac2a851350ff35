"""The server's step: the averaged private gradient in, the next weights out.  Numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import IntegrityError, UsageError

OPTIMIZERS = ("sgd", "adam", "yogi")

_Where = slice | NDArray[np.int64]

_EPSILON: Final = {"sgd": 0.0, "adam": 1e-8, "yogi": 1e-3}


class ServerOptimizer:
    """SGD with momentum, Adam, or Yogi, on the coordinates of one flat vector; its state is float64.

    - ``sgd``: ``m <- momentum m + g``; ``w <- w - lr m`` (Sutskever et al. 2013, the form with lr outside);
    - ``adam``: Kingma and Ba, 1412.6980, algorithm 1, with bias correction;
    - ``yogi``: Reddi et al., 2003.00295, algorithm 2: ``m`` as for Adam, ``v <- v - (1 - beta2) g^2 sign(v -
      g^2)`` from ``v = epsilon^2``, ``w <- w - lr m / (sqrt(v) + epsilon)``; no bias correction.

    Where ``g`` is minus the mean of whole updates, these are the federated optimisers of that paper: ``sgd``
    with learning rate 1 and no momentum is FedAvg, with momentum FedAvgM, ``adam`` FedAdam (which has no bias
    correction there), ``yogi`` FedYogi, and ``epsilon`` is its tau.

    ``momentum`` applies to ``sgd``, the two decay rates and ``epsilon`` to the others; ``epsilon`` is 1e-8
    for ``adam`` and 1e-3 for ``yogi`` where it is not given.  The first step fixes the vector's length.  A
    step may be on some coordinates only: the others keep their weights, their moments, and how many steps
    their bias correction counts.  The gradient that it is given is private already, so its steps are
    post-processing and cost nothing.

    >>> server = ServerOptimizer("sgd", learning_rate=0.5)
    >>> server.step(np.zeros(2, np.float32), np.array([1.0, -2.0])).tolist()
    [-0.5, 1.0]
    >>> server.step(np.zeros(2, np.float32), np.array([4.0]), at=np.array([1])).tolist()
    [0.0, -2.0]

    Raises ``UsageError`` on an unknown name or a rate out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        learning_rate: float,
        momentum: float = 0.0,
        beta1: float = 0.9,
        beta2: float = 0.99,
        epsilon: float | None = None,
    ) -> None:
        if name not in OPTIMIZERS:
            raise UsageError(f"{name!r} is not a server optimizer", hint=f"choose {' or '.join(OPTIMIZERS)}")
        for what, value in (("learning rate", learning_rate), ("epsilon", epsilon)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"the server optimizer's {what} must be positive, not {value}")
        for what, value in (("momentum", momentum), ("beta1", beta1), ("beta2", beta2)):
            if not 0 <= value < 1:
                raise UsageError(f"the server optimizer's {what} must be at least 0 and below 1, not {value}")
        self.name = name
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = _EPSILON[name] if epsilon is None else epsilon
        self.first = np.zeros(0)
        """The first moment of each coordinate, float64, shape (d,); (0,) before the first step."""
        self.second = np.zeros(0)
        """The second moment likewise; always (0,) for ``sgd``."""
        self._counts = np.zeros(0, dtype=np.int32)  # steps that each coordinate has taken

    def step(
        self,
        parameters: NDArray[np.float32],
        gradient: NDArray[np.float64],
        *,
        at: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """The weights after one step down ``gradient``; no argument is changed.

        Args:
            parameters: shape (d,).
            gradient: shape (d,), or one value for each coordinate in ``at``.
            at: the coordinates that step, each once; all, if not given.

        Raises ``UsageError``, with the state unchanged, where a shape is wrong or a value is not finite.
        """
        direction = np.asarray(gradient, dtype=np.float64)
        length = self._counts.size or np.size(parameters)
        stepping = length if at is None else at.size
        if np.shape(parameters) != (length,) or direction.shape != (stepping,) or not stepping:
            raise UsageError(
                f"the optimizer has {length} coordinates, of which {stepping} step; it was given weights of "
                f"shape {np.shape(parameters)} and a gradient of shape {direction.shape}"
            )
        if not np.isfinite(direction).all():
            raise UsageError("the gradient holds a value that is not finite")
        if not self._counts.size:
            self._begin(length)
        where: _Where = slice(None) if at is None else at
        self._counts[where] += 1
        moved = np.array(parameters, dtype=np.float64)
        moved[where] -= self.learning_rate * self._change(where, direction)
        return moved.astype(np.float32)

    def replace_moments(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
        """Goes on from other moments of the same coordinates, as where the model was written in another
        basis; ``UsageError`` where a shape differs."""
        if first.shape != self.first.shape or second.shape != self.second.shape:
            raise UsageError("the moments are not of the optimizer's coordinates")
        self.first, self.second = first, second

    def _begin(self, length: int) -> None:
        self._counts = np.zeros(length, dtype=np.int32)
        self.first = np.zeros(length)
        if self.name != "sgd":
            self.second = np.full(length, self.epsilon**2 if self.name == "yogi" else 0.0)

    def _change(self, where: _Where, direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """The step of the coordinates at ``where``, before the learning rate."""
        if self.name == "sgd":
            self.first[where] = self.momentum * self.first[where] + direction
            return self.first[where]
        first = self.beta1 * self.first[where] + (1 - self.beta1) * direction
        square, second = np.square(direction), self.second[where]
        if self.name == "yogi":
            second = second - (1 - self.beta2) * square * np.sign(second - square)
        else:
            second = self.beta2 * second + (1 - self.beta2) * square
        self.first[where], self.second[where] = first, second
        if self.name == "adam":
            first = first / self._correction(self.beta1)[self._counts[where]]
            second = second / self._correction(self.beta2)[self._counts[where]]
        return np.asarray(first / (np.sqrt(second) + self.epsilon))

    def _correction(self, decay: float) -> NDArray[np.float64]:
        """``1 - decay**t`` for each number t of steps that a coordinate can have taken."""
        return np.array([1 - decay**steps for steps in range(int(self._counts.max()) + 1)])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep: the name, the number of steps of each coordinate as int32, and the
        moments as float64 arrays."""
        return {
            "name": self.name,
            "counts": self._counts.copy(),
            "first": self.first.copy(),
            "second": self.second.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``'s form; ``IntegrityError``, with nothing changed, where it does not
        fit."""
        try:
            first = np.array(state["first"], dtype=np.float64)
            second = np.array(state["second"], dtype=np.float64)
            counts = np.array(state["counts"], dtype=np.int32)
            fits = (
                str(state["name"]) == self.name
                and counts.ndim == 1
                and first.shape == counts.shape
                and second.shape == ((0,) if self.name == "sgd" else counts.shape)
                and bool(np.isfinite(first).all() and np.isfinite(second).all())
                and bool((second >= 0).all() and (counts >= 0).all())
            )
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise IntegrityError("the server optimizer's saved state does not fit its settings")
        self._counts, self.first, self.second = counts, first, second
