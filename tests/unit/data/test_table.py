"""Rows to records: what is left out, and labels in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpriv.data import LeftOut, load
from fedpriv.errors import DataError

CSV = """text,label,film
fine,fresh,A
,fresh,A
  ,rotten,B
bad,rotten,
bad,fresh,C
odd,,C
plot,story,A
Fine,fresh,C
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "r.csv"
    path.write_text(CSV)
    return str(path)


def test_what_is_left_out_is_counted(source: str) -> None:
    table = load(source, labels=("rotten", "fresh"), extra=("film",))
    assert table.texts == ["fine", "bad", "Fine"]
    assert table.label_names == ("rotten", "fresh")
    assert table.labels.tolist() == [1, 0, 1]
    assert table.labels.dtype == np.int64
    assert table.columns == {"film": ["A", "", "C"]}
    assert table.left_out == LeftOut(empty=3, other_labels=1, duplicates=1)
    assert table.left_out.total + len(table) == 8


def test_without_a_list_every_label_is_kept_in_sorted_order(source: str) -> None:
    assert load(source).label_names == ("fresh", "rotten", "story")


def test_a_duplicate_of_a_row_left_out_is_kept(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("text,label\nsame,other\nsame,a\nelse,b\n")
    assert load("r.csv", labels=("a", "b"), base=tmp_path).texts == ["same", "else"]


def test_a_missing_column_lists_those_there_are(source: str) -> None:
    with pytest.raises(DataError, match="has no column 'lable'") as caught:
        load(source, label="lable")
    assert caught.value.hint == "did you mean 'label'? its columns: text, label, film"
    with pytest.raises(DataError, match="has no column 'hospital'") as caught:
        load(source, extra=("hospital",))
    assert "text, label, film" in caught.value.hint
    with pytest.raises(DataError, match="has no column 'words'") as caught:
        load(source, text="words")
    assert "set data.text" in caught.value.hint


def test_a_label_that_no_row_has(source: str) -> None:
    with pytest.raises(DataError, match="has the label 'Fresh'") as caught:
        load(source, labels=("Fresh", "rotten"))
    assert "'fresh', 'rotten', 'story'" in caught.value.hint


def test_one_label_is_no_classification(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("text,label\na,x\nb,x\n")
    with pytest.raises(DataError, match="at least two"):
        load("r.csv", base=tmp_path)


def test_an_empty_value_in_a_column_that_matters(source: str) -> None:
    table = load(source, labels=("rotten", "fresh"), extra=("film",))
    with pytest.raises(DataError, match="1 of 3 records have no value in the column 'film'"):
        table.column("film")
    with pytest.raises(DataError, match="no column 'director'"):
        table.column("director")


def test_select_keeps_rows_together(source: str) -> None:
    table = load(source, labels=("rotten", "fresh"), extra=("film",))
    chosen = table.select(np.array([2, 0]))
    assert chosen.texts == ["Fine", "fine"]
    assert chosen.labels.tolist() == [1, 1]
    assert chosen.columns == {"film": ["C", "A"]}
