"""What one client can do to a sum: never more than the stated sensitivity, and nearly that much."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.encoding import FixedPoint
from fedpriv.federation.work.adaptive_clip import AdaptiveClip
from fedpriv.federation.work.client_work import weight
from fedpriv.federation.work.contribution import Contribution

GRID = FixedPoint(bits=32, clients=4, clip=1.0, scale_log2=20, sensitivity=2**20, client_bound=2**20)
UPDATE = Contribution(sampling_rate=1.0, divisor=4.0, expected=2.0, turns=1, bit_share=0.05)


@given(share=st.floats(1e-9, 0.999), log2=st.integers(12, 29), turns=st.sampled_from((1, 2)))
def test_the_joint_sensitivity_is_the_exact_root_rounded_up(share: float, log2: int, turns: int) -> None:
    grid = FixedPoint(62, 2, 1.0, log2, 2**log2, 2**log2)
    one = replace(UPDATE, turns=turns, bit_share=share)
    bits, joint = one.bit_units(grid), one.sensitivity(grid)
    square = turns**2 * (grid.sensitivity**2 + bits**2)
    assert (joint - 1) ** 2 < square <= joint**2
    assert joint <= one.stretch * grid.sensitivity * (1 + 2.0**-10) or share > 0.99
    if 0.001 < share < 0.999:  # B is whole units: its share of the cost is what was asked for, nearly
        assert bits**2 / (grid.sensitivity**2 + bits**2) == pytest.approx(share, rel=1e-2)


def test_without_a_moving_clip_the_sensitivity_is_the_grids_and_nothing_is_added() -> None:
    one = replace(UPDATE, bit_share=0.0)
    assert one.sensitivity(GRID) == GRID.sensitivity
    assert one.dimension(10) == 10
    assert one.stretch == 1.0
    assert replace(one, turns=2).sensitivity(GRID) == 2 * GRID.sensitivity


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("z", [0.5, 4.7])
def test_the_split_of_the_cost_is_that_of_the_paper(share: float, z: float) -> None:
    # Andrew et al. 2021, theorem 1: z = (z_update^-2 + (2 sigma_b)^-2)^(-1/2), with sigma_b the noise in the
    # count of clients, whose sensitivity is one half.
    one = replace(UPDATE, bit_share=share)
    std = z * one.sensitivity(GRID)
    z_update, sigma_b = std / GRID.sensitivity, std / (2 * one.bit_units(GRID))
    joint = (z_update**-2 + (2 * sigma_b) ** -2) ** -0.5
    assert joint == pytest.approx(z, rel=1e-5)
    assert joint >= z * (1 - 1e-12)  # never less noise than was asked for
    assert (z / (2 * sigma_b)) ** 2 == pytest.approx(share, rel=1e-3)


@given(records=st.integers(0, 10**9), more=st.integers(0, 10**6), cap=st.integers(1, 10**6))
def test_weights_are_bounded_and_grow_with_the_records(records: int, more: int, cap: int) -> None:
    assert 0.0 <= weight(records, cap) <= weight(records + more, cap) <= 1.0
    assert weight(cap + more, cap) == 1.0
    assert weight(records, None) == 1.0


def test_the_clip_finds_the_quantile_of_the_norms() -> None:
    norms = np.random.default_rng(3).lognormal(0.0, 1.0, 400)
    for quantile in (0.2, 0.5, 0.8):
        rule = AdaptiveClip(initial=20.0, quantile=quantile, learning_rate=0.2, bit_units=1000)
        clip = rule.initial
        for _ in range(200):
            total = sum(rule.coordinate(float(norm), clip) for norm in norms)
            clip = rule.following(clip, rule.share_within(total, len(norms)))
        assert np.mean(norms <= clip) == pytest.approx(quantile, abs=0.02)


@given(total=st.integers(-(2**60), 2**60), clip=st.floats(1e-6, 1e6), survivors=st.integers(1, 1000))
def test_no_noise_makes_the_clip_run_away(total: int, clip: float, survivors: int) -> None:
    rule = AdaptiveClip(initial=1.0, quantile=0.5, learning_rate=0.2, bit_units=3)
    after = rule.following(clip, rule.share_within(total, survivors))
    assert math.isfinite(after)
    assert after > 0.0
    if 2.0**-19 < clip < 2.0**19:
        assert abs(math.log(after / clip)) <= 0.2 * 1.5 + 1e-9


def test_an_update_that_is_no_number_is_not_within() -> None:
    rule = AdaptiveClip(initial=1.0, quantile=0.5, learning_rate=0.2, bit_units=3)
    assert rule.coordinate(math.nan, 1.0) == rule.coordinate(math.inf, 1.0) == -3
