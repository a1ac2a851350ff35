"""Masks added by several threads are the masks added by one."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fedpriv.crypto import MaskWorkers, add_masks, digest
from fedpriv.crypto.prg import word_dtype
from fedpriv.errors import UsageError

KEY = bytes(range(32))
MASKS = [(digest("masks", bytes([number])), number % 2 == 1) for number in range(5)]


@pytest.mark.parametrize("bits", [16, 32, 62])
@pytest.mark.parametrize("size", [0, 1, 1000, 262_149, 1_500_003])
def test_several_workers_give_what_one_gives(bits: int, size: int) -> None:
    alone, shared = (np.arange(size).astype(word_dtype(bits)) for _ in range(2))
    add_masks(alone, MASKS, start=2**18)
    with MaskWorkers(3) as workers:
        workers.add_masks(shared, MASKS, start=2**18)
    assert np.array_equal(alone, shared)


def test_workers_serve_many_vectors_and_then_end() -> None:
    before = threading.active_count()
    with MaskWorkers(2) as workers:
        for _ in range(3):
            vector = np.zeros(300_000, dtype=np.uint32)
            workers.add_masks(vector, MASKS)
            workers.add_masks(vector, [(key, not minus) for key, minus in MASKS])
            assert not vector.any()
        assert threading.active_count() > before
    assert threading.active_count() == before
    workers.close()
    with pytest.raises(UsageError, match="have ended"):
        workers.add_masks(np.zeros(4, dtype=np.uint32), MASKS)


def test_workers_that_end_meanwhile_say_so_and_leave_the_vector_alone_afterwards() -> None:
    """Another thread closes them while masks are handed out."""
    outcomes = set()
    for _ in range(100):
        workers = MaskWorkers(2)
        vector = np.zeros(3_000_000, dtype=np.uint32)
        closing = threading.Thread(target=workers.close)
        closing.start()
        try:
            workers.add_masks(vector, MASKS[:1])
            outcomes.add("added")
        except UsageError:
            outcomes.add("refused")
        left = vector.copy()
        closing.join()
        assert np.array_equal(vector, left)
    assert outcomes <= {"added", "refused"}


def test_what_cannot_be_masked_is_refused_before_anything_changes() -> None:
    target = np.zeros(300_000, dtype=np.uint32)
    with MaskWorkers(2) as workers:
        for masks, start in (([*MASKS, (KEY[:16], False)], 0), (MASKS, 3), (MASKS, -4)):
            with pytest.raises(UsageError):
                workers.add_masks(target, masks, start=start)
            assert not target.any()
        with pytest.raises(UsageError):
            workers.add_masks(target[::2], MASKS)


def test_there_is_at_least_one_worker() -> None:
    for count in (0, -1):
        with pytest.raises(UsageError, match="at least one"):
            MaskWorkers(count)
