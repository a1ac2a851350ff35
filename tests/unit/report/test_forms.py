"""The forms of a report beside its page: rows for a spreadsheet, and paper."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest
from click.testing import CliRunner
from sample_run import edit, make_run, report_of

from fedpriv.cli import main
from fedpriv.errors import UsageError
from fedpriv.report import write
from fedpriv.report.forms.ledger_csv import COLUMNS, ledger_csv
from fedpriv.report.forms.pdf import _style_charts, pdf
from fedpriv.report.write import FILES, FORMATS

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PAGE = "<html lang='en'><head><title>t</title></head><body>{}</body></html>"


def _streams(printed: bytes) -> Iterator[bytes]:
    """The parts of a PDF as they are and, where they were compressed, unpacked."""
    yield printed
    for packed in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", printed, re.DOTALL):
        with contextlib.suppress(zlib.error):
            yield zlib.decompress(packed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with all forms of its report but the one that takes seconds."""
    run_dir = make_run(tmp_path_factory.mktemp("forms"), voided=(2,))
    write(run_dir, formats=[name for name in FORMATS if name != "pdf"])
    return run_dir


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_every_form_lies_in_a_file_of_its_own_and_the_json_always(copy: Path) -> None:
    for name, file in FILES.items():
        if name != "pdf":
            assert (copy / file).stat().st_size > 1000
            (copy / file).unlink()
    assert write(copy, formats=("csv",)) == {"csv": copy / "ledger.csv"}
    assert {name for name, file in FILES.items() if (copy / file).exists()} == {"json", "csv"}


def test_a_page_that_is_there_stays_the_one_of_the_record(copy: Path) -> None:
    edit(copy / "run.json", name="another name")  # so the record changes
    write(copy, formats=("csv",))
    assert "another name" in (copy / "report.html").read_text(encoding="utf-8")


def test_the_table_holds_every_row_of_the_ledger_in_order(finished: Path) -> None:
    raw = (finished / "ledger.csv").read_bytes().decode("utf-8")
    assert raw.count("\r\n") == raw.count("\n")
    rows = json.loads((finished / "ledger.json").read_text())["rows"]
    table = list(csv.DictReader(io.StringIO(raw, newline="")))
    assert tuple(table[0]) == COLUMNS
    assert [(line["seq"], line["kind"], line["hash"], line["previous_hash"]) for line in table] == [
        (str(row["seq"]), row["kind"], row["hash"], row["prev"]) for row in rows
    ]
    released = next(line for line in table if line["kind"] == "RELEASE" and line["round"] == "3")
    assert len(released["survivors"].split()) == int(released["survivor_count"]) == 7
    lines = report_of(finished)["rounds"]
    assert released["sum_sha256"] == next(r["aggregate_digest"] for r in lines if r["round"] == 3)
    voided = next(line for line in table if line["kind"] == "VOID")
    assert json.loads(voided["evidence"])["reason"] == "too few clients"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "\uff1d", "\uff20"])
def test_a_data_set_named_as_a_formula_is_text_in_a_spreadsheet(start: str) -> None:
    name = f'{start}HYPERLINK("http://x";"y")'
    body = {"name": name, "epsilon": "1.0", "delta": "1e-05"}
    text = ledger_csv({"dataset": "ab", "rows": [{"seq": 0, "kind": "BUDGET", "body": body}]})
    line = next(csv.DictReader(io.StringIO(text, newline="")))
    assert line["name"] == "'" + name
    assert line["epsilon"] == "1.0"


def test_a_name_with_quotes_commas_and_line_breaks_stays_one_cell() -> None:
    name = 'reviews, "old"\r\nand new'
    text = ledger_csv({"dataset": "ab", "rows": [{"seq": 0, "kind": "BUDGET", "body": {"name": name}}]})
    assert [line["name"] for line in csv.DictReader(io.StringIO(text, newline=""))] == [name]


@pytest.mark.parametrize(
    "rows", [None, 7, [None, 3], [{"body": 4}], [{"body": {"details": [], "round": {"a": 1}}}]]
)
def test_a_damaged_ledger_is_written_as_it_is(rows: object) -> None:
    lines = ledger_csv({"rows": rows}).split("\r\n")
    assert len(lines) == 2 + (len(rows) if isinstance(rows, list) else 0)


def test_the_paper_is_tagged_and_the_same_each_time() -> None:
    printed = pdf(PAGE.format("<h1>ε</h1><p>2.988</p>"))
    assert printed.startswith(b"%PDF-")
    inside = b"".join(_streams(printed))
    assert b"pdfuaid" in inside
    assert b"/StructTreeRoot" in inside
    assert pdf(PAGE.format("<h1>ε</h1><p>2.988</p>")) == printed


@pytest.mark.slow
def test_the_command_prints_a_whole_report(copy: Path) -> None:
    printed = CliRunner().invoke(main, ["report", str(copy), "--format", "pdf", "--output", "-"])
    assert printed.exit_code == 0
    assert printed.stdout_bytes == (copy / "report.pdf").read_bytes()
    pages = b"".join(_streams(printed.stdout_bytes)).count(b"/Type /Page/")
    assert 5 < pages < 25


def test_the_paper_fetches_neither_files_nor_addresses(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PIXEL)
    outside = f'<img alt="a" src="file://{tmp_path}/secret.png"><img alt="b" src="http://127.0.0.1:9/x.png">'
    assert b"/Image" not in b"".join(_streams(pdf(PAGE.format(outside))))


def test_charts_on_paper_have_the_colours_for_paper(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    styles = re.findall(r'<svg class="chart"[^>]*><style>(.*?)</style>', _style_charts(page))
    assert len(styles) == page.count('<svg class="chart"') > 2
    assert "var(" not in styles[0]
    assert re.search(r"\.chart \.s1 \{ stroke: #\w{6};", styles[0])


def test_without_weasyprint_nothing_is_written_and_the_hint_says_what_to_do(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (copy / "report.json").stat().st_mtime_ns
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(UsageError, match="WeasyPrint") as raised:
        write(copy, formats=("pdf",))
    assert "fedpriv[pdf]" in raised.value.hint
    assert (copy / "report.json").stat().st_mtime_ns == before


def test_without_its_system_library_the_hint_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoPango(MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "weasyprint":
                raise OSError("cannot load library 'libpango-1.0-0'")

    for name in [name for name in sys.modules if name.partition(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoPango(), *sys.meta_path])
    with pytest.raises(UsageError, match="Pango") as raised:
        pdf("<p>x</p>")
    assert "libpango" in raised.value.hint


def test_the_command_writes_bytes_to_standard_output_and_elsewhere(copy: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    printed = runner.invoke(main, ["report", str(copy), "--format", "yaml", "--output", "-"])
    assert printed.exit_code == 0
    assert printed.stdout_bytes == (copy / "deployment.yaml").read_bytes()
    there = tmp_path / "rows.csv"
    done = runner.invoke(main, ["report", str(copy), "--format", "csv", "--output", str(there)])
    assert (done.exit_code, done.output) == (0, f"{there}\n")
    assert there.read_bytes() == (copy / "ledger.csv").read_bytes()
    assert runner.invoke(main, ["report", str(copy), "--format", "docx"]).exit_code == 2
    assert runner.invoke(main, ["report"]).exit_code == 2
