"""What a run agrees on: figures that are expected, and everything that would not protect refused."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.ckks import security
from fedpriv.ckks.params import CkksParams, least_threshold
from fedpriv.ckks.primes import ring_primes
from fedpriv.ckks.ring_choice import DEGREES
from fedpriv.ckks.ring_params import MAX_MODULUS_BITS, RingParams
from fedpriv.ckks.wire import pack_rows
from fedpriv.errors import UnsafeParameters, UsageError

DOCUMENT = Path(__file__).resolve().parents[3] / "protocols" / "ckks" / "parameters.md"
BOUND_24 = 838_860  # of ten clients: sums of 24 bits


def made(**changes: Any) -> CkksParams:
    numbers: dict[str, Any] = {
        "mode": "threshold",
        "clients": 10,
        "dimension": 100_000,
        "bound": BOUND_24,
        **changes,
    }
    return CkksParams.for_sum(**numbers)


@pytest.fixture(scope="module")
def threshold() -> CkksParams:
    return made()


@pytest.fixture(scope="module")
def authority() -> CkksParams:
    return made(mode="authority")


@pytest.mark.parametrize(
    ("mode", "dimension", "least", "most"),
    [
        ("authority", 4_000_000, 1.55, 1.7),
        ("shared-key", 4_000_000, 1.55, 1.7),
        ("threshold", 4_000_000, 1.7, 1.8),
        ("authority", 75_000, 1.5, 2.0),
    ],
)
def test_uploads_are_as_short_as_promised(mode: str, dimension: int, least: float, most: float) -> None:
    assert least <= made(mode=mode, dimension=dimension).wire_ratio <= most


def test_no_layout_is_much_shorter() -> None:
    """A lower bound from sizes alone, whatever primes there are: within 7 % of it, over many sums."""
    for mode, bits, dimension in product(
        ("authority", "threshold"), (16, 24, 32), (3_000, 75_000, 1_000_000)
    ):
        found = made(mode=mode, bound=((1 << bits) - 1) // 20, dimension=dimension)
        best = math.inf
        for degree, digits, messages in product(DEGREES, range(1, 5), range(1, 13)):
            chunks = -(-dimension // (degree * digits * messages))
            total = degree * chunks * 16
            variance = security.sum_variance(degree, found.secrets, 10)
            if mode == "threshold":
                variance += found.secrets * security.flood_variance(variance, total, 30)
            noise_bits = max(security.least_noise_prime(variance, total).bit_length(), 14)
            if digits * bits > 59:
                continue
            largest = next(ring_primes(digits * bits, degree), 0)
            q_bits = noise_bits + messages * (digits * bits + (largest < found.layout.base**digits))
            if noise_bits <= 60 and q_bits + 30 <= MAX_MODULUS_BITS[degree]:
                coefficients = chunks * degree + -(-dimension // (digits * messages))
                best = min(best, coefficients * q_bits / 8)
        assert best <= found.upload_bytes <= 1.07 * best


def test_bytes_are_those_of_a_packed_vector(authority: CkksParams, threshold: CkksParams) -> None:
    for params in (authority, threshold):
        layout, primes, degree = params.layout, params.ring.primes, params.ring.degree
        sent = sum(
            len(pack_rows(np.zeros((len(primes), count), np.uint64), primes))
            for chunk in range(layout.chunks)
            for count in (layout.used(chunk), degree)
        )
        assert params.upload_bytes == sent
        second = layout.chunks * len(pack_rows(np.zeros((len(primes), degree), np.uint64), primes))
        first = sent - second
        alone = params.threshold == 1
        assert params.opening_bytes == 10 * second + (first if alone else 0)
        assert replace(params, malicious=False).opening_bytes == second + (first if alone else 0)
        assert params.answer_bytes == (100_000 * 24 // 8 if alone else first)
        keys = np.zeros((len(params.ring.key_primes), degree), np.uint64)
        assert params.key_bytes == len(pack_rows(keys, params.ring.key_primes))


def test_holders_and_threshold_are_those_of_the_mode(authority: CkksParams, threshold: CkksParams) -> None:
    assert (authority.holders, authority.threshold, authority.flood_variance) == ((0,), 1, 0)
    assert (threshold.holders, threshold.threshold, threshold.secrets) == ((1, 2, 3, 4, 5), 4, 10)
    assert threshold.subsets[:2] == ((1, 2), (1, 3))
    shared = made(mode="shared-key")
    assert (shared.holders, shared.threshold, shared.flood_variance) == (tuple(range(1, 11)), 1, 0)
    few = made(clients=3, max_colluders=1)
    assert (few.holders, few.threshold, few.min_survivors) == ((1, 2, 3), 3, 3)
    assert made(malicious=False).threshold == 2
    assert made(holders=[2, 5, 9], max_colluders=0).threshold == 2
    assert (authority.min_survivors, made(max_colluders=3, malicious=False).min_survivors) == (6, 6)


def test_only_a_shared_key_is_warned_about(authority: CkksParams, threshold: CkksParams) -> None:
    assert authority.warning is None
    assert threshold.warning is None
    assert "any one client reads every other client's update" in str(made(mode="shared-key").warning)


@given(holders=st.integers(2, 64), colluders=st.integers(0, 64), malicious=st.booleans())
def test_the_least_threshold_is_safe_and_one_less_is_not(
    holders: int, colluders: int, malicious: bool
) -> None:
    def safe(threshold: int) -> bool:
        two_sums = malicious and 2 * threshold <= holders + colluders
        return threshold >= 2 and colluders < threshold and not two_sums

    least = least_threshold(holders, colluders, malicious=malicious)
    assert safe(least)
    assert not safe(least - 1)


@settings(max_examples=6, deadline=None)
@given(clients=st.integers(3, 400), more=st.integers(1, 400), dimension=st.integers(1, 300_000))
def test_more_clients_never_take_fewer_noise_bits(clients: int, more: int, dimension: int) -> None:
    few = CkksParams.for_sum(
        mode="threshold", clients=clients, dimension=dimension, bound=100, holders=(1, 2, 3)
    )
    variance = few.noise_variance + few.secrets * few.flood_variance
    total = security.coefficients_of_key(few.ring.degree, few.layout.chunks, few.sums_per_key)
    assert few.noise_limit**2 >= security.tail_square(total) * variance
    with pytest.raises(UnsafeParameters):  # the flood of few clients does not hide the noise of more
        replace(few, clients=clients + more)
    many = CkksParams.for_sum(
        mode="threshold", clients=clients + more, dimension=dimension, bound=100, holders=(1, 2, 3)
    )
    if (many.ring.degree, many.layout.chunks) == (few.ring.degree, few.layout.chunks):
        assert many.ring.noise_prime >= few.ring.noise_prime
        assert many.flood_variance > few.flood_variance


def test_more_statistical_bits_never_take_a_smaller_flood() -> None:
    found = [made(dimension=30_000, statistical_bits=bits) for bits in (20, 24, 28, 31)]
    for one, other in pairwise(found):
        assert other.flood_variance > one.flood_variance
        assert other.upload_bytes >= one.upload_bytes


def lower_noise_prime(ring: RingParams) -> RingParams:
    """The same ring with the largest noise prime of two bits less."""
    bits = ring.noise_prime.bit_length() - 2
    return replace(ring, noise_prime=next(ring_primes(bits, ring.degree)))


def lower_special_prime(ring: RingParams) -> RingParams:
    primes = (prime for prime in ring_primes(20, ring.degree) if prime not in ring.primes)
    return replace(ring, special_prime=next(primes))


def test_parameters_that_were_tampered_with_are_refused(threshold: CkksParams, authority: CkksParams) -> None:
    tampered: list[tuple[CkksParams, dict[str, Any], str]] = [
        (threshold, {"flood_variance": threshold.flood_variance - 1}, "A flood of variance"),
        (threshold, {"flood_variance": 0}, "A flood of variance 0 "),
        (threshold, {"statistical_bits": 31}, "31 statistical bits"),
        (threshold, {"sums_per_key": 17}, "A flood of variance"),
        (threshold, {"clients": 11}, "A flood of variance"),
        (threshold, {"flood_variance": threshold.flood_variance * 1000}, "[CK-4]"),
        (threshold, {"ring": lower_noise_prime(threshold.ring)}, "[CK-4]"),
        (threshold, {"ring": lower_special_prime(threshold.ring)}, "special prime"),
        (threshold, {"threshold": 3}, "two different sums of one round"),
        (threshold, {"threshold": 3, "max_colluders": 3}, "colluders open sums"),
        (threshold, {"max_colluders": 3}, "[CK-1]"),
        (threshold, {"digits": threshold.digits + 1}, "do not fit into a prime"),
        (threshold, {"bound": 2 * BOUND_24 + 2}, "do not fit into a prime"),
        (threshold, {"min_survivors": 2}, "fewer than two are honest"),
        (authority, {"clients": 10_000, "bound": 800}, "[CK-4]"),
        (authority, {"flood_variance": 1}, "A flood of variance 1 "),
        (authority, {"ring": lower_special_prime(authority.ring)}, "special prime"),
    ]
    for params, change, words in tampered:
        with pytest.raises(UnsafeParameters) as caught:
            replace(params, **change)
        assert words in f"{caught.value} {caught.value.hint}", change


def test_what_is_chosen_stands_up_to_the_checks_again(threshold: CkksParams) -> None:
    assert replace(threshold) == threshold
    assert replace(threshold, flood_variance=threshold.flood_variance + 1) != threshold


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bound": 1 << 57}, "Lower bound to at most"),
        ({"clients": 2}, "Set max_colluders to at most 0"),
        ({"max_colluders": 9}, "Set max_colluders to at most 8"),
        ({"max_colluders": 4, "min_survivors": 5}, "Set min_survivors to at least 6"),
        ({"max_colluders": 5}, "Take more holders, or lower max_colluders. [CK-1]"),
        ({"threshold": 1}, "makes every holder an authority"),
        ({"threshold": 1, "malicious": False, "max_colluders": 0}, "Set it to at least 2. [CK-1]"),
        ({"threshold": 2, "malicious": False, "max_colluders": 2}, "lets the colluders open sums"),
        ({"threshold": 3}, "Set it to at least 4. [CK-1]"),
        ({"holders": (1,)}, "[CK-1]"),
        ({"holders": range(1, 11)}, "252 subsets"),
        ({"holders": range(1, 66), "clients": 100}, "A committee of 65 is too large"),
        ({"clients": 1000, "bound": 100, "dimension": 4_000_000}, "Lower statistical_bits to "),
        ({"statistical_bits": 64}, "times too large"),
    ],
)
def test_what_would_not_protect_is_refused_with_the_number_to_change(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsafeParameters) as caught:
        made(**change)
    assert words in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "none"},
        {"clients": 1},
        {"clients": 10.0},
        {"dimension": 0},
        {"bound": 0},
        {"bound": True},
        {"min_survivors": 1},
        {"min_survivors": 11},
        {"max_colluders": -1},
        {"max_colluders": "1"},
        {"threshold": 6},
        {"holders": (2, 1, 3)},
        {"holders": (1, 1, 2)},
        {"holders": (0, 1, 2)},
        {"holders": (9, 10, 11)},
        {"holders": (1, 2.0, 3)},
        {"mode": "authority", "holders": (1,)},
        {"mode": "authority", "threshold": 2},
        {"mode": "shared-key", "holders": (1, 2)},
        {"malicious": 1},
        {"sums_per_key": 0},
        {"statistical_bits": 19},
        {"statistical_bits": 65},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        made(**change)


@pytest.mark.parametrize(
    "numbers",
    [
        {"clients": 1000, "dimension": 4_000_000, "bound": 8_000},
        {"clients": 100, "dimension": 4_000_000, "bound": 80_000},
        {"clients": 300, "dimension": 100_000, "bound": 1, "holders": range(1, 10)},
        {"statistical_bits": 40},
    ],
    ids=str,
)
def test_the_numbers_that_a_refusal_names_serve(numbers: dict[str, Any]) -> None:
    with pytest.raises(UnsafeParameters) as caught:
        made(**numbers)
    named = dict(re.findall(r"(statistical_bits|sums_per_key) to (\d+)", caught.value.hint))
    assert named
    for name, value in named.items():
        assert made(**{**numbers, name: int(value)}).flood_variance


def test_the_canonical_form_says_everything_once(threshold: CkksParams, authority: CkksParams) -> None:
    numbers = json.loads(threshold.canonical())
    ring = numbers.keys() & {"degree", "noise_prime", "message_primes", "special_prime"}
    assert numbers.keys() - ring - {"version"} == {field.name for field in fields(CkksParams)} - {"ring"}
    assert numbers["flood_variance"] == threshold.flood_variance
    assert threshold.canonical() != authority.canonical()
    assert replace(threshold, malicious=False).canonical() != threshold.canonical()
    assert CkksParams.for_sum(mode="threshold", clients=10, dimension=100_000, bound=BOUND_24) == threshold


def test_the_document_shows_a_canonical_form() -> None:
    shown = re.search(r"^    (\{.*\})$", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert shown
    params = CkksParams.for_sum(mode="threshold", clients=4, dimension=1000, bound=1000, holders=(1, 2, 3))
    assert shown[1].encode() == params.canonical()
