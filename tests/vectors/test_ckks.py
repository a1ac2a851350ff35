"""Package and reference against the published vectors: the same draws, keys, answers and sums.

The package's ciphertexts are SEAL's and differ each time; those of the vectors are the reference's, from
published seeds, and the package opens them.  With SEAL's generator under a seed the two agree to the bit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ckks as reference
from vectors.ckks_steps import Setup, encrypted, setups
from vectors.ckks_vectors import DIRECTORY

from fedpriv.ckks import committee, flooding, key, modular, wire
from fedpriv.ckks.layout import Layout
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.ring_params import RingParams
from fedpriv.encoding.packing import pack

Case = dict[str, Any]
Subset = tuple[int, ...]

KEYS = sorted(DIRECTORY.glob("ckks_key_*.json"))
SUMS = sorted(DIRECTORY.glob("ckks_sum_*.json"))


def _name(path: Any) -> str:
    return str(path.stem)


def _read(path: Any) -> Case:
    case: Case = json.loads(path.read_text(encoding="utf-8"))
    return case


def _ring(case: Case) -> RingParams:
    noise, *messages = case["primes"]
    return RingParams(case["degree"], noise, tuple(messages), case["special_prime"])


def _shown(rows: NDArray[np.uint64], primes: Sequence[int]) -> Case:
    digest = hashlib.sha256(wire.pack_rows(rows, primes)).hexdigest()
    return {"first": rows[:, :3].tolist(), "sha256": digest}


def _shown_values(values: NDArray[np.int64]) -> Case:
    data = b"".join(value.to_bytes(16, "big", signed=True) for value in values.tolist())
    return {"first": values[:8].tolist(), "sha256": hashlib.sha256(data).hexdigest()}


def _secrets(case: Case) -> dict[Subset, bytes]:
    return {tuple(one["subset"]): bytes.fromhex(one["secret"]) for one in case["secrets"]}


def test_bit_lengths_name_the_published_primes() -> None:
    for case in _read(DIRECTORY / "ckks_rings.json")["rings"]:
        names = ("degree", "noise_bits", "message_bits", "messages", "special_bits")
        assert RingParams.of_bits(*(case[name] for name in names)) == _ring(case["ring"])


def test_seeds_give_the_published_draws() -> None:
    case = _read(DIRECTORY / "ckks_draws.json")
    seed, degree, primes = bytes.fromhex(case["seed"]), case["degree"], case["uniform"].pop("primes")
    assert _shown_values(key.ternary(seed, degree)) == case["ternary"]
    assert _shown(key.uniform(seed, primes, degree), primes) == case["uniform"]
    for drawn in case["gauss"]:
        variance = int(drawn.pop("variance"))
        assert _shown_values(flooding.gauss(seed, variance, degree)) == drawn


@pytest.mark.parametrize(
    "case", _read(DIRECTORY / "ckks_layouts.json")["layouts"], ids=lambda case: case["name"]
)
def test_values_are_placed_and_sums_read_as_published(case: Case) -> None:
    ring = _ring(case["ring"])
    layout = Layout(ring, case["bound"], case["n"], case["digits"], case["dimension"])
    assert [layout.used(chunk) for chunk in range(layout.chunks)] == case["used"]
    placed = [layout.place(np.array(values)) for values in case["values"]]
    assert [rows.tolist() for rows in placed] == case["residues"]
    total = placed[0]
    for rows in placed[1:]:
        total = modular.add(total, rows, ring.message_primes)
    sums = layout.read(total, layout.values_in(layout.chunks - 1))
    assert sums.tolist() == case["sum"] == [sum(column) for column in zip(*case["values"], strict=True)]
    assert _answer(layout, sums) == bytes.fromhex(case["answer"])


def _answer(layout: Layout, sums: NDArray[np.int64]) -> bytes:
    return pack((sums + layout.clients * layout.bound).astype(np.uint64), (layout.base - 1).bit_length())


@pytest.mark.parametrize("path", KEYS, ids=_name)
def test_what_was_dealt_gives_the_published_key_and_shares(path: Any) -> None:
    case = _read(path)
    params, holders, dealers = _ring(case["ring"]), case["holders"], case["dealers"]
    session, number, secrets = bytes.fromhex(case["session"]), case["key_number"], _secrets(case)
    ring = Ring(params)
    assert committee.subsets(holders, case["threshold"]) == tuple(secrets)
    for one in case["dealt"]:
        subset, dealt = tuple(one["subset"]), {int(i): bytes.fromhex(k) for i, k in one["dealt"].items()}
        assert key.subset_secret(session, number, subset, dealt) == secrets[subset]
    a = key.common(session, number, params)
    assert _shown(a, params.key_primes) == case["common"]
    parts = {i: np.zeros_like(a) for i in dealers}
    for one in case["subset_keys"]:
        subset = tuple(one["subset"])
        assert _shown_values(key.secret_polynomial(secrets[subset], params.degree)) == one["secret_key"]
        assert key.renewed_secret(secrets[subset], number + 1).hex() == one["again"]
        for j, weights in one["weights"].items():
            assert [committee.weight(holders, subset, int(j), p) for p in params.primes] == weights
        leader = committee.leader(subset, dealers)
        parts[leader] = modular.add(parts[leader], key.part(ring, a, secrets[subset]), params.key_primes)
    for i, rows in parts.items():
        published = {name: case["parts"][str(i)][name] for name in ("first", "sha256")}
        assert _shown(rows, params.key_primes) == published
    b = key.public_key(list(parts.values()), params)
    assert _shown(b, params.key_primes) == case["public"]
    assert key.key_name(session, number, dealers, b, params).hex() == case["key"]
    for j in dealers:
        own = {A: key.secret_polynomial(k, params.degree) for A, k in secrets.items() if j in A}
        assert _shown(committee.weighted(params, holders, j, own), params.primes) == case["shares"][str(j)]


class Summed:
    """The uploads of a published sum, added by the package; encrypted by the reference, as published."""

    def __init__(self, case: Case) -> None:
        self.case, self.params = case, _ring(case["ring"])
        self.ring = Ring(self.params)
        self.layout = Layout(self.params, case["bound"], case["n"], case["digits"], case["dimension"])
        session, number = bytes.fromhex(case["session"]), case["key_number"]
        a = key.common(session, number, self.params)
        self.secrets = _secrets(case)
        b = key.public_key([key.part(self.ring, a, k) for k in self.secrets.values()], self.params)
        assert key.key_name(session, number, case["dealers"], b, self.params).hex() == case["key"]
        self.first, self.second = (
            np.zeros((len(self.params.primes), count), dtype=np.uint64)
            for count in (self.layout.used(0), self.params.degree)
        )
        slow = reference.Ring(self.params.degree, self.params.primes, self.params.special_prime)
        for client in case["clients"].values():
            seeds = [bytes.fromhex(seed) for seed in client["seeds"]]
            placed = self.layout.place(np.array(client["values"])).tolist()
            pair = encrypted((b.tolist(), a.tolist()), seeds, placed, slow)
            c_0, c_1 = (np.array(rows, dtype=np.uint64) for rows in pair)
            assert _shown(c_0, self.params.primes) == client["c_0"]
            assert _shown(c_1, self.params.primes) == client["c_1"]
            self.first = modular.add(self.first, c_0, self.params.primes)
            self.second = modular.add(self.second, c_1, self.params.primes)

    def opened(self, product: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Noise and sums from s c_1, with or without flood."""
        x = modular.add(self.first, product[:, : self.layout.used(0)], self.params.primes)
        noise = modular.centred(x[0], self.params.noise_prime)
        rest = modular.subtract(x, modular.residues(noise, self.params.primes), self.params.primes)
        return noise, self.layout.read(rest[1:], self.layout.dimension)

    def check(self, product: NDArray[np.uint64]) -> None:
        noise, sums = self.opened(product)
        assert noise.tolist() == self.case["noise"]
        assert int(np.abs(noise).max()) <= self.case["noise_limit"] == self.params.noise_prime // 2**5
        assert sums.tolist() == self.case["sum"]


@pytest.mark.parametrize("path", SUMS, ids=_name)
def test_the_published_answers_open_the_published_sum(path: Any) -> None:
    case = _read(path)
    summed = Summed(case)
    params, holders = summed.params, case["holders"]
    assert _shown(summed.first, params.primes) == case["sum_of_c_0"]
    assert _shown(summed.second, params.primes) == case["sum_of_c_1"]
    if case["threshold"] == 1:
        share = key.share_of(summed.ring, holders, holders[0], summed.secrets)
        summed.check(share.times(summed.second))
        assert _answer(summed.layout, np.array(case["sum"])) == bytes.fromhex(case["answer"])
        return
    about = {"round_": case["round"], "second": bytes.fromhex(case["second_digest"]), "chunk": 0}
    variance, answers = int(case["flood_variance"]), {}
    for one in case["floods"]:
        subset = tuple(one.pop("subset"))
        secret = summed.secrets[subset]
        assert _shown_values(flooding.subset_flood(secret, params.degree, **about, variance=variance)) == one
    for j in case["dealers"]:
        own = {A: k for A, k in summed.secrets.items() if j in A}
        noise = flooding.flood(params, holders, j, own, **about, variance=variance)
        answers[j] = key.share_of(summed.ring, holders, j, own).partial(summed.second, noise)
        assert _shown(answers[j], params.primes) == case["answers"][str(j)]
    for published in case["lagrange"]:
        group = [int(j) for j in published]
        for j in group:
            factors = [committee.lagrange(holders, group, j, p) for p in params.primes]
            assert factors == published[str(j)]
        combined = committee.combine(holders, {j: answers[j] for j in group}, params.primes)
        assert _shown(combined, params.primes) == case["combined"]
        summed.check(combined)


@pytest.mark.parametrize("path", SUMS, ids=_name)
def test_the_published_sums_are_the_plain_sums(path: Any) -> None:
    case = _read(path)
    given = [client["values"] for client in case["clients"].values()]
    assert case["sum"] == [sum(column) for column in zip(*given, strict=True)]


@pytest.fixture(scope="module")
def made() -> dict[str, Setup]:
    return {setup.name: setup for setup in setups().values()}


@pytest.mark.parametrize(
    "case", _read(DIRECTORY / "ckks_seal.json")["encryptions"], ids=lambda case: case["key_of"]
)
def test_seal_encrypts_as_the_reference_does_with_the_same_randomness(
    case: Case, made: dict[str, Setup]
) -> None:
    setup = made[case["key_of"]]
    noise, *messages = setup.ring.primes
    params = RingParams(setup.ring.degree, noise, tuple(messages), setup.ring.special)
    public = np.array([setup.b, setup.a], dtype=np.uint64)
    assert _shown(public[0], params.key_primes) == case["public"]
    ring = Ring(params, insecure_seed=bytes.fromhex(case["seed"]))
    first, second = ring.encryptor(public).zero()
    assert _shown(first, params.primes) == case["c_0"]
    assert _shown(second, params.primes) == case["c_1"]
