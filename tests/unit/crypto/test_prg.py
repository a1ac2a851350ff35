"""AES-CTR streams, and masks added in place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.crypto import Keystream, apply_mask
from fedpriv.crypto.prg import word_dtype
from fedpriv.errors import UsageError

KEY = bytes(range(32))


def test_the_stream_is_aes_256_of_the_counter() -> None:
    # FIPS 197, appendix C.3: AES-256 of 00112233..ff under 000102..1f; here the first block is of zeros.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor()
    assert encryptor.update(bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == (
        "8ea2b7ca516745bfeafc49904b496089"
    )
    blocks = b"".join(encryptor.update(counter.to_bytes(16, "big")) for counter in range(3))
    assert Keystream(KEY).read(48) == blocks


@given(st.lists(st.integers(0, 40), max_size=8))
def test_reading_in_pieces_changes_nothing(pieces: list[int]) -> None:
    stream = Keystream(KEY)
    assert b"".join(stream.read(piece) for piece in pieces) == Keystream(KEY).read(sum(pieces))


def test_words_are_little_endian_and_go_on_where_reading_stopped() -> None:
    stream, raw = Keystream(KEY), Keystream(KEY).read(27)
    assert stream.read(3) == raw[:3]
    words = stream.words(3)
    assert words.dtype == np.uint64
    assert words.tolist() == [int.from_bytes(raw[3 + 8 * k : 11 + 8 * k], "little") for k in range(3)]


@pytest.mark.parametrize("bits", [8, 16, 17, 32, 33, 62])
@pytest.mark.parametrize("size", [0, 1, 1000, 70_001])
def test_a_mask_is_the_stream_word_by_word(bits: int, size: int) -> None:
    dtype = word_dtype(bits)
    start = np.arange(size).astype(dtype)
    target = start.copy()
    apply_mask(target, KEY)
    stream = np.frombuffer(Keystream(KEY).read(size * dtype.itemsize), dtype=dtype)
    assert np.array_equal(target, start + stream)
    apply_mask(target, KEY, subtract=True)
    assert np.array_equal(target, start)


def test_masks_go_only_into_whole_unsigned_words() -> None:
    for target in (
        np.zeros(4, dtype=np.int64),
        np.zeros(4, dtype=np.float32),
        np.zeros((2, 2), dtype=np.uint32),
        np.zeros(8, dtype=np.uint32)[::2],
    ):
        with pytest.raises(UsageError):
            apply_mask(target, KEY)


def test_keys_and_sizes_are_checked() -> None:
    with pytest.raises(UsageError):
        Keystream(bytes(16))
    with pytest.raises(UsageError):
        Keystream(KEY).read(-1)
    for bits in (0, 63):
        with pytest.raises(UsageError):
            word_dtype(bits)
