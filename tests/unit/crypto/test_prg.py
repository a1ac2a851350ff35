"""AES-CTR streams, and masks added in place: against AES of each counter block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedpriv.crypto import Keystream, add_masks, digest
from fedpriv.crypto.prg import SEGMENT_BYTES, word_dtype
from fedpriv.errors import UsageError

KEY = bytes(range(32))


def test_the_stream_is_aes_256_of_the_counter() -> None:
    # FIPS 197, appendix C.3: AES-256 of 00112233..ff under 000102..1f; here the first block is of zeros.
    encryptor = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor()
    assert encryptor.update(bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == (
        "8ea2b7ca516745bfeafc49904b496089"
    )
    blocks = b"".join(encryptor.update(counter.to_bytes(16, "big")) for counter in range(3))
    assert Keystream(KEY).read(48) == blocks


@given(st.lists(st.integers(0, 40), max_size=8))
def test_reading_in_pieces_changes_nothing(pieces: list[int]) -> None:
    source = Keystream(KEY)
    assert b"".join(source.read(piece) for piece in pieces) == Keystream(KEY).read(sum(pieces))


@pytest.mark.parametrize("size", [0, 5, 700_001])
def test_a_buffer_is_filled_to_its_end(size: int) -> None:
    source, buffer = Keystream(KEY), bytearray(size)
    source.read(3)
    source.read_into(memoryview(buffer))
    assert buffer + source.read(4) == Keystream(KEY).read(3 + size + 4)[3:]


def test_words_are_little_endian_and_go_on_where_reading_stopped() -> None:
    pieces, raw = Keystream(KEY), Keystream(KEY).read(27)
    assert pieces.read(3) == raw[:3]
    words = pieces.words(3)
    assert words.dtype == np.uint64
    assert words.tolist() == [int.from_bytes(raw[3 + 8 * k : 11 + 8 * k], "little") for k in range(3)]


def mask(key: bytes, size: int, dtype: np.dtype[Any], segment: int = 0) -> NDArray[Any]:
    """The words of a mask from the start of a segment on, block of the cipher by block."""
    encryptor, blocks = Cipher(algorithms.AES(key), modes.ECB()).encryptor(), SEGMENT_BYTES // 16
    counters = b"".join(
        (segment + number // blocks).to_bytes(12, "big") + (2 + number % blocks).to_bytes(4, "big")
        for number in range(-(-size * dtype.itemsize // 16))
    )
    return np.frombuffer(encryptor.update(counters), dtype=dtype)[:size]


def keys(count: int) -> list[bytes]:
    return [digest("masks", number.to_bytes(4, "big")) for number in range(count)]


@pytest.mark.parametrize("bits", [8, 16, 17, 32, 33, 62])
@pytest.mark.parametrize("size", [0, 1, 1000, 300_001])
def test_a_mask_is_aes_of_the_counters_word_by_word(bits: int, size: int) -> None:
    dtype = word_dtype(bits)
    start = np.arange(size).astype(dtype)
    target = start.copy()
    add_masks(target, [(KEY, False)])
    assert np.array_equal(target, start + mask(KEY, size, dtype))
    add_masks(target, [(KEY, True)])
    assert np.array_equal(target, start)


@pytest.mark.parametrize("bits", [16, 32, 62])
def test_many_masks_are_added_and_subtracted_each_by_its_sign(bits: int) -> None:
    dtype = word_dtype(bits)
    masks = [(key, number % 3 == 0) for number, key in enumerate(keys(150))]
    expected = np.arange(999).astype(dtype)
    target = expected.copy()
    for key, minus in masks:
        words = mask(key, 999, dtype)
        expected = expected - words if minus else expected + words
    add_masks(target, masks)
    assert np.array_equal(target, expected)


@pytest.mark.parametrize("bits", [16, 32, 62])
def test_a_vector_masked_in_pieces_is_the_vector_masked_at_once(bits: int) -> None:
    dtype = word_dtype(bits)
    masks = [(key, number == 1) for number, key in enumerate(keys(3))]
    whole, pieces = (np.arange(800_003).astype(dtype) for _ in range(2))
    add_masks(whole, masks)
    for first, last in ((524_288, 800_003), (262_144, 524_288), (0, 262_144)):
        add_masks(pieces[first:last], masks, start=first)
    assert np.array_equal(whole, pieces)


def test_a_mask_is_what_gcm_makes_of_zeros() -> None:
    # D. McGrew, J. Viega, The Galois/Counter Mode of Operation (2005), appendix B, test case 14.
    target = np.zeros(8, dtype="<u2")
    add_masks(target, [(bytes(32), False)])
    assert target.tobytes().hex() == "cea7403d4d606b6e074ec5d3baf39d18"


@pytest.mark.parametrize("bits", [16, 32, 62])
def test_a_piece_begins_with_a_segment_of_the_mask(bits: int) -> None:
    target = np.zeros(64, dtype=word_dtype(bits))
    step = SEGMENT_BYTES // target.itemsize
    for start in (-step, step - 1, step + 1, step // 2):
        with pytest.raises(UsageError, match="segment of the mask"):
            add_masks(target, [(KEY, False)], start=start)
        assert not target.any()
    add_masks(target, [(KEY, False)], start=step)
    assert np.array_equal(target, mask(KEY, 64, target.dtype, segment=1))


def test_segments_are_counted_above_four_billion() -> None:
    target = np.zeros(150_000, dtype="<u4")
    add_masks(target, [(KEY, False)], start=(2**32 + 5) * SEGMENT_BYTES // 4)
    assert np.array_equal(target, mask(KEY, 150_000, target.dtype, segment=2**32 + 5))


def test_masks_go_only_into_whole_unsigned_words() -> None:
    frozen = np.zeros(4, dtype=np.uint32)
    frozen.flags.writeable = False
    for target in (
        np.zeros(4, dtype=np.int64),
        np.zeros(4, dtype=np.float32),
        np.zeros((2, 2), dtype=np.uint32),
        np.zeros(8, dtype=np.uint32)[::2],
        frozen,
    ):
        with pytest.raises(UsageError):
            add_masks(target, [(KEY, False)])


def test_a_bad_key_among_many_changes_nothing() -> None:
    target = np.zeros(100, dtype=np.uint32)
    with pytest.raises(UsageError, match="32 bytes"):
        add_masks(target, [(KEY, False)] * 70 + [(KEY[:16], False)])
    assert not target.any()


def test_keys_and_sizes_are_checked() -> None:
    with pytest.raises(UsageError):
        Keystream(bytes(16))
    with pytest.raises(UsageError):
        Keystream(KEY).read(-1)
    for bits in (0, 63):
        with pytest.raises(UsageError):
            word_dtype(bits)
