"""The server's step: the averaged private gradient in, the next weights out.  Numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import IntegrityError, UsageError

OPTIMIZERS = ("sgd", "adam")


class ServerOptimizer:
    """SGD with momentum, or Adam, on one flat vector; its state is float64.

    - ``sgd``: ``m <- momentum m + g``; ``w <- w - lr m`` (Sutskever et al. 2013, the form with lr outside);
    - ``adam``: Kingma and Ba, 1412.6980, algorithm 1, with bias correction.

    ``momentum`` applies to ``sgd``, ``beta1``, ``beta2`` and ``epsilon`` to ``adam``.  The first step fixes
    the vector's length.  The gradient that it is given is private already, so its steps are post-processing
    and cost nothing.

    >>> server = ServerOptimizer("sgd", learning_rate=0.5)
    >>> server.step(np.zeros(2, np.float32), np.array([1.0, -2.0])).tolist()
    [-0.5, 1.0]

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
        epsilon: float = 1e-8,
    ) -> None:
        if name not in OPTIMIZERS:
            raise UsageError(f"{name!r} is not a server optimizer", hint=f"choose {' or '.join(OPTIMIZERS)}")
        for what, value in (("learning rate", learning_rate), ("epsilon", epsilon)):
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"the server optimizer's {what} must be positive, not {value}")
        for what, value in (("momentum", momentum), ("beta1", beta1), ("beta2", beta2)):
            if not 0 <= value < 1:
                raise UsageError(f"the server optimizer's {what} must be at least 0 and below 1, not {value}")
        self.name = name
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.steps = 0
        self._first = np.zeros(0)
        self._second = np.zeros(0)

    def step(self, parameters: NDArray[np.float32], gradient: NDArray[np.float64]) -> NDArray[np.float32]:
        """The weights after one step down ``gradient``; both of shape (d,); neither is changed.

        Raises ``UsageError``, with the state unchanged, where a shape is wrong or a value is not finite.
        """
        direction = np.asarray(gradient, dtype=np.float64)
        length = len(self._first) if self.steps else direction.size
        if not direction.shape == np.shape(parameters) == (length,) or not length:
            raise UsageError(
                f"the optimizer has {length} coordinates; it was given weights of shape "
                f"{np.shape(parameters)} and a gradient of shape {direction.shape}"
            )
        if not np.isfinite(direction).all():
            raise UsageError("the gradient holds a value that is not finite")
        first, second = (self._first, self._second) if self.steps else (np.zeros(length), np.zeros(length))
        self.steps += 1
        if self.name == "sgd":
            self._first = self.momentum * first + direction
            change = self._first
        else:
            self._first = self.beta1 * first + (1 - self.beta1) * direction
            self._second = self.beta2 * second + (1 - self.beta2) * np.square(direction)
            mean = self._first / (1 - self.beta1**self.steps)
            change = mean / (np.sqrt(self._second / (1 - self.beta2**self.steps)) + self.epsilon)
        moved = np.asarray(parameters, dtype=np.float64) - self.learning_rate * change
        result: NDArray[np.float32] = moved.astype(np.float32)
        return result

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep: the name, the number of steps, and the moments as float64 arrays."""
        return {
            "name": self.name,
            "steps": self.steps,
            "first": self._first.copy(),
            "second": self._second.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from ``state_dict``'s form; ``IntegrityError``, with nothing changed, where it does not
        fit."""
        try:
            first = np.array(state["first"], dtype=np.float64)
            second = np.array(state["second"], dtype=np.float64)
            steps = int(state["steps"])
            fits = (
                str(state["name"]) == self.name
                and first.ndim == 1
                and bool(steps > 0) == bool(first.size)
                and second.shape == (first.shape if self.name == "adam" else (0,))
                and bool(np.isfinite(first).all() and np.isfinite(second).all())
            )
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise IntegrityError("the server optimizer's saved state does not fit its settings")
        self.steps, self._first, self._second = steps, first, second
