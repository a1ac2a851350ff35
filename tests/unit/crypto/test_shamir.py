"""The field and the sharing of secrets in it."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.crypto import Keystream, combine, split
from fedpriv.crypto.field import PRIME, decode_element, encode_element, uniform_element
from fedpriv.crypto.shamir import lagrange_at_zero
from fedpriv.errors import DecodeError, UsageError


def _is_probable_prime(n: int) -> bool:
    """Miller-Rabin with 40 bases: a composite passes with probability below 4**-40."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 42):
        value = pow(base, odd, n)
        if value in (1, n - 1):
            continue
        if not any((value := value * value % n) == n - 1 for _ in range(twos - 1)):
            return False
    return True


def test_the_modulus_is_the_smallest_prime_above_2_to_256() -> None:
    assert _is_probable_prime(PRIME)
    assert not any(_is_probable_prime(n) for n in range(2**256 + 1, PRIME, 2))


@given(st.integers(0, PRIME - 1), st.integers(1, 7), st.data())
def test_any_t_shares_give_the_secret(secret: int, threshold: int, data: st.DataObject) -> None:
    points = data.draw(st.lists(st.integers(1, 1000), min_size=threshold, max_size=9, unique=True))
    rand = Keystream(data.draw(st.binary(min_size=32, max_size=32))).read
    shares = split(secret, threshold=threshold, points=points, rand=rand)
    chosen = data.draw(st.permutations(points))[:threshold]
    assert combine({point: shares[point] for point in chosen}) == secret


def test_fewer_than_t_shares_fit_every_secret() -> None:
    # For t - 1 shares there is, for each candidate secret, exactly one value of one more share that fits.
    shares = split(1234, threshold=3, points=[1, 2, 3], rand=Keystream(bytes(32)).read)
    weights = lagrange_at_zero((1, 2, 3))
    for candidate in (0, 1, 1234, PRIME - 1):
        known = weights[0] * shares[1] + weights[1] * shares[2]
        third = (candidate - known) * pow(weights[2], -1, PRIME) % PRIME
        assert combine({1: shares[1], 2: shares[2], 3: third}) == candidate


def test_fewer_than_t_shares_do_not_give_the_secret() -> None:
    shares = split(1234, threshold=3, points=[1, 2, 3, 4], rand=Keystream(bytes(32)).read)
    assert all(combine({i: shares[i], j: shares[j]}) != 1234 for i, j in combinations(shares, 2))


@pytest.mark.parametrize(
    ("secret", "threshold", "points"),
    [(-1, 1, [1]), (PRIME, 1, [1]), (0, 0, [1]), (0, 2, [1]), (0, 1, [0]), (0, 1, [1, 1]), (0, 1, [PRIME])],
)
def test_what_cannot_be_shared_is_refused(secret: int, threshold: int, points: list[int]) -> None:
    with pytest.raises(UsageError):
        split(secret, threshold=threshold, points=points, rand=bytes)


def _naive_weight(own: int, points: list[int]) -> int:
    """Lagrange's formula, one inverse a factor."""
    weight = 1
    for other in points:
        if other != own:
            weight = weight * other * pow(other - own, -1, PRIME) % PRIME
    return weight


@settings(max_examples=40)
@given(st.lists(st.integers(1, 2000) | st.integers(1, 2**31 - 1), min_size=1, max_size=9, unique=True))
def test_the_weights_are_those_of_the_naive_formula(points: list[int]) -> None:
    assert lagrange_at_zero(points) == tuple(_naive_weight(own, points) for own in points)


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_the_weights_take_a_polynomial_of_lower_degree_to_its_value_at_zero(count: int) -> None:
    points = [7 * i + 1 for i in range(count)]
    weights = lagrange_at_zero(points)
    for degree in range(min(count, 4)):
        values = [(42 + pow(point, degree, PRIME) - (degree == 0)) % PRIME for point in points]
        assert sum(w * v for w, v in zip(weights, values, strict=True)) % PRIME == 42


@pytest.mark.parametrize("points", [(), (0,), (1, 1), (2**31,), (PRIME,), (PRIME + 1,), (-1,)])
def test_points_to_interpolate_from_are_checked(points: tuple[int, ...]) -> None:
    with pytest.raises(UsageError):
        lagrange_at_zero(points)


@given(st.integers(0, PRIME - 1))
def test_elements_survive_encoding(element: int) -> None:
    assert decode_element(encode_element(element)) == element


@pytest.mark.parametrize("data", [b"", bytes(32), bytes(34), PRIME.to_bytes(33, "big"), b"\xff" * 33])
def test_bytes_that_are_no_element_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_element(data)


def test_numbers_that_are_no_element_are_refused() -> None:
    for element in (-1, PRIME):
        with pytest.raises(UsageError):
            encode_element(element)


def test_a_uniform_element_is_48_bytes_reduced() -> None:
    assert uniform_element(lambda count: b"\xff" * count) == (2**384 - 1) % PRIME
