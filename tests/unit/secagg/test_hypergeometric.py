"""Tails of the hypergeometric law against whole-number arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from math import comb

import pytest

from fedpriv.secagg.hypergeometric import log_exceeds


@pytest.mark.parametrize(
    ("clients", "marked", "draws"),
    [(5, 0, 3), (5, 5, 3), (30, 12, 20), (30, 25, 20), (200, 7, 150), (2000, 900, 700), (10**6, 10**5, 300)],
)
def test_every_tail_is_that_of_exact_arithmetic(clients: int, marked: int, draws: int) -> None:
    ways = [comb(marked, j) * comb(clients - marked, draws - j) for j in range(draws + 1)]
    total, above = comb(clients, draws), 0
    assert sum(ways) == total
    for count in reversed(range(-1, draws + 1)):
        found = log_exceeds(clients, marked, draws, count)
        if above == 0:
            assert found == -math.inf
        elif above == total:
            assert found == 0.0
        elif 2 * above > total:  # near one: the complement decides
            assert found == pytest.approx(math.log1p(-float(Fraction(total - above, total))), rel=1e-7)
        else:
            assert found == pytest.approx(math.log(above) - math.log(total), abs=1e-7)
        if count >= 0:
            above += ways[count]


def test_far_beyond_the_support_nothing_and_everything_exceeds() -> None:
    assert log_exceeds(100, 10, 20, 10**9) == -math.inf
    assert log_exceeds(100, 10, 20, -(10**9)) == 0.0
