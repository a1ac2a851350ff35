"""Images: from files of several forms to records, known again whatever file they came in."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from parties.small_images import NAMES, SIDE, drawn, write_folders, write_idx
from PIL import Image

from fedpriv.data import align_test, canonical, canonical_image, load, suffix_of, written
from fedpriv.errors import DataError


def file_of(pixels: np.ndarray, form: str = "PNG") -> bytes:
    held = BytesIO()
    Image.fromarray(pixels).save(held, format=form)
    return held.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
def test_an_idx_pair_holds_the_images_as_they_were_drawn(tmp_path: Path, zipped: bool) -> None:
    write_idx(tmp_path, zipped=zipped, count=10)
    table = load(str(tmp_path), image="image")
    images, labels = drawn(10, seed=len("train"))
    assert np.array_equal(np.stack(table.content)[..., 0], images)
    assert table.label_names == ("0", "1")
    assert np.array_equal(table.labels, labels)


def test_the_prefix_chooses_between_two_idx_pairs(tmp_path: Path) -> None:
    write_idx(tmp_path, "train", count=10)
    write_idx(tmp_path, "t10k", count=4)
    assert len(load(f"{tmp_path}/t10k", image="image")) == 4
    assert len(load("train", image="image", base=tmp_path)) == 10
    with pytest.raises(DataError, match="2 pairs") as caught:
        load(str(tmp_path), image="image")
    assert f"{tmp_path}/t10k, {tmp_path}/train" in caught.value.hint


def test_folders_of_labels_hold_images_of_any_size_grey_or_in_colour(tmp_path: Path) -> None:
    write_folders(tmp_path, 6)
    colours = np.arange(7 * 5 * 3, dtype=np.uint8).reshape(7, 5, 3)
    Image.fromarray(colours).save(tmp_path / "square" / "wide.png")
    table = load(str(tmp_path), image="image", extra=["file"])
    assert table.label_names == NAMES
    assert len(table) == 7
    wide = table.columns["file"].index("square/wide.png")
    assert np.array_equal(table.content[wide], colours)
    assert table.content[0].shape == (SIDE, SIDE, 1)
    assert table.select([wide]).content[0] is table.content[wide]


@pytest.mark.parametrize("struct", [True, False])
def test_parquet_of_hugging_face_s_form_and_of_plain_bytes(tmp_path: Path, struct: bool) -> None:
    images, labels = drawn(6)
    files = [file_of(image) for image in images]
    cells = [{"bytes": file, "path": None} for file in files] if struct else files
    cells[2] = {"bytes": None, "path": "elsewhere.png"} if struct else None
    table = pa.table({"img": cells, "label": labels})
    if struct:  # as the library `datasets` writes it: numbers, whose names stand in the file's metadata
        names = {"info": {"features": {"img": {}, "label": {"names": list(NAMES)}}}}
        table = table.replace_schema_metadata({b"huggingface": json.dumps(names)})
    pq.write_table(table, tmp_path / "six.parquet")
    found = load(str(tmp_path), image="img")
    assert found.left_out.empty == 1
    assert found.label_names == (NAMES if struct else ("0", "1"))
    assert np.array_equal(found.content[0][..., 0], images[0])
    with pytest.raises(DataError, match="no column 'image'") as caught:
        load("six.parquet", image="image", base=tmp_path)
    assert "data.image" in caught.value.hint
    with pytest.raises(DataError, match="holds no image files"):
        load("six.parquet", image="label", label="img", base=tmp_path)


def test_an_image_that_comes_twice_is_one_record_whatever_its_file(tmp_path: Path) -> None:
    images, _ = drawn(4)
    for name, pixels in (("a.png", images[0]), ("a.bmp", images[0]), ("b.png", images[1])):
        Image.fromarray(pixels).save(tmp_path / name)
    in_colour = images[0][:, :, None].repeat(3, axis=2)
    Image.fromarray(in_colour).save(tmp_path / "c.png")
    for label, names in (("x", ("a.png", "a.bmp", "c.png")), ("y", ("b.png",))):
        (tmp_path / "set" / label).mkdir(parents=True)
        for name in names:
            (tmp_path / name).rename(tmp_path / "set" / label / name)
    table = load("set", image="image", base=tmp_path)
    assert len(table) == 2
    assert table.left_out.duplicates == 2
    with pytest.raises(DataError, match="every test record is also"):
        align_test(table, table)


def test_the_canonical_form_is_the_one_of_the_specification() -> None:
    grey = np.array([[[1], [2]]], dtype=np.uint8)
    assert canonical_image(grey) == bytes.fromhex("ff 01000000 02000000 01000000 0102")
    assert canonical(grey.repeat(3, axis=2)) == canonical(grey)
    colour = np.array([[[1, 2, 3]]], dtype=np.uint8)
    assert canonical(colour) == bytes.fromhex("ff 01000000 01000000 03000000 010203")
    assert canonical(grey) != canonical(grey.transpose(1, 0, 2))
    assert canonical("\xff") != b"\xff"


def test_a_table_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    write_folders(tmp_path / "set", 6)
    table = load("set", image="image", base=tmp_path)
    assert suffix_of(table) == ".parquet"
    (tmp_path / "again.parquet").write_bytes(written(table, content="picture", label="kind"))
    again = load("again.parquet", image="picture", label="kind", base=tmp_path)
    assert [canonical(image) for image in again.content] == [canonical(image) for image in table.content]
    assert np.array_equal(again.labels, table.labels)
    assert again.label_names == table.label_names


@pytest.mark.parametrize("lenient", [False, True])
def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, lenient: bool) -> None:
    # Libraries turn this on for the whole process, when they are imported.
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", lenient)
    write_folders(tmp_path / "set", 4)
    path = tmp_path / "set" / "cross" / "000.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"'set/cross/000\.png' cannot be read as an image"):
        load("set", image="image", base=tmp_path)
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(path)
    with pytest.raises(DataError, match="more than 8 bits"):
        load("set", image="image", base=tmp_path)


def test_a_damaged_or_lonely_idx_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path, zipped=False, count=4)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    whole = images.read_bytes()
    for damaged in (whole[:-1], whole + b"\0", b"\0\0\x0d" + whole[3:], whole[:3], b""):
        images.write_bytes(damaged)
        with pytest.raises(DataError, match="train-images-idx3-ubyte' is damaged"):
            load(str(tmp_path), image="image")
    images.write_bytes(whole)
    labels.write_bytes(bytes((0, 0, 8, 1, 0, 0, 0, 3, 0, 1, 0)))
    with pytest.raises(DataError, match=r"4 images.*3 labels"):
        load(str(tmp_path), image="image")
    labels.unlink()
    with pytest.raises(DataError, match="train-labels-idx1-ubyte' is missing"):
        load(str(tmp_path), image="image")
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8b no such thing")
    with pytest.raises(DataError, match="is damaged"):
        load(str(tmp_path), image="image")


def test_without_pillow_the_extra_is_named_and_idx_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folders(tmp_path / "set", 4)
    write_idx(tmp_path / "idx", count=4)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="Pillow, which is not installed") as caught:
        load("set", image="image", base=tmp_path)
    assert caught.value.hint == "pip install 'fedpriv[images]'"
    table = load("idx", image="image", base=tmp_path)
    with pytest.raises(DataError, match="Pillow"):
        written(table, content="image", label="label")


def test_what_holds_no_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("text,label\na,x\nb,y\n")
    with pytest.raises(DataError, match=r"'texts\.csv' holds no images"):
        load("texts.csv", image="image", base=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the folder 'empty' holds no images"):
        load("empty", image="image", base=tmp_path)
    with pytest.raises(DataError, match="no data at 'nowhere'") as caught:
        load("nowhere", image="image", base=tmp_path)
    assert "texts.csv" in caught.value.hint
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        load("bad.parquet", image="image", base=tmp_path)
    with pytest.raises(DataError, match="not read from the hub"):
        load("hf:owner/name", image="image")


def test_a_table_of_images_has_no_texts(tmp_path: Path) -> None:
    write_idx(tmp_path, count=4)
    with pytest.raises(DataError, match="images, not texts"):
        _ = load(str(tmp_path), image="image").texts


def test_records_without_labels_are_a_table_without_labels(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text('{"text": "one"}\n{"text": " "}\n{"text": "two"}\n')
    table = load("lines.jsonl", label=None, base=tmp_path)
    assert table.texts == ["one", "two"]
    assert table.label_names == ()
    assert table.labels.tolist() == [0, 0]
    assert table.left_out.empty == 1
    assert written(table, content="text", label=None) == b'{"text": "one"}\n{"text": "two"}\n'
    (tmp_path / "blank.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(DataError, match="no record"):
        load("blank.jsonl", label=None, base=tmp_path)
