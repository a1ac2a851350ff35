"""The registry of events is closed, canonical and strict."""

from __future__ import annotations

import math

import pytest

from fedpriv.dp import PoissonGaussian, PoissonSkellam, event_from_dict, event_to_dict
from fedpriv.errors import IntegrityError, UsageError

GAUSSIAN = PoissonGaussian(noise_multiplier=1.651, sampling_rate=512 / 10_630)
SKELLAM = PoissonSkellam(noise_variance=2**63 + 11, sensitivity=2**21, dimension=75_000, sampling_rate=0.05)


@pytest.mark.parametrize(
    "event", [GAUSSIAN, SKELLAM, PoissonGaussian(1e-7, 1e-300), PoissonGaussian(3.0, 1.0)]
)
def test_an_event_survives_its_canonical_form_bit_for_bit(event: PoissonGaussian | PoissonSkellam) -> None:
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


@pytest.mark.parametrize("z", [0.0, -1.0, math.inf, math.nan])
def test_no_event_without_noise(z: float) -> None:
    with pytest.raises(UsageError):
        PoissonGaussian(z, 0.5)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.01, math.nan])
def test_a_rate_is_a_probability(rate: float) -> None:
    with pytest.raises(UsageError):
        PoissonGaussian(1.0, rate)
    with pytest.raises(UsageError):
        PoissonSkellam(1, 1, 1, rate)
