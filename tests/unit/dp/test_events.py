"""The registry of events is closed, canonical and strict."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from fedpriv.dp import (
    BandedMatrixRound,
    Event,
    InTurns,
    PoissonDiscreteGaussian,
    PoissonGaussian,
    PoissonSkellam,
    PoissonSkellamSteps,
    SkellamWithQuantile,
    event_from_dict,
    event_to_dict,
    variance_for,
)
from fedpriv.errors import IntegrityError, UsageError

GAUSSIAN = PoissonGaussian(noise_multiplier=1.651, sampling_rate=512 / 10_630)
SKELLAM = PoissonSkellam(noise_variance=2**63 + 11, sensitivity=2**21, dimension=75_000, sampling_rate=0.05)


@pytest.mark.parametrize(
    "event",
    [
        GAUSSIAN,
        SKELLAM,
        PoissonGaussian(1e-7, 1e-300),
        PoissonGaussian(3.0, 1.0),
        PoissonDiscreteGaussian(2**40 + 1, 7, 2**21, 75_000, 0.05),
        SkellamWithQuantile(2**63 + 11, 2**21, 75_000, 2**41, 2**19, 1.0),
        BandedMatrixRound(7.25, 12),
        InTurns(SKELLAM, 4),
        InTurns(PoissonSkellamSteps(400, 10, 3, 0.5, 7), 2),
    ],
)
def test_an_event_survives_its_canonical_form_bit_for_bit(event: Event) -> None:
    fields = event_to_dict(event)
    assert all(isinstance(value, str) for value in fields.values())
    assert event_from_dict(fields) == event


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "poisson-laplace"},
        {"kind": None},
        {"extra": "1"},
        {"noise_variance": 400},
        {"noise_variance": "0400"},
        {"noise_variance": "-1"},
        {"noise_variance": "0"},
        {"noise_variance": "1e3"},
        {"sampling_rate": "0.50"},
        {"sampling_rate": "nan"},
        {"sampling_rate": "1.5"},
        {"sampling_rate": "0.0"},
        {"dimension": "\u0663"},
    ],
)
def test_anything_but_the_canonical_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        event_from_dict({**event_to_dict(SKELLAM), **change})


def test_a_missing_field_is_named() -> None:
    fields = dict(event_to_dict(SKELLAM))
    del fields["dimension"]
    with pytest.raises(IntegrityError, match="dimension"):
        event_from_dict(fields)


@pytest.mark.parametrize("variance", [1, 2, 400, 2**42 + 1, 2**60 - 1, 3**50])
@pytest.mark.parametrize("sensitivity", [1, 7, 2**21 - 1])
def test_the_multiplier_of_a_skellam_event_is_never_rounded_up(variance: int, sensitivity: int) -> None:
    z = PoissonSkellam(variance, sensitivity, 1, 0.5).noise_multiplier
    numerator, denominator = z.as_integer_ratio()
    assert (numerator * sensitivity) ** 2 <= variance * denominator**2
    assert z >= math.sqrt(variance) / sensitivity * (1 - 1e-15)


def test_every_published_kind_keeps_its_form() -> None:
    assert event_to_dict(PoissonDiscreteGaussian(100, 4, 10, 3, 0.5)) == {
        "kind": "poisson-discrete-gaussian",
        "share_variance": "100",
        "shares": "4",
        "sensitivity": "10",
        "dimension": "3",
        "sampling_rate": "0.5",
    }
    assert event_to_dict(SkellamWithQuantile(450, 10, 3, 9, 1, 1.0)) == {
        "kind": "skellam-with-quantile",
        "noise_variance": "450",
        "sensitivity": "10",
        "dimension": "3",
        "bit_variance": "9",
        "bit_sensitivity": "1",
        "sampling_rate": "1.0",
    }
    assert event_to_dict(BandedMatrixRound(2.0, 3)) == {
        "kind": "banded-matrix-round",
        "noise_multiplier": "2.0",
        "bands": "3",
    }


@pytest.mark.parametrize("bit", [(1, 1), (9, 2), (2**60, 2**28 - 1), (3**50, 7)])
def test_the_multiplier_of_a_joint_event_is_never_rounded_up(bit: tuple[int, int]) -> None:
    for variance, sensitivity in ((400, 7), (2**60 - 1, 2**21 - 1)):
        event = SkellamWithQuantile(variance, sensitivity, 1, *bit, sampling_rate=1.0)
        exact = 1 / (Fraction(sensitivity**2, variance) + Fraction(bit[1] ** 2, bit[0]))
        assert Fraction(event.noise_multiplier) ** 2 <= exact
        assert event.noise_multiplier >= math.sqrt(exact) * (1 - 1e-15)


def test_the_least_variance_for_a_multiplier() -> None:
    for z, sensitivity, shares in ((0.935, 2**21, 1), (1.7, 1000, 7), (3.0, 1, 50)):
        variance = variance_for(z, sensitivity, shares=shares)
        assert variance * shares >= (Fraction(z) * sensitivity) ** 2 > (variance - 1) * shares
    with pytest.raises(UsageError):
        variance_for(1.0, 0)


@pytest.mark.parametrize("z", [0.0, -1.0, math.inf, math.nan])
def test_no_event_without_noise(z: float) -> None:
    with pytest.raises(UsageError):
        PoissonGaussian(z, 0.5)
    with pytest.raises(UsageError):
        BandedMatrixRound(z, 2)


def test_integer_fields_are_positive_integers() -> None:
    for value in (0, -1, 1.5):
        with pytest.raises(UsageError, match="positive integer"):
            BandedMatrixRound(1.0, value)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="positive integer"):
            PoissonDiscreteGaussian(1, value, 1, 1, 0.5)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="positive integer"):
            SkellamWithQuantile(1, 1, 1, 1, value, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.01, math.nan])
def test_a_rate_is_a_probability(rate: float) -> None:
    with pytest.raises(UsageError):
        PoissonGaussian(1.0, rate)
    with pytest.raises(UsageError):
        PoissonSkellam(1, 1, 1, rate)
