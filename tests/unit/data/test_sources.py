"""Where records may come from, and what is said when they are not there."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpriv.data import load
from fedpriv.data.sources import read
from fedpriv.errors import DataError

CSV = 'text,label,film\n"a, fine one",fresh,A\nNA,rotten,B\n  ,fresh,B\nbad,rotten,\nbad,fresh,C\nodd,,C\n'


def test_csv_keeps_what_looks_like_a_missing_value(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(CSV)
    assert read("r.csv", base=tmp_path)["text"] == ["a, fine one", "NA", "  ", "bad", "bad", "odd"]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", None)],
)
def test_compressed_files(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes] | None) -> None:
    if compress is None:
        import pyarrow as pa

        def compress(data: bytes) -> bytes:
            return bytes(pa.compress(data, codec="zstd", asbytes=True))

    plain = tmp_path / "r.csv"
    plain.write_text(CSV)
    (tmp_path / f"r.csv{suffix}").write_bytes(compress(CSV.encode()))
    assert read(f"r.csv{suffix}", base=tmp_path) == read("r.csv", base=tmp_path)


def test_the_same_records_in_three_formats(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": "one", "label": 1, "film": None}, {"text": "zwölf", "label": 0, "film": "F"}]
    (tmp_path / "r.csv").write_text("text,label,film\none,1,\nzwölf,0,F\n", encoding="utf-8")
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    wanted = {"text": ["one", "zwölf"], "label": ["1", "0"], "film": ["", "F"]}
    for name in ("r.csv", "r.jsonl", "r.parquet"):
        assert read(name, base=tmp_path) == wanted, name


def test_a_key_that_some_lines_lack_is_empty_there(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"text": "a"}\n{"text": "b", "label": "x"}\n')
    assert read("r.jsonl", base=tmp_path)["label"] == ["", "x"]


def test_a_format_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text(CSV)
    with pytest.raises(DataError, match="does not say what format") as caught:
        read("r.txt", base=tmp_path)
    assert "data.format" in caught.value.hint
    assert len(read("r.txt", format="csv", base=tmp_path)["text"]) == 6


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "r.csv").write_text(CSV)
    (tmp_path / "d" / "README.md").write_text("hello")
    assert len(read("d", base=tmp_path)["text"]) == 6
    (tmp_path / "d" / "s.jsonl").write_text("{}")
    with pytest.raises(DataError, match="holds 2 data files"):
        read("d", base=tmp_path)


def test_a_folder_for_each_label(tmp_path: Path) -> None:
    for label, texts in {"sport": ["goal", "match"], "tech": ["chip"]}.items():
        (tmp_path / "news" / label).mkdir(parents=True)
        for number, text in enumerate(texts):
            (tmp_path / "news" / label / f"{number}.txt").write_text(f"{text}\n")
    table = load("news", base=tmp_path)
    assert table.label_names == ("sport", "tech")
    assert table.texts == ["goal", "match", "chip"]
    assert table.labels.tolist() == [0, 0, 1]


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match="neither a data file nor folders"):
        read("d", base=tmp_path)


def test_a_file_in_a_package_is_read_without_running_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "packaged_reviews"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "data" / "r.csv").write_text(CSV)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert len(read("package:packaged_reviews/data/r.csv")["text"]) == 6
    assert len(read("package:packaged_reviews.data/r.csv")["text"]) == 6
    with pytest.raises(DataError, match="there are no data at") as caught:
        read("package:packaged_reviews/data/s.csv")
    assert "r.csv" in caught.value.hint


@pytest.mark.parametrize("source", ["package:no_such_package_here/x.csv", "package:", "package:/x"])
def test_a_package_that_is_not_installed(source: str) -> None:
    with pytest.raises(DataError, match="not installed"):
        read(source)


def test_the_hub_needs_an_optional_package() -> None:
    try:
        import datasets  # noqa: F401
    except ImportError:
        with pytest.raises(DataError, match="datasets") as caught:
            read("hf:someone/something")
        assert "fedpriv[hub]" in caught.value.hint
    for wrong in ("hf:", "hf:a/b/c/d", "hf:/x"):
        with pytest.raises(DataError, match="does not name a data set"):
            read(wrong)


def test_a_missing_file_lists_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"there are no data at 'review\.csv'") as caught:
        read("review.csv", base=tmp_path)
    assert "reviews.csv" in caught.value.hint
    with pytest.raises(DataError) as caught:
        read("nowhere/review.csv", base=tmp_path)
    assert "does not exist" in caught.value.hint


_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff\xfe\x00"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", _PNG),
        ("x.csv", b""),
        ("x.csv", b'a,b\n"open'),
        ("x.csv", b"a,b\n1,2,3,4\n1,2,3\n"),
        ("x.csv.gz", _PNG),
        ("x.csv.gz", gzip.compress(b"a,b\n" * 100, mtime=0)[:20]),
        ("x.csv.bz2", _PNG),
        ("x.csv.xz", _PNG),
        ("x.csv.zst", _PNG),
        ("x.jsonl", _PNG),
        ("x.jsonl", b"[1, 2]\n"),
        ("x.jsonl", b'{"text": \n'),
        ("x.jsonl", b""),
        ("x.parquet", _PNG),
        ("x.parquet", b""),
        ("x.csv", b"text,label\n"),
    ],
)
def test_a_file_of_other_bytes_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(name, base=tmp_path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert caught.value.hint


def test_a_broken_line_is_numbered(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(DataError, match="line 2 is not a JSON object"):
        read("x.jsonl", base=tmp_path)
