"""Keys of real size with everything an attack may be given: secrets, shares, and an encrypted sum.

Secrets come from fixed bytes; encryptions draw from the system, so a bound on them is missed with the
probability that stands beside it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from parties.ckks_algebra import quotient
from scipy import stats

from fedpriv.ckks import modular
from fedpriv.ckks.committee import combine, subsets
from fedpriv.ckks.flooding import flood, gauss
from fedpriv.ckks.key import Share, common, part, public_key, secret_polynomial, share_of
from fedpriv.ckks.params import CkksParams
from fedpriv.ckks.ring import Ring

CLIENTS = 8
BOUND = 2**40  # a message prime of 45 bits: division modulo it fails with a chance below 2^-31
SESSION = bytes(32)
SUM = hashlib.sha256(b"the second half of a sum").digest()
Rows = NDArray[np.uint64]


@dataclass(frozen=True)
class Run:
    """A key, and the sum of what eight clients have sent under it: one chunk."""

    params: CkksParams
    ring: Ring
    secrets: dict[tuple[int, ...], bytes]
    first: Rows
    second: Rows
    total: NDArray[np.int64]

    @property
    def primes(self) -> tuple[int, ...]:
        return self.params.ring.primes

    @property
    def key(self) -> list[int]:
        """s, which nobody is to know."""
        degree = self.params.ring.degree
        return sum(secret_polynomial(secret, degree) for secret in self.secrets.values()).tolist()

    def own(self, holder: int) -> dict[tuple[int, ...], bytes]:
        return {subset: secret for subset, secret in self.secrets.items() if holder in subset}

    def share(self, holder: int) -> Share:
        return share_of(self.ring, self.params.holders, holder, self.own(holder))

    def share_row(self, holder: int) -> list[int]:
        """S_j modulo p_1, centred: what an attack on a holder is after."""
        one = np.zeros_like(self.second)
        one[:, 0] = 1
        return modular.centred(self.share(holder).times(one)[1], self.primes[1]).tolist()

    def flood(self, holder: int, variance: int) -> Rows:
        ring = self.params.ring
        own, holders = self.own(holder), self.params.holders
        return flood(ring, holders, holder, own, round_=1, second=SUM, chunk=0, variance=variance)

    def answer(self, holder: int, variance: int | None = None) -> Rows:
        """What the holder sends in mode `threshold`; with a flood of another variance where one is given."""
        flooding = self.flood(holder, variance or self.params.flood_variance)
        return self.share(holder).partial(self.second, flooding)

    def opened(self, answers: dict[int, Rows]) -> Rows:
        """x + F, or x where the answers are without a flood."""
        return modular.add(self.first, combine(self.params.holders, answers, self.primes), self.primes)

    def raw(self) -> Rows:
        """x = W + e: what must not leave a holder."""
        holders = self.params.holders[: self.params.threshold]
        return self.opened({holder: self.share(holder).times(self.second) for holder in holders})

    def words(self, opened: Rows) -> Rows:
        """W: the opened residues without the noise that the first one shows."""
        noise = modular.centred(opened[0], self.primes[0])
        assert np.abs(noise).max() <= self.params.noise_limit
        return modular.subtract(opened, modular.residues(noise, self.primes), self.primes)

    def sums(self, opened: Rows) -> NDArray[np.int64]:
        layout = self.params.layout
        return layout.read(self.words(opened)[1:, : layout.used(0)], layout.dimension)

    def solved(self, opened: Rows) -> list[int]:
        """The attack of Li and Micciancio (EUROCRYPT 2021): s = (x - c_0) / c_1, here modulo p_1."""
        above = modular.subtract(opened, self.first, self.primes)[1]
        return quotient(above.tolist(), self.second[1].tolist(), self.primes[1])


def plan(mode: str, **more: Any) -> CkksParams:
    return CkksParams.for_sum(mode=mode, clients=CLIENTS, dimension=3000, bound=BOUND, **more)


def subset_secrets(params: CkksParams) -> dict[tuple[int, ...], bytes]:
    found = subsets(params.holders, params.threshold)
    return {subset: hashlib.sha256(bytes(subset)).digest() for subset in found}


def encrypted(params: CkksParams, ring: Ring, public: Rows, vectors: NDArray[np.int64]) -> tuple[Rows, Rows]:
    encryptor, primes = ring.encryptor(public), params.ring.primes
    shape = (len(primes), params.ring.degree)
    first, second = np.zeros(shape, np.uint64), np.zeros(shape, np.uint64)
    for vector in vectors:
        c_0, c_1 = encryptor.zero()
        words = np.zeros(shape, np.uint64)
        words[1:, : params.layout.used(0)] = params.layout.place(vector)
        first = modular.add(first, modular.add(c_0, words, primes), primes)
        second = modular.add(second, c_1, primes)
    return first, second


@lru_cache
def encrypted_sum(mode: str, noise: bool = False) -> Run:
    params = plan(mode)
    ring, secrets = Ring(params.ring), subset_secrets(params)
    a = common(SESSION, 1, params.ring)
    b = public_key([part(ring, a, secret) for secret in secrets.values()], params.ring)
    rng = np.random.default_rng(1)
    vectors = rng.integers(-BOUND // 2, BOUND // 2, (CLIENTS, params.dimension))
    if noise:
        vectors += np.array([gauss(bytes([i]) * 32, 2**70, params.dimension) for i in range(CLIENTS)])
        vectors = vectors.clip(-params.bound, params.bound)
    first, second = encrypted(params, ring, np.stack([b, a]), vectors)
    return Run(params, ring, secrets, first, second, vectors.sum(axis=0))


def knows_nothing_of(found: list[int], truth: list[int], prime: int) -> bool:
    """No coefficient is right, and together they do not point anywhere near: 5 sigma, 6e-7."""
    right = sum(x == y for x, y in zip(found, truth, strict=True))
    correlation = np.corrcoef(np.array(found) / prime, truth)[0, 1]
    return right == 0 and abs(correlation) < 5 / np.sqrt(len(truth))


def is_uniform(row: NDArray[np.uint64], prime: int) -> bool:
    """Chi-square over 64 bins; a uniform row is called otherwise with probability 10^-6."""
    counts = np.histogram(row.astype(np.float64), bins=64, range=(0, prime))[0]
    return bool(stats.chisquare(counts).pvalue > 1e-6)
