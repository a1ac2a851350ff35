"""What clients keep between rounds: a round that is run again starts where it started the first time."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.federation.work.kept import Kept, newest_part
from fedpriv.peft import Entry, KeptPart, Manifest, PeftSpec

SPEC = PeftSpec("fedsa-lora", rank=2)
MANIFEST = Manifest((Entry("head", (3,)), Entry("m.lora_A.w", (2, 4)), Entry("m.lora_B.w", (4, 2))))
START = np.arange(MANIFEST.size, dtype=np.float32)
B = slice(11, 19)


def kept_in(folder: Path | None) -> Kept:
    mask = SPEC.kind.keeps(MANIFEST, SPEC)
    assert mask is not None
    return Kept(MANIFEST, SPEC, mask, START, None if folder is None else lambda i: folder / str(i) / "kept")


def model(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(MANIFEST.size)


@pytest.fixture(params=["memory", "folder"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    return kept_in(tmp_path if request.param == "folder" else None)


def test_a_client_begins_at_the_start_and_has_what_it_kept(kept: Kept) -> None:
    assert np.array_equal(kept.of(1), START[B])
    kept.keep(1, 3, model(3))
    assert np.array_equal(kept.of(1), model(3)[B].astype(np.float32))
    assert np.array_equal(kept.of(2), START[B])
    own = kept.joined(1, START + 100)
    assert np.array_equal(own[:11], START[:11] + 100)
    assert np.array_equal(own[B], kept.of(1))


def test_a_round_that_is_run_again_starts_from_the_round_before_it(kept: Kept) -> None:
    for round_ in (1, 4, 6):
        kept.keep(2, round_, model(round_))
    assert np.array_equal(kept.of(2, before=6), model(4)[B].astype(np.float32))
    assert np.array_equal(kept.of(2, before=7), model(6)[B].astype(np.float32))
    kept.keep(2, 6, model(6))
    assert np.array_equal(kept.of(2, before=6), model(4)[B].astype(np.float32))
    assert set(kept._rounds(2)) == {4, 6}
    kept.keep(2, 5, model(5))  # a history that goes on from an earlier round ends what was later
    assert set(kept._rounds(2)) == {4, 5}
    assert np.array_equal(kept.of(2), model(5)[B].astype(np.float32))


def test_what_is_kept_in_memory_is_nobody_elses_array() -> None:
    kept = kept_in(None)
    kept.keep(1, 1, model(1))
    kept.of(1)[:] = 0
    assert np.array_equal(kept.of(1), model(1)[B].astype(np.float32))


def test_files_are_their_owners_alone_and_another_process_finds_them(tmp_path: Path) -> None:
    kept_in(tmp_path).keep(1, 1, model(1))
    again = kept_in(tmp_path)
    assert np.array_equal(again.of(1), model(1)[B].astype(np.float32))
    folder = tmp_path / "1" / "kept"
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "round-000002.safetensors.new").write_bytes(b"half")  # of a process that died while writing
    assert np.array_equal(again.of(1), model(1)[B].astype(np.float32))
    again.keep(1, 2, model(2))
    assert {path.name for path in folder.iterdir()} == {f"round-00000{k}.safetensors" for k in (1, 2)}


def test_a_damaged_file_is_one_sentence_and_no_other_value_in_its_place(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    for round_ in (1, 2):
        kept.keep(1, round_, model(round_))
    path = tmp_path / "1" / "kept" / "round-000002.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)
    for look in (lambda: kept.of(1), lambda: newest_part(path.parent), lambda: newest_part(path)):
        with pytest.raises(IntegrityError, match=r"round-000002.safetensors cannot be used: it is damaged"):
            look()
    assert np.array_equal(kept.of(1, before=2), model(1)[B].astype(np.float32))
    path.unlink()
    assert np.array_equal(kept.of(1), model(1)[B].astype(np.float32))


def test_a_part_of_another_model_is_not_taken(tmp_path: Path) -> None:
    kept_in(tmp_path).keep(1, 1, model(1))
    path = tmp_path / "1" / "kept" / "round-000001.safetensors"
    other = PeftSpec("fedsa-lora", rank=2, seed=9)
    path.write_bytes(KeptPart.of(MANIFEST, other, 1, np.zeros(8, dtype=np.float32)).encode())
    with pytest.raises(IntegrityError, match="of another model"):
        kept_in(tmp_path).of(1)


def test_the_newest_part_of_a_folder_is_found_and_none_is_said(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    for round_ in (9, 10):
        kept.keep(1, round_, model(round_))
    folder = tmp_path / "1" / "kept"
    assert newest_part(folder).round == 10
    assert newest_part(folder / "round-000009.safetensors").round == 9
    assert kept.part(1).encode() == (folder / "round-000010.safetensors").read_bytes()
    assert kept.part(2).round == 0
    for nothing in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match="holds no part"):
            newest_part(nothing)
