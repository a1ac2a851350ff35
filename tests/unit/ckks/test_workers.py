"""Chunks encrypted by several processes: in order, sums exact, faults reported, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.ckks import modular
from fedpriv.ckks.layout import Layout
from fedpriv.ckks.ring import Ring
from fedpriv.ckks.ring_params import RingParams
from fedpriv.ckks.wire import unpack_rows
from fedpriv.ckks.workers import EncryptionWorkers
from fedpriv.errors import ProtocolViolation, UsageError

PARAMS = RingParams.of_bits(4096, 17, 45, 1, 47)
LAYOUT = Layout(PARAMS, bound=1000, clients=10, digits=3, dimension=5 * 12_288 + 100)

Values = NDArray[np.int64]
Rows = NDArray[np.uint64]


class Key:
    """A key pair, made from a seed."""

    def __init__(self, seed: int) -> None:
        self.ring = Ring(PARAMS)
        generator = np.random.default_rng(seed)
        a = np.stack([generator.integers(0, p, 4096, dtype=np.uint64) for p in PARAMS.key_primes])
        self.secret = generator.integers(-1, 2, 4096)
        self.public = np.stack((self.ring.public_part(a, self.secret, self.secret), a))

    def opened(self, chunks: list[tuple[bytes, bytes]]) -> Values:
        factor = self.ring.factor(modular.residues(self.secret, PARAMS.primes))
        opened = []
        for index, (first, second) in enumerate(chunks):
            used = LAYOUT.used(index)
            c0, c1 = unpack_rows(first, PARAMS.primes, used), unpack_rows(second, PARAMS.primes, 4096)
            x = modular.add(c0, self.ring.times(c1[None], factor)[0, :, :used], PARAMS.primes)
            noise = modular.residues(modular.centred(x[0], PARAMS.noise_prime), PARAMS.message_primes)
            rows = modular.subtract(x[1:], noise, PARAMS.message_primes)
            opened.append(LAYOUT.read(rows, LAYOUT.values_in(index)))
        return np.concatenate(opened)


def _values(seed: int) -> Values:
    return np.random.default_rng(seed).integers(-1000, 1001, LAYOUT.dimension)


def _chunks(values: Values) -> Iterator[Values]:
    for first in range(0, values.size, LAYOUT.values_per_chunk):
        yield values[first : first + LAYOUT.values_per_chunk]


@pytest.fixture(scope="module")
def key() -> Key:
    return Key(1)


@pytest.fixture(scope="module")
def pair() -> Iterator[EncryptionWorkers]:
    with EncryptionWorkers(LAYOUT, 2) as workers:
        yield workers


@pytest.fixture(params=[1, 2])
def workers(request: pytest.FixtureRequest, pair: EncryptionWorkers) -> EncryptionWorkers:
    return pair if request.param == 2 else EncryptionWorkers(LAYOUT, 1)


def test_chunks_come_in_order_for_vector_after_vector(workers: EncryptionWorkers, key: Key) -> None:
    for seed in (1, 2):
        values = _values(seed)
        sent = list(workers.encrypt(key.public, _chunks(values)))
        assert len({second for _, second in sent}) == LAYOUT.chunks == 6
        assert np.array_equal(key.opened(sent), values)
    assert list(workers.encrypt(key.public, [])) == []


def test_another_key_takes_the_place_of_the_first(workers: EncryptionWorkers, key: Key) -> None:
    values, other = _values(3), Key(2)
    for one in (key, other, key):
        assert np.array_equal(one.opened(list(workers.encrypt(one.public, _chunks(values)))), values)
    sent = list(workers.encrypt(other.public, _chunks(values)))
    with pytest.raises(ProtocolViolation, match="CK-4"):  # under the first key it is no sum
        key.opened(sent)


def test_no_more_chunks_are_taken_ahead_than_there_are_processes(
    workers: EncryptionWorkers, key: Key
) -> None:
    taken = 0

    def counted() -> Iterator[Values]:
        nonlocal taken
        for chunk in _chunks(_values(4)):
            taken += 1
            yield chunk

    for done, _ in enumerate(workers.encrypt(key.public, counted()), start=1):
        assert taken - done <= 2
    assert taken == LAYOUT.chunks


def test_a_value_beyond_the_bound_stops_the_vector_and_not_the_workers(
    workers: EncryptionWorkers, key: Key
) -> None:  # CK-3
    values = _values(5)
    values[2 * LAYOUT.values_per_chunk + 7] = 1001
    sent = workers.encrypt(key.public, _chunks(values))
    next(sent), next(sent)
    with pytest.raises(UsageError, match="beyond the bound 1000") as caught:
        next(sent)
    assert "Clamp" in caught.value.hint
    values = _values(6)
    assert np.array_equal(key.opened(list(workers.encrypt(key.public, _chunks(values)))), values)


def test_a_vector_that_is_given_up_leaves_nothing_to_the_next(workers: EncryptionWorkers, key: Key) -> None:
    given_up = workers.encrypt(key.public, _chunks(_values(7)))
    next(given_up)
    given_up.close()  # type: ignore[attr-defined]
    values = _values(8)
    assert np.array_equal(key.opened(list(workers.encrypt(key.public, _chunks(values)))), values)


def test_a_fault_in_the_source_of_values_comes_through(workers: EncryptionWorkers, key: Key) -> None:
    def broken() -> Iterator[Values]:
        yield from list(_chunks(_values(9)))[:3]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(workers.encrypt(key.public, broken()))
    values = _values(10)
    assert np.array_equal(key.opened(list(workers.encrypt(key.public, _chunks(values)))), values)


def test_what_is_no_key_or_no_chunk_is_refused(workers: EncryptionWorkers, key: Key) -> None:
    chunk = next(_chunks(_values(1)))
    beyond = key.public.copy()
    beyond[1, 1, 1] = PARAMS.primes[1]
    for public in (key.public[0], key.public[:, :2], key.public.astype(np.int64), beyond):
        with pytest.raises(UsageError):
            list(workers.encrypt(public, [chunk]))
    too_long = np.zeros(LAYOUT.values_per_chunk + 1, dtype=np.int64)
    for wrong in (chunk.astype(np.int32), chunk.astype(float), chunk[None], chunk[:0], too_long):
        with pytest.raises(UsageError):
            list(workers.encrypt(key.public, [wrong]))
    assert len(list(workers.encrypt(key.public, [chunk]))) == 1


def test_two_vectors_at_once_do_not_get_each_others_ciphertexts(pair: EncryptionWorkers, key: Key) -> None:
    values = _values(11)
    first = pair.encrypt(key.public, _chunks(values))
    sent = [next(first)]
    second = pair.encrypt(key.public, _chunks(values))
    with pytest.raises(UsageError, match="another vector"):
        next(second)
    assert np.array_equal(key.opened([*sent, *first]), values)


def test_processes_end_with_the_block_even_in_the_middle_of_a_vector(key: Key) -> None:
    before = set(multiprocessing.active_children())
    with EncryptionWorkers(LAYOUT, 2) as workers:
        assert len(set(multiprocessing.active_children()) - before) == 2
        vector = workers.encrypt(key.public, _chunks(_values(1)))
        next(vector)
    assert set(multiprocessing.active_children()) == before
    with pytest.raises(UsageError, match="ended"):
        list(vector)
    workers.close()
    with pytest.raises(UsageError, match="have ended"):
        next(workers.encrypt(key.public, []))


def test_a_process_that_dies_is_reported_and_ends_the_others(key: Key) -> None:
    before = set(multiprocessing.active_children())
    with EncryptionWorkers(LAYOUT, 2) as workers:
        vector = workers.encrypt(key.public, _chunks(_values(1)))
        next(vector)
        victim = next(iter(set(multiprocessing.active_children()) - before))
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(UsageError, match="ended before its work was done"):
            list(vector)
        assert set(multiprocessing.active_children()) == before
        with pytest.raises(UsageError, match="have ended"):
            next(workers.encrypt(key.public, _chunks(_values(1))))


def test_there_is_at_least_one_process() -> None:
    for count in (0, -1):
        with pytest.raises(UsageError, match="at least one"):
            EncryptionWorkers(LAYOUT, count)


SCRIPT = """
import numpy as np
from fedpriv.ckks.layout import Layout
from fedpriv.ckks.ring_params import RingParams
from fedpriv.ckks.workers import EncryptionWorkers
from fedpriv.errors import ProtocolViolation, UsageError

params = RingParams.of_bits(4096, 17, 45, 1, 47)
{guard}
    try:
        with EncryptionWorkers(Layout(params, 1000, 10, 3, 9), 2) as workers:
            public = np.random.default_rng(1).integers(0, params.noise_prime, (2, 3, 4096), np.uint64)
            print(len(list(workers.encrypt(public, [np.zeros(9, np.int64)]))))
    except UsageError as error:
        print(error.hint)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("guard", "said"), [('if __name__ == "__main__":', "1"), ("if True:", "__main__")])
def test_a_script_without_the_guard_is_told_so(tmp_path: Path, guard: str, said: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard=guard))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert said in done.stdout
