"""What a run has cost after every round: two running totals, each updated round by round."""

from __future__ import annotations

from typing import Any, Final

from fedpriv.dp.accountant import (
    RdpFilter,
    charged_rounds,
    check_pld_delta,
    gaussian_and_slack,
    round_key,
    with_slack,
)
from fedpriv.dp.events import Event
from fedpriv.dp.mixture import group_pld
from fedpriv.errors import UsageError

__all__ = ["RunningEpsilon"]

LIVE_INTERVAL: Final = 1e-3  # width of a privacy-loss bucket while a run is going on
_DIGITS: Final = 3
_EXACT_KEYS: Final = 16
_KEPT_KEYS: Final = 128  # distributions kept in memory, a third of a megabyte each


class RunningEpsilon:
    """The epsilon of one run after each of its rounds, by RDP and by privacy-loss distributions.

    ``rdp`` adds one vector a round.  ``pld`` keeps the composition of all rounds seen so far in buckets of
    ``interval`` and composes in what is new since it was last asked: one convolution over the range that the
    total loss can take, which widens as the root of the number of rounds.  From the seventeenth distinct
    (noise, rate) on, keys are merged to three significant digits, noise down and rate up.  Both are upper
    bounds; the report at the end takes `epsilon_pld`, with finer buckets.  ``pld`` is valid for parameters
    fixed in advance (arXiv 2209.15596).

    Args:
        interval: width of a privacy-loss bucket.

    Raises:
        UsageError: an interval outside 1e-6 to 1.

    >>> from fedpriv.dp import PoissonGaussian
    >>> spent = RunningEpsilon()
    >>> for _ in range(3):
    ...     spent.add(PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.05))
    ...     print(round(spent.pld(1e-5), 2), "<=", round(spent.rdp(1e-5), 2))
    0.18 <= 0.34
    0.22 <= 0.37
    0.25 <= 0.38
    """

    __slots__ = ("_composed", "_interval", "_keys", "_pending", "_rdp", "_rounds", "_slack")

    def __init__(self, *, interval: float = LIVE_INTERVAL) -> None:
        if not 1e-6 <= interval <= 1.0:
            raise UsageError(
                f"the discretisation interval is {interval}; use 1e-6 to 1, 1e-3 for a live figure"
            )
        self._interval = interval
        self._rdp = RdpFilter()
        self._rounds: dict[Event, int] = {}
        self._pending: dict[tuple[float, float], int] = {}
        self._keys: dict[tuple[float, float], Any] = {}
        self._composed: Any = None
        self._slack = 0.0

    def add(self, event: Event, count: int = 1) -> None:
        """Spend ``count`` rounds of ``event``; rounds of equal banded events belong to one mechanism."""
        before = self._rounds.get(event, 0)
        times = charged_rounds(event, count, before)
        self._rdp.add(event, count, after=before)
        self._rounds[event] = before + count
        if times:
            gaussian, distance = gaussian_and_slack(event)
            key = (gaussian.noise_multiplier, gaussian.sampling_rate)
            self._pending[key] = self._pending.get(key, 0) + times
            self._slack += times * distance * (1.0 + 2.0**-40)

    def rdp(self, delta: float) -> float:
        """Return the epsilon spent at ``delta`` by RDP, 0 before the first round.

        Raises:
            UsageError: delta outside (0, 1).
            UnsafeParameters: the slack of integer noise exceeds what ``delta`` allows.
        """
        return self._rdp.epsilon(delta)

    def pld(self, delta: float) -> float:
        """Return the epsilon spent at ``delta`` by privacy-loss distributions, 0 before the first round.

        Raises:
            UsageError: delta outside [1e-12, 1).
            UnsafeParameters: the slack of integer noise exceeds what ``delta`` allows.
        """
        check_pld_delta(delta)
        for key, count in self._pending.items():
            once = self._once(key)
            added = once.self_compose(count) if count > 1 else once
            self._composed = added if self._composed is None else self._composed.compose(added)
        self._pending.clear()
        if self._composed is None:
            return 0.0
        return with_slack(lambda left: float(self._composed.get_epsilon_for_delta(left)), self._slack, delta)

    def _once(self, key: tuple[float, float]) -> Any:
        """Return the distribution of one round at ``key``, or at a key that is at least as bad."""
        if key not in self._keys and len(self._keys) >= _EXACT_KEYS:
            multiplier, rate = key
            key = (
                round_key(multiplier, _DIGITS, up=False),
                min(1.0, round_key(rate, _DIGITS, up=True)),
            )
        if key not in self._keys:
            if len(self._keys) >= _KEPT_KEYS:
                self._keys.pop(next(iter(self._keys)))
            self._keys[key] = group_pld(1, *key, self._interval)
        return self._keys[key]
