"""Attacks on what decryption says: each works on the shortcut that people take, and not on what is done here.

Rings are those that real runs have.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import prod

import numpy as np
import pytest
from numpy.typing import NDArray
from parties.ckks_algebra import joined, nearest_rest, quotient, short_basis
from parties.ckks_sums import (
    BOUND,
    CLIENTS,
    SESSION,
    SUM,
    Rows,
    Run,
    encrypted,
    encrypted_sum,
    is_uniform,
    knows_nothing_of,
    plan,
    subset_secrets,
)

from fedpriv.ckks import modular
from fedpriv.ckks.flooding import gauss, subset_flood
from fedpriv.ckks.key import common, part, public_key, secret_polynomial, share_of, uniform
from fedpriv.ckks.ring import Ring

MODES = ("authority", "shared-key", "threshold")


@pytest.mark.parametrize("noise", [False, True], ids=["plain", "noise-before-encryption"])
@pytest.mark.parametrize("mode", MODES)
def test_a_raw_decryption_of_a_sum_of_many_gives_the_whole_key(mode: str, noise: bool) -> None:
    run = encrypted_sum(mode, noise)
    raw = run.raw()
    assert np.array_equal(run.sums(raw), run.total)
    assert run.solved(raw) == run.key


@pytest.mark.parametrize("mode", ["authority", "shared-key"])
def test_the_exact_sum_gives_no_key(mode: str) -> None:
    run = encrypted_sum(mode)
    released = run.words(run.raw())
    assert np.array_equal(released[0], np.zeros(run.params.ring.degree))
    assert knows_nothing_of(run.solved(released), run.key, run.primes[1])


def test_a_committees_opening_gives_the_sum_and_no_key() -> None:
    run = encrypted_sum("threshold")
    opened = run.opened(
        {holder: run.answer(holder) for holder in run.params.holders[-run.params.threshold :]}
    )
    assert np.array_equal(run.sums(opened), run.total)
    for guess in (opened, run.words(opened)):
        assert knows_nothing_of(run.solved(guess), run.key, run.primes[1])


def test_a_narrow_flood_lets_the_noise_of_encryption_through_and_ours_does_not() -> None:
    run = encrypted_sum("threshold")
    noise = modular.centred(run.raw()[0], run.primes[0])
    seen = {}
    for variance in (run.params.noise_variance, run.params.flood_variance):
        holders = run.params.holders[: run.params.threshold]
        opened = run.opened({holder: run.answer(holder, variance) for holder in holders})
        seen[variance] = np.corrcoef(modular.centred(opened[0], run.primes[0]), noise)[0, 1]
    narrow, ours = seen.values()
    assert narrow > 0.2  # 1 / sqrt(1 + subsets) is 0.30
    assert abs(ours) < 5 / np.sqrt(run.params.ring.degree)  # 6e-7


def test_an_answer_without_flood_gives_the_holders_share() -> None:
    run = encrypted_sum("threshold")
    victim, prime = run.params.holders[2], run.primes[1]
    share = run.share_row(victim)
    bare, flooded = run.share(victim).times(run.second), run.answer(victim)
    assert quotient(bare[1].tolist(), run.second[1].tolist(), prime) == share
    assert knows_nothing_of(quotient(flooded[1].tolist(), run.second[1].tolist(), prime), share, prime)


def test_all_but_one_secret_and_the_opening_do_not_give_the_last_one() -> None:
    # t - 1 holders and the server take away from the opening all that they know: c_0 + c_1 s + F_A remains of
    # the one subset A that they miss.
    run = encrypted_sum("threshold")
    params, prime = run.params, run.primes[1]
    corrupted = params.holders[: params.threshold - 1]
    (missed,) = (subset for subset in run.secrets if not set(subset) & set(corrupted))
    last = secret_polynomial(run.secrets[missed], params.ring.degree)
    known = sum(
        secret_polynomial(run.secrets[subset], params.ring.degree)
        for subset in run.secrets
        if subset != missed
    )
    floods = sum(
        subset_flood(
            secret, params.ring.degree, round_=1, second=SUM, chunk=0, variance=params.flood_variance
        )
        for subset, secret in run.secrets.items()
        if subset != missed
    )
    product = run.ring.times(run.second[np.newaxis], run.ring.factor(modular.residues(known, run.primes)))[0]

    def last_secret(opened: Rows, floods: NDArray[np.int64]) -> list[int]:
        rest = modular.subtract(opened, modular.residues(floods, run.primes), run.primes)
        return run.solved(modular.subtract(rest, product, run.primes))

    assert last_secret(run.raw(), np.zeros_like(known)) == last.tolist()
    opened = run.opened({holder: run.answer(holder) for holder in params.holders[: params.threshold]})
    assert knows_nothing_of(last_secret(opened, floods), last.tolist(), prime)


def test_one_share_short_sees_uniform_residues_and_t_the_sum() -> None:
    run = encrypted_sum("threshold")
    params, degree = run.params, run.params.ring.degree
    holders = params.holders[: params.threshold]
    enough = run.opened({holder: run.answer(holder) for holder in holders})
    assert np.array_equal(run.sums(enough), run.total)
    assert not is_uniform(enough[0], run.primes[0])

    short = run.opened({holder: run.share(holder).times(run.second) for holder in holders[:-1]})
    known = sum(
        secret_polynomial(secret, degree)
        for subset, secret in run.secrets.items()
        if set(subset) & set(holders[:-1])
    )
    factor = run.ring.factor(modular.residues(known, run.primes))
    best = modular.add(run.first, run.ring.times(run.second[np.newaxis], factor)[0], run.primes)
    for guess in (short, best):
        assert all(is_uniform(row, prime) for row, prime in zip(guess, run.primes, strict=True))


# Shamir's sharing as it is commonly thresholded: holder j answers λ_j c_1 S_j + f, f drawn for each answer.
# Two answers under different sets leave (f, f') in a coset of a plane lattice with the vector (v, u), where
# λ'/λ = u/v in lowest terms.  All is over where no vector of it is as short as the noise.  In a committee of
# five with points 1..5 this one is, and two answers give f modulo v only; there it takes the mean of many.


def _lagrange(points: tuple[int, ...], at: int) -> Fraction:
    return prod((Fraction(other, other - at) for other in points if other != at), start=Fraction(1))


def _share_from_two_answers(
    run: Run, answers: tuple[Rows, Rows], weights: tuple[Fraction, Fraction]
) -> list[int]:
    """D = λ y + f and D' = λ' y + f': (f, f') is (0, D' - ρ D) less a point of a plane lattice, ρ = λ'/λ."""
    (one, q), (other, _) = (joined(answer.tolist(), run.primes) for answer in answers)
    first, second = (x.numerator * pow(x.denominator, -1, q) % q for x in weights)
    ratio = second * pow(first, -1, q) % q
    basis = short_basis(ratio, q)
    prime = run.primes[1]
    inverse = pow(first, -1, prime)
    products = []
    for x, y in zip(one, other, strict=True):
        noise, _ = nearest_rest((y - ratio * x) % q, basis)
        products.append((x - noise) * inverse % prime)
    return quotient(products, run.second[1].tolist(), prime)


@pytest.mark.parametrize("points", ["ranks-of-64", "hashes"])
def test_two_answers_with_fresh_noise_give_a_share_away_and_ours_do_not(points: str) -> None:
    run = encrypted_sum("threshold")
    params, prime, degree = run.params, run.primes[1], run.params.ring.degree
    if points == "hashes":  # a holder's point is a hash of its name: two sets of three are enough
        drawn = [int.from_bytes(hashlib.sha256(bytes([i])).digest()[:12]) for i in range(5)]
        victim, sets = drawn[0], (tuple(drawn[:3]), (drawn[0], *drawn[3:]))
    else:  # points 1..64, and 33 of them answer
        victim, sets = 64, ((*range(1, 33), 64), (*range(32, 64), 64))
    weights = tuple(_lagrange(answering, victim) for answering in sets)
    rows = uniform(b"a share is uniform".ljust(32), run.primes, degree)
    product = run.ring.times(run.second[np.newaxis], run.ring.factor(rows))[0]
    fresh = [
        modular.residues(gauss(bytes([i]) * 32, params.flood_variance, degree), run.primes) for i in (1, 2)
    ]

    def answer(weight: Fraction, noise: Rows) -> Rows:
        factors = [weight.numerator * pow(weight.denominator, -1, p) % p for p in run.primes]
        return modular.add(modular.scale(product, factors, run.primes), noise, run.primes)

    naive = tuple(answer(weight, noise) for weight, noise in zip(weights, fresh, strict=True))
    share = modular.centred(rows[1], prime).tolist()
    assert _share_from_two_answers(run, naive, weights) == share

    holder = params.holders[0]
    ours = run.answer(holder), _again(run).answer(holder)  # asked twice, after a restart
    assert ours[0].tobytes() == ours[1].tobytes()
    share = run.share_row(holder)
    assert knows_nothing_of(_share_from_two_answers(run, ours, weights), share, prime)


def _again(run: Run) -> Run:
    """The same secrets, in another process as it were."""
    return Run(run.params, Ring(run.params.ring), dict(run.secrets), run.first, run.second, run.total)


def test_the_mean_of_many_answers_with_fresh_noise_gives_a_share_away_and_ours_does_not() -> None:
    # Small noise makes it quick: 4 / sqrt(2500) = 0.08, a coefficient is 6 of that from being rounded wrong:
    # 3e-6 for all.  What noise is worth grows with its variance, so wide noise only puts it off.
    run = encrypted_sum("threshold")
    holder, prime, degree = run.params.holders[1], run.primes[1], run.params.ring.degree
    share = run.share_row(holder)
    times = 2500
    product = run.share(holder).times(run.second)[1]
    noises = (gauss(i.to_bytes(32, "big"), 16, degree) for i in range(times))
    start = next(noises)
    answer = (product + modular.residues(start, (prime,))[0]) % np.uint64(prime)
    # What the differences of answers amount to, each taken modulo p and centred.
    drift = sum((noise - start for noise in noises), start=np.zeros(degree, np.int64))
    mean = (answer.astype(np.int64) + np.rint(drift / times).astype(np.int64)) % prime
    assert quotient(mean.tolist(), run.second[1].tolist(), prime) == share

    ours = [run.answer(holder)[1] for _ in range(4)]
    assert len({answer.tobytes() for answer in ours}) == 1
    found = quotient(ours[0].tolist(), run.second[1].tolist(), prime)
    assert knows_nothing_of(found, share, prime)


def test_a_part_chosen_after_the_others_makes_the_key_the_attackers() -> None:
    params = plan("threshold", holders=(1, 2), threshold=2)
    ring, secrets = Ring(params.ring), subset_secrets(params)
    a = common(SESSION, 1, params.ring)
    others, own = (part(ring, a, secrets[(holder,)]) for holder in (1, 2))
    chosen = modular.subtract(own, others, params.ring.key_primes)
    vectors = np.random.default_rng(2).integers(-BOUND, BOUND + 1, (CLIENTS, params.dimension))
    alone = share_of(ring, (2,), 2, {(2,): secrets[(2,)]})
    for sent, reads in ((chosen, True), (own, False)):
        public = np.stack([public_key([others, sent], params.ring), a])
        first, second = encrypted(params, ring, public, vectors[:1])  # one client's
        run = Run(params, ring, secrets, first, second, vectors[0])
        x = modular.add(first, alone.times(second), params.ring.primes)
        assert is_uniform(x[0], params.ring.noise_prime) is not reads
        if reads:
            assert np.array_equal(run.sums(x), vectors[0])
