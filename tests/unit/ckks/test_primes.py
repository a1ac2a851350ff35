"""Primes of a ring, and the rings that are refused."""

from __future__ import annotations

import math
import random
from itertools import islice

import pytest
from tenseal import sealapi

from fedpriv.ckks.primes import is_prime, ring_primes
from fedpriv.ckks.ring_params import MAX_MODULUS_BITS, RingParams
from fedpriv.errors import UnsafeParameters, UsageError

# Strong pseudoprimes to the first 4, 8, 9 and 11 prime bases (OEIS A014233), and Carmichael numbers.
COMPOSITES = (
    3_215_031_751,
    341_550_071_728_321,
    3_825_123_056_546_413_051,
    561,
    41_041,
    825_265,
    9_746_347_772_161,
)


def _divides_nothing(number: int) -> bool:
    return number > 1 and all(number % d for d in range(2, math.isqrt(number) + 1))


def test_primes_are_those_that_trial_division_finds() -> None:
    assert [n for n in range(-3, 5000) if is_prime(n)] == [n for n in range(5000) if _divides_nothing(n)]
    generator = random.Random(11)
    for _ in range(40):
        number = generator.getrandbits(36) | 1
        assert is_prime(number) == _divides_nothing(number)


def test_composites_made_to_deceive_are_found_out() -> None:
    assert not any(map(is_prime, COMPOSITES))
    largest = 2**64 - 59
    assert is_prime(largest)
    assert not any(is_prime(n) for n in range(largest + 1, 2**64))
    assert not is_prime((2**32 - 5) * (2**32 - 17))
    with pytest.raises(UsageError, match="2\\^64"):
        is_prime(2**64)


@pytest.mark.parametrize(("bits", "degree"), [(17, 4096), (30, 2048), (48, 8192), (57, 8192), (60, 16384)])
def test_ring_primes_are_those_that_seal_chooses(bits: int, degree: int) -> None:
    ours = [prime for prime in islice(ring_primes(bits, degree), 4) if prime.bit_length() == bits]
    theirs = {prime.value() for prime in sealapi.CoeffModulus.Create(degree, [bits] * len(ours))}
    assert ours
    assert set(ours) == theirs


@pytest.mark.parametrize(("bits", "degree"), [(1, 4096), (61, 4096), (30, 4095), (30, 0), (30, -4)])
def test_a_size_that_no_ring_has_is_refused(bits: int, degree: int) -> None:
    with pytest.raises(UsageError):
        ring_primes(bits, degree)


def test_a_ring_takes_its_message_primes_first() -> None:
    ring = RingParams.of_bits(8192, 48, 48, 2, 48)
    assert [*ring.message_primes, ring.noise_prime, ring.special_prime] == list(
        islice(ring_primes(48, 8192), 4)
    )
    assert ring.primes == (ring.noise_prime, *ring.message_primes)
    assert ring.key_primes == (*ring.primes, ring.special_prime)
    assert ring.modulus_bits == 192


@pytest.mark.parametrize(
    ("degree", "noise", "messages", "special"), [(4096, 20, 1, 39), (8192, 20, 3, 48), (16384, 40, 7, 48)]
)
def test_a_modulus_may_have_the_bits_of_the_standard_and_not_one_more(
    degree: int, noise: int, messages: int, special: int
) -> None:
    most = MAX_MODULUS_BITS[degree]
    assert sealapi.CoeffModulus.MaxBitCount(degree, sealapi.SEC_LEVEL_TYPE.TC128) == most
    assert RingParams.of_bits(degree, noise, 50, messages, special).modulus_bits == most
    with pytest.raises(UnsafeParameters, match="less than 128 bits"):
        RingParams.of_bits(degree, noise, 50, messages, special + 1)


def test_unfit_primes_are_refused() -> None:
    good = RingParams.of_bits(4096, 17, 45, 1, 47)
    p0, (p1,), ps = good.noise_prime, good.message_primes, good.special_prime
    for degree, noise, messages, special in (
        (4096, p0, (), ps),
        (4096, p0, (p0,), ps),
        (4096, p0, (p1,), p1),
        (4096, p0 + 8192, (p1,), ps),
        (4096, 65_539, (p1,), ps),  # a prime, but not 1 modulo 2N
        (4096, 1, (p1,), ps),
        (4096, 8193, (), ps),
        (4096, p0, (next(iter(ring_primes(45, 2048))) + 4096,), ps),
        (1024, p0, (p1,), ps),
        (5000, p0, (p1,), ps),
        (32768, p0, (p1,), ps),
    ):
        with pytest.raises(UnsafeParameters):
            RingParams(degree, noise, messages, special)
    with pytest.raises(UnsafeParameters, match="fewer than 3 free primes"):
        RingParams.of_bits(8192, 20, 17, 3, 50)
