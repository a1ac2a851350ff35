"""Disjoint cohorts that take turns: no client takes part twice in as many rounds as there are cohorts."""

from __future__ import annotations

import numpy as np

__all__ = ["cohort", "largest_cohort"]


def largest_cohort(clients: int, cohorts: int | None) -> int:
    """Clients of the largest cohort; all of them where there are no cohorts.

    >>> largest_cohort(10, 3), largest_cohort(10, None)
    (4, 10)
    """
    return -(-clients // (cohorts or 1))


def cohort(round_: int, *, clients: int, cohorts: int, seed: int) -> tuple[int, ...]:
    """The clients, ascending, that take part in round ``round_`` (from 1): a part of a public random order.

    Cohorts follow each other in a circle and differ in size by one at most.  The order comes from the public
    ``seed`` alone: it depends on no record.

    >>> [cohort(r, clients=5, cohorts=2, seed=1) for r in (1, 2, 3)]
    [(2, 3, 4), (1, 5), (2, 3, 4)]
    """
    if cohorts == 1:
        return tuple(range(1, clients + 1))
    order = np.random.default_rng([seed, 0xC0407]).permutation(clients) + 1
    return tuple(sorted(int(client) for client in order[(round_ - 1) % cohorts :: cohorts]))
