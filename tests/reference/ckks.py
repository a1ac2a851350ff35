"""Summation under CKKS encryption once more, written from protocols/ckks/ and nothing else.

Slow and obvious on purpose: Python integers, one multiplication of large integers for a product in the ring,
no native code.  Encryption is textbook RLWE with its randomness given; with what SEAL draws under a seed
(`seal_random`) the two are the same to the bit.  Nothing comes from the package but the draws of the discrete
Gaussian (`ckks_primitives`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from reference.ckks_primitives import (
    D,
    Rows,
    add,
    centred,
    gauss,
    negate,
    pack,
    residues,
    ternary,
    times,
    uniform,
    unpack,
)
from reference.secagg_primitives import frame, hash_, kdf, sign, u32, u64
from reference.secagg_wire import require

Subset = tuple[int, ...]


@dataclass(frozen=True)
class Ring:
    """N; p_0, p_1, ..., p_L'; p_s (section 1)."""

    degree: int
    primes: tuple[int, ...]
    special: int

    @property
    def q(self) -> list[int]:
        return list(self.primes)

    @property
    def key_q(self) -> list[int]:
        return [*self.primes, self.special]


# Section 3: from values to residues.


@dataclass(frozen=True)
class Layout:
    ring: Ring
    n: int
    bound: int
    digits: int
    dimension: int

    @property
    def base(self) -> int:
        return 2 * self.n * self.bound + 1

    @property
    def per_coefficient(self) -> int:
        return (len(self.ring.primes) - 1) * self.digits

    @property
    def per_chunk(self) -> int:
        return self.ring.degree * self.per_coefficient

    @property
    def chunks(self) -> int:
        return -(-self.dimension // self.per_chunk)

    def values_in(self, chunk: int) -> int:
        return min(self.per_chunk, self.dimension - chunk * self.per_chunk)

    def used(self, chunk: int) -> int:
        return -(-self.values_in(chunk) // self.per_coefficient)

    def place(self, values: Sequence[int]) -> Rows:
        """W_1, ..., W_L' in the coefficients that hold values."""
        require(all(abs(value) <= self.bound for value in values), "CK-3")
        g, v = self.per_coefficient, self.digits
        message = self.ring.q[1:]
        rows = [[0] * -(-len(values) // g) for _ in message]
        for r, value in enumerate(values):
            k, j = divmod(r % g, v)
            rows[k][r // g] = (rows[k][r // g] + self.base**j * value) % message[k]
        return rows

    def read(self, rows: Rows, count: int) -> list[int]:
        """The sums: the balanced digits of the centred residues; nothing may be left beside them (CK-4)."""
        digits = []
        for column in zip(*rows, strict=True):
            for residue, p in zip(column, self.ring.primes[1:], strict=True):
                left = centred(residue, p)
                for _ in range(self.digits):
                    digits.append((left + self.base // 2) % self.base - self.base // 2)
                    left = (left - digits[-1]) // self.base
                require(left == 0, "CK-4")
        require(not any(digits[count:]), "CK-4")
        return digits[:count]

    def answer(self, sums: Sequence[int]) -> bytes:
        """What a sole holder answers (section 6)."""
        return pack([x + self.n * self.bound for x in sums], (self.base - 1).bit_length())

    def answered(self, data: bytes, count: int) -> list[int]:
        values = unpack(data, (self.base - 1).bit_length(), count)
        require(all(value < self.base for value in values), "decode")
        return [value - self.n * self.bound for value in values]


# Section 5: the committee, its secrets and its key.


def subsets(holders: Sequence[int], t: int) -> list[Subset]:
    return list(combinations(sorted(holders), len(holders) - t + 1))


def weight(holders: Sequence[int], subset: Subset, j: int, p: int) -> int:
    """g_A(j)."""
    place = {holder: k for k, holder in enumerate(sorted(holders), start=1)}
    value = 1
    for i in holders:
        if i not in subset:
            value = value * (place[i] - place[j]) * pow(place[i], -1, p) % p
    return value


def lagrange(holders: Sequence[int], answering: Sequence[int], j: int, p: int) -> int:
    """Lagrange's coefficient at 0 of j among those that answer."""
    place = {holder: k for k, holder in enumerate(sorted(holders), start=1)}
    value = 1
    for i in answering:
        if i != j:
            value = value * place[i] * pow(place[i] - place[j], -1, p) % p
    return value


def session_of(run_id: bytes, parameters: bytes, roster: Mapping[int, bytes]) -> bytes:
    roster_hash = hash_(f"{D} roster", *(u32(i) + key for i, key in sorted(roster.items())))
    return hash_(f"{D} session", u32(1), run_id, parameters, roster_hash)


def numbers(members: Sequence[int]) -> bytes:
    return b"".join(u32(i) for i in members)


def deal_key(agreed: bytes, session: bytes, number: int, i: int, j: int) -> bytes:
    return kdf(agreed, session, b"deal", u64(number), u32(i), u32(j))


def subset_secret(session: bytes, number: int, subset: Subset, dealt: Mapping[int, bytes]) -> bytes:
    """k_A from what the members of A in U dealt."""
    parts = [u32(i) + dealt[i] for i in sorted(dealt)]
    return hash_(f"{D} subset", session, u64(number), numbers(subset), *parts)


def again(secret: bytes, number: int) -> bytes:
    return hash_(f"{D} again", secret, u64(number))


def secret_of(secret: bytes, ring: Ring) -> list[int]:
    """s_A."""
    return ternary(hash_(f"{D} secret", secret), ring.degree)


def error_of(secret: bytes, ring: Ring) -> list[int]:
    """e_A."""
    return gauss(hash_(f"{D} error", secret), 11, ring.degree)


@lru_cache(maxsize=8)
def common(session: bytes, number: int, ring: Ring) -> Rows:
    """a."""
    return uniform(hash_(f"{D} common", session, u64(number)), ring.key_q, ring.degree)


def part(a: Rows, secret: bytes, ring: Ring) -> Rows:
    """b_A."""
    q = ring.key_q
    product = times(a, residues(secret_of(secret, ring), q), q)
    return negate(add(product, residues(error_of(secret, ring), q), q), q)


def commitment(session: bytes, number: int, dealers: Sequence[int], i: int, packed: bytes) -> bytes:
    return hash_(f"{D} commitment", session, u64(number), numbers(dealers), u32(i), packed)


def key_name(session: bytes, number: int, dealers: Sequence[int], packed: bytes) -> bytes:
    """K."""
    return hash_(f"{D} key", session, u64(number), numbers(dealers), packed)


def share(holders: Sequence[int], secrets: Mapping[Subset, bytes], j: int, ring: Ring) -> Rows:
    """S_j, modulo q."""
    total: Rows = [[0] * ring.degree for _ in ring.primes]
    for subset, secret in secrets.items():
        if j in subset:
            weighted = _weighted(holders, subset, j, secret_of(secret, ring), ring)
            total = add(total, weighted, ring.q)
    return total


def _weighted(holders: Sequence[int], subset: Subset, j: int, values: list[int], ring: Ring) -> Rows:
    rows = []
    for p in ring.primes:
        factor = weight(holders, subset, j, p)
        rows.append([factor * value % p for value in values])
    return rows


# Section 4: a ciphertext, and the noise residue.


def encrypt_zero(public: tuple[Rows, Rows], u: list[int], e: Sequence[list[int]], ring: Ring) -> list[Rows]:
    """(b u + e_0, a u + e_1) modulo q', divided by p_s and rounded (Cheon, Han et al. 2018; as SEAL does)."""
    q = ring.key_q
    wide = [
        add(times(half, residues(u, q), q), residues(error, q), q)
        for half, error in zip(public, e, strict=True)
    ]
    return [_divided(rows, ring) for rows in wide]


def _divided(rows: Rows, ring: Ring) -> Rows:
    rest = [centred(x, ring.special) for x in rows[-1]]
    return [
        [(x - r) * pow(ring.special, -1, p) % p for x, r in zip(row, rest, strict=True)]
        for row, p in zip(rows, ring.primes, strict=False)
    ]


def put(c_0: Rows, placed: Rows, ring: Ring) -> Rows:
    """c_0 with W_k, in the coefficients that hold values; nothing is added modulo p_0."""
    used = len(placed[0])
    return add([row[:used] for row in c_0], [[0] * used, *placed], ring.q)


def opened(c_0: Rows, product: Rows, ring: Ring) -> tuple[list[int], Rows]:
    """The noise, and the residues of the message, from c_0 and s c_1 (with or without flood)."""
    used = len(c_0[0])
    x = add(c_0, [row[:used] for row in product], ring.q)
    noise = [centred(value, ring.primes[0]) for value in x[0]]
    rows = add(x, residues([-e for e in noise], ring.q), ring.q)
    return noise, rows[1:]


def check_noise(noise: Sequence[int], ring: Ring) -> None:
    require(max(map(abs, noise)) <= ring.primes[0] // 2**5, "CK-4")


# Section 6: a round.


def digests(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Of each chunk's packed c_0 and c_1."""
    return b"".join(hash_(f"{D} first", c_0) + hash_(f"{D} second", c_1) for c_0, c_1 in chunks)


def upload_statement(session: bytes, round_: int, context: bytes, key: bytes, listed: bytes) -> bytes:
    return frame(session, u64(round_), context, key, listed)


def sign_upload(seed: bytes, statement: bytes) -> bytes:
    return sign(seed, f"{D} upload", statement)


def flood(secret: bytes, round_: int, second: bytes, chunk: int, variance: int, ring: Ring) -> list[int]:
    """F_A; ``total`` is H(D sum, seals)."""
    return gauss(hash_(f"{D} flood", secret, u64(round_), second, u64(chunk)), variance, ring.degree)


def partial(
    holders: Sequence[int], floods: Mapping[Subset, list[int]], own: Rows, j: int, c_1: Rows, ring: Ring
) -> Rows:
    """d_j."""
    answer = times(c_1, own, ring.q)
    for subset, values in floods.items():
        if j in subset:
            answer = add(answer, _weighted(holders, subset, j, values, ring), ring.q)
    return answer


def combine(holders: Sequence[int], answers: Mapping[int, Rows], ring: Ring) -> Rows:
    """c_1 s + F from t answers."""
    total: Rows = [[0] * len(next(iter(answers.values()))[0]) for _ in ring.primes]
    for j, rows in answers.items():
        scaled = [
            [lagrange(holders, sorted(answers), j, p) * x % p for x in row]
            for row, p in zip(rows, ring.primes, strict=True)
        ]
        total = add(total, scaled, ring.q)
    return total
