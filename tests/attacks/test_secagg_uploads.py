"""What one upload says about the vector in it: nothing that a uniformity test can see.

Each test draws from fixed seeds, so it gives the same answer each time; the error rate is over the choice of
the seeds.  Each statistic is also applied to the vector without its masks, which it must reject.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from parties.secagg import Parties
from scipy import stats

from fedpriv.encoding.packing import unpack

DIMENSION = 1 << 16
# Chance that a uniform sample fails one statistic.  33 of them are taken here, so for uniform uploads the
# file fails with probability at most 4e-5 over the seeds.
ERROR_RATE = 1e-6


def _p_values(words: NDArray[np.uint64], bits: int) -> list[float]:
    """Chi-square of the top 8 bits, of the low 8 bits, and of pairs of neighbours by their top 4 bits."""
    width = np.uint64(min(bits, 8))
    high = words >> np.uint64(bits - min(bits, 8))
    low = words & np.uint64((1 << int(width)) - 1)
    top = words >> np.uint64(bits - min(bits, 4))
    pairs = top[0::2] * np.uint64(1 << min(bits, 4)) + top[1::2]
    values = []
    for sample, cells in ((high, 1 << int(width)), (low, 1 << int(width)), (pairs, 1 << 2 * min(bits, 4))):
        counts = np.bincount(sample.astype(np.int64), minlength=cells)
        values.append(float(stats.chisquare(counts).pvalue))
    return values


def _upload(bits: int, vector: NDArray[np.uint64]) -> NDArray[np.uint64]:
    parties = Parties(3, bits=bits, dimension=DIMENSION, seed=bits)
    parties.vectors[2] = vector
    parties.clients[2].set_vector(vector)
    request = parties.run_until("upload")[2]
    reply = parties.read_reply(parties.clients[2].handle(request))
    return unpack(reply.vector, bits, DIMENSION)


@pytest.mark.parametrize("bits", [7, 16, 20, 32, 62])
def test_one_upload_alone_looks_uniform(bits: int) -> None:
    vector = np.full(DIMENSION, 2**bits - 1, dtype=np.uint64)
    assert min(_p_values(_upload(bits, vector), bits)) > ERROR_RATE
    assert max(_p_values(vector, bits)) < ERROR_RATE


@pytest.mark.parametrize("bits", [16, 32])
def test_uploads_of_two_rounds_of_one_vector_have_nothing_in_common(bits: int) -> None:
    # With fresh masks the difference of two uploads is uniform too; with the same masks it would be zero.
    vector = np.arange(DIMENSION, dtype=np.uint64) % np.uint64(2**bits)
    uploads = []
    for seed in (1, 2):
        parties = Parties(3, bits=bits, dimension=DIMENSION, seed=seed)
        parties.clients[1].set_vector(vector)
        reply = parties.clients[1].handle(parties.run_until("upload")[1])
        uploads.append(unpack(parties.read_reply(reply).vector, bits, DIMENSION))
    difference = (uploads[0] - uploads[1]) & np.uint64(2**bits - 1)
    assert min(_p_values(difference, bits)) > ERROR_RATE


def test_all_uploads_but_one_added_up_still_look_uniform() -> None:
    # The pair masks cancel in the sum over all; the own masks stay, and so does one partner's absence.
    bits = 32
    parties = Parties(4, bits=bits, dimension=DIMENSION)
    total = np.zeros(DIMENSION, dtype=np.uint64)
    for client, request in parties.run_until("upload").items():
        parties.clients[client].set_vector(np.zeros(DIMENSION, dtype=np.uint64))
        reply = parties.read_reply(parties.clients[client].handle(request))
        total += unpack(reply.vector, bits, DIMENSION)
        assert min(_p_values(total & np.uint64(2**bits - 1), bits)) > ERROR_RATE
