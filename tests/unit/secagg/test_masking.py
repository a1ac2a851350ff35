"""Masked vectors in parts, and the sum as it comes together."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.crypto import add_masks
from fedpriv.encoding.packing import pack, unpack
from fedpriv.errors import UsageError
from fedpriv.secagg import SecAggParams, Vector
from fedpriv.secagg.masking import Residues, masked_parts, take_inputs
from fedpriv.secagg.vectors import PART_VALUES

KEYS = [bytes([i]) * 32 for i in range(1, 5)]


def _params(*vectors: Vector) -> SecAggParams:
    return SecAggParams.for_cohort(3, vectors=vectors)


def _stream(key: bytes, bits: int, count: int) -> list[int]:
    """The first words of a mask of the spec's section 2, below one segment, in Python integers."""
    width = 2 if bits <= 16 else 4 if bits <= 32 else 8
    data = AESGCM(key).encrypt(bytes(12), bytes(width * count), None)[: width * count]
    return [int.from_bytes(data[i : i + width], "little") % 2**bits for i in range(0, len(data), width)]


@settings(max_examples=30)
@given(st.sampled_from([1, 7, 8, 15, 16, 17, 31, 32, 33, 61, 62]), st.integers(1, 40), st.integers(0, 2**32))
def test_parts_are_the_vector_with_its_masks(bits: int, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**bits, count, dtype=np.uint64)
    params = _params(Vector("update", bits, count))
    masks = [(KEYS[0], False), (KEYS[1], True), (KEYS[2], False)]
    (part,) = masked_parts(params, take_inputs(params, values, copy=True), {"update": masks}, add_masks)
    streams = [_stream(key, bits, count) for key, _ in masks]
    expected = [
        (int(value) + plus - minus + again) % 2**bits
        for value, plus, minus, again in zip(values, *streams, strict=True)
    ]
    assert unpack(part, bits, count).tolist() == expected


@pytest.mark.parametrize("bits", [3, 20, 40])
def test_pieces_of_a_long_vector_carry_the_masks_of_the_whole(bits: int) -> None:
    count = 4 * PART_VALUES + 1000
    params = _params(Vector("update", bits, count))
    values = np.arange(count, dtype=np.uint64) % 2**bits
    inputs = take_inputs(params, values, copy=True)
    masks = [(KEYS[0], False), (KEYS[1], True)]
    parts = list(masked_parts(params, inputs, {"update": masks}, add_masks))
    assert len(parts) == 5
    whole = inputs["update"].copy()
    add_masks(whole, masks)
    expected = [
        pack(whole[start : start + size], bits, reduce=True) for start, size in params.vectors[0].parts
    ]
    assert parts == expected
    assert np.array_equal(inputs["update"], values.astype(inputs["update"].dtype))  # left as it was


def test_a_copy_is_made_in_the_narrowest_words_or_not_at_all() -> None:
    params = _params(Vector("update", 20, 3))
    values = np.array([1, 2, 3], dtype=np.uint64)
    assert take_inputs(params, values, copy=False)["update"] is values
    copied = take_inputs(params, values, copy=True)["update"]
    assert copied.dtype == np.dtype("<u4")
    narrow = values.astype("<u4")
    assert not np.shares_memory(take_inputs(params, narrow, copy=True)["update"], narrow)
    masks = {"update": [(KEYS[0], False)]}
    first, second = (
        list(masked_parts(params, {"update": inputs}, masks, add_masks)) for inputs in (values, copied)
    )
    assert first == second
    assert values.tolist() == [1, 2, 3]


def test_each_vector_has_its_own_masks() -> None:
    params = _params(Vector("a", 32, 8), Vector("b", 32, 8))
    zero = np.zeros(8, np.uint32)
    inputs = take_inputs(params, {"a": zero, "b": zero}, copy=True)
    masks = {"a": [(KEYS[0], False)], "b": [(KEYS[1], False)]}
    first, second = (unpack(part, 32, 8).tolist() for part in masked_parts(params, inputs, masks, add_masks))
    assert (first, second) == (_stream(KEYS[0], 32, 8), _stream(KEYS[1], 32, 8))


def test_the_sum_of_uploads_less_their_masks_is_the_sum() -> None:
    rng = np.random.default_rng(1)
    params = _params(*(Vector(f"v{bits:02}", bits, 9) for bits in (1, 16, 20, 33, 62)))
    residues, plain = Residues(params), {vector.name: [0] * 9 for vector in params.vectors}
    for key in KEYS:
        values = {v.name: rng.integers(0, 2**v.bits, 9, dtype=np.uint64) for v in params.vectors}
        masks = {vector.name: [(key, False)] for vector in params.vectors}
        residues.add(list(masked_parts(params, take_inputs(params, values, copy=True), masks, add_masks)))
        for vector in params.vectors:
            added = zip(plain[vector.name], values[vector.name].tolist(), strict=True)
            plain[vector.name] = [(a + b) % 2**vector.bits for a, b in added]
    residues.add_masks({vector.name: [(key, True) for key in KEYS] for vector in params.vectors}, add_masks)
    found = residues.values()
    assert {name: values.tolist() for name, values in found.items()} == plain
    assert all(values.dtype == np.uint64 for values in found.values())
    again = Residues(params, residues.words())
    assert {name: values.tolist() for name, values in again.values().items()} == plain
    again.add_masks({vector.name: [(KEYS[0], False)] for vector in params.vectors}, add_masks)
    assert {name: values.tolist() for name, values in residues.values().items()} == plain


@pytest.mark.parametrize(("bits", "width"), [(1, 2), (16, 2), (17, 4), (32, 4), (33, 8), (62, 8)])
def test_the_sum_takes_the_narrowest_words(bits: int, width: int) -> None:
    words = Residues(_params(Vector("update", bits, 1000))).words()
    assert len(words["update"]) == 1000 * width


@pytest.mark.parametrize("bits", [1, 16, 17, 62])
@pytest.mark.parametrize("copy", [True, False])
def test_a_value_fits_or_is_refused(bits: int, copy: bool) -> None:
    params = _params(Vector("update", bits, 2))
    most = np.array([0, 2**bits - 1], dtype=np.uint64)
    assert take_inputs(params, most, copy=copy)["update"].tolist() == most.tolist()
    with pytest.raises(UsageError, match=f"{bits} bits") as refusal:
        take_inputs(params, most + np.uint64(1), copy=copy)
    assert "SA-8" in refusal.value.hint


def test_vectors_are_named_in_any_order_and_none_is_left_out() -> None:
    params = _params(Vector("a", 8, 1), Vector("b", 8, 1))
    one = np.ones(1, np.uint8)
    assert list(take_inputs(params, {"b": one, "a": one}, copy=True)) == ["a", "b"]
    for given_names in ({"a": one}, {"a": one, "b": one, "c": one}, {"a": one, "c": one}, {}):
        with pytest.raises(UsageError, match="vectors of this session are a, b"):
            take_inputs(params, given_names, copy=True)
    with pytest.raises(UsageError, match="given: update"):
        take_inputs(params, one, copy=True)
