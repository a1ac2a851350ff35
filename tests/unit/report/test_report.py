"""What a report says, and that it says it from the ledger."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import dp_accounting
import pytest
from dp_accounting.pld import pld_privacy_accountant
from sample_run import DELTA, edit, make_run, report_of

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.report import verify, write
from fedpriv.report.forms.html import render
from fedpriv.report.schema import load_schema, problems

ROOT = Path(__file__).parents[3]
SECTIONS = (
    "identity",
    "guarantee",
    "adversaries",
    "unit",
    "mechanism",
    "accounting",
    "assumptions",
    "secure_aggregation",
    "accesses_not_accounted",
    "operational_risk",
    "empirical_audit",
    "utility",
    "attestations",
    "crosswalk",
    "evidence",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six rounds with its report."""
    run_dir = make_run(tmp_path_factory.mktemp("finished"))
    write(run_dir)
    return run_dir


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on a tag that is not closed where it should be."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def test_all_fifteen_sections_are_there_and_follow_the_schema(finished: Path) -> None:
    report = report_of(finished)
    assert problems(report) == []
    assert [name for name in SECTIONS if not report[name]] == []
    page = Page((finished / "report.html").read_text())
    ids = [attributes.get("id") for tag, attributes in page.tags if tag == "section"]
    assert [name for name in ids if name] == [f"s{n}" for n in range(1, 16)]


def test_the_schema_refuses_a_report_with_an_unknown_or_a_missing_field(finished: Path) -> None:
    report = report_of(finished)
    assert problems(report | {"note": "hello"})
    del report["evidence"]["ledger_head"]
    assert "ledger_head" in problems(report)[0]


def test_the_package_carries_the_published_schema() -> None:
    published = (ROOT / "protocols" / "report" / "report.schema.json").read_bytes()
    assert (ROOT / "fedpriv" / "report" / "templates" / "report.schema.json").read_bytes() == published
    assert load_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_epsilon_is_the_one_of_dp_accounting_on_the_same_events(finished: Path) -> None:
    report = report_of(finished)
    event = report["mechanism"]["event"]
    multiplier = int(event["noise_variance"]) ** 0.5 / int(event["sensitivity"])
    accountant = pld_privacy_accountant.PLDAccountant(value_discretization_interval=1e-4)
    gaussian = dp_accounting.GaussianDpEvent(multiplier)
    accountant.compose(dp_accounting.PoissonSampledDpEvent(float(event["sampling_rate"]), gaussian), 6)
    expected = accountant.get_epsilon(DELTA)
    stated = report["accounting"]["epsilon_pld_planned"]
    assert expected <= stated <= expected * 1.001  # the Skellam noise costs a little of δ


def test_writing_twice_gives_the_same_bytes(copy: Path) -> None:
    before = (copy / "report.json").read_bytes(), (copy / "report.html").read_bytes()
    written = write(copy)
    assert written == {"json": copy / "report.json", "html": copy / "report.html"}
    assert ((copy / "report.json").read_bytes(), (copy / "report.html").read_bytes()) == before


def test_the_page_is_rendered_from_the_json_alone(finished: Path) -> None:
    assert render(report_of(finished)) == (finished / "report.html").read_text()


def test_the_page_fetches_nothing_and_runs_nothing(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    page = Page(text)
    assert not {"script", "iframe", "object", "img", "form"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("src", "href", "data", "action", "style"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:,", "width:", "left:")), value
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"@import|url\(|https?://", text)


def test_every_chart_has_a_sentence_and_a_table(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    charts = [dict(a) for tag, a in Page(text).tags if tag == "svg"]
    assert len(charts) == 7
    assert all(chart["role"] == "img" and len(chart["aria-label"] or "") > 40 for chart in charts)
    assert text.count("The figures as a table") == len(charts)


def test_links_of_the_page_lead_somewhere(finished: Path) -> None:
    tags = Page((finished / "report.html").read_text()).tags
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    links = {a["href"] for tag, a in tags if tag == "a"}
    assert links <= {f"#{name}" for name in ids}
    assert "#s15" in links


def test_a_hostile_name_stays_text(copy: Path) -> None:
    edit(copy / "run.json", name="<script>alert(1)</script>\"'")
    write(copy)
    page = Page((copy / "report.html").read_text())
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in "".join(page.words)


def test_it_points_at_laws_and_never_says_that_one_is_met(finished: Path) -> None:
    both = (finished / "report.json").read_text() + (finished / "report.html").read_text()
    assert not re.search("complian|complies", both, re.IGNORECASE)
    for name in ("NIST SP 800-226", "GDPR", "HIPAA", "EU AI Act", "ISO/IEC 27559"):
        assert name in both
    assert {(row["applies"], row["owner"]) for row in report_of(finished)["crosswalk"]} == {(None, None)}


def test_what_people_filled_in_is_kept_and_does_not_break_verification(copy: Path) -> None:
    report = report_of(copy)
    report["attestations"][0]["name"] = "A. Officer"
    report["crosswalk"][2]["owner"] = "Data protection office"
    (copy / "report.json").write_text(json.dumps(report))
    write(copy)
    assert report_of(copy)["attestations"][0]["name"] == "A. Officer"
    assert "Data protection office" in (copy / "report.html").read_text()
    assert verify(copy).ok


def first_alert_stands_before_the_first_figure(page: str, title: str) -> bool:
    body = page[page.index("<body") :]
    return body.index(title) < body.index('class="keys"')


def test_a_known_seed_is_said_first_and_nothing_is_promised(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=2, insecure_seed=7)
    write(run_dir)
    report = report_of(run_dir)
    assert report["warnings"][0]["level"] == "danger"
    assert report["summary"]["promised"] == report["summary"]["against"] == []
    assert report["summary"]["holds"] is False
    assert "no privacy guarantee" in report["summary"]["headline"]
    assert first_alert_stands_before_the_first_figure(
        (run_dir / "report.html").read_text(), "drew its noise from a known seed"
    )


def test_plain_aggregation_is_said_first_and_the_server_is_not_covered(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=2, aggregator="plain")
    write(run_dir)
    report = report_of(run_dir)
    assert ("danger", "No secure aggregation was used") in {
        (w["level"], w["title"]) for w in report["warnings"]
    }
    assert [row["epsilon_pld"] for row in report["adversaries"] if row["adversary"] == "server"] == [None]
    assert "The server" in {row["what"] for row in report["summary"]["not_covered"]}
    assert "The server" not in {row["who"] for row in report["summary"]["against"]}
    assert report["summary"]["holds"] is False
    assert first_alert_stands_before_the_first_figure(
        (run_dir / "report.html").read_text(), "No secure aggregation was used"
    )


def test_on_a_sparse_graph_the_server_is_said_to_follow_the_protocol(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=2, graph="sparse")
    write(run_dir)
    report = report_of(run_dir)
    assert "follow the protocol" in report["warnings"][0]["title"]
    rows = {row["assumption"]: row["status"] for row in report["assumptions"]}
    assert rows["The server follows the protocol."] == "asserted"


def test_a_trusted_server_is_said_first(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=2, trust="central")
    write(run_dir)
    report = report_of(run_dir)
    assert "The server is trusted" in report["warnings"][0]["title"]
    assert "The server" in {row["what"] for row in report["summary"]["not_covered"]}
    assert "Whoever receives the model" in {row["who"] for row in report["summary"]["against"]}
    assert verify(run_dir).ok


@pytest.mark.slow
def test_local_noise_holds_against_the_server_too(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=2, trust="local")
    write(run_dir)
    report = report_of(run_dir)
    assert {row["who"] for row in report["summary"]["against"]} >= {
        "The server",
        "Whoever receives the model",
    }
    assert verify(run_dir).ok


@pytest.mark.slow
def test_an_unfinished_run_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=6, done=3)
    write(run_dir)
    report = report_of(run_dir)
    assert report["summary"]["rounds_spent"] == 3
    assert report["summary"]["epsilon_spent"] < report["summary"]["epsilon_planned"]
    assert "not finished" in report["warnings"][-1]["title"]
    verification = verify(run_dir)
    assert verification.ok
    assert not verification.finished
    notes = {check.name for check in verification.checks if check.status == "note"}
    assert notes == {"result", "adapter", "clients' ledgers"}


@pytest.mark.slow
def test_a_lost_round_is_spent_and_a_voided_one_is_not(tmp_path: Path) -> None:
    lost = make_run(tmp_path, rounds=3, lost=(2,), name="lost")
    voided = make_run(tmp_path, rounds=3, voided=(2,), name="voided")
    for run_dir, spent in ((lost, 3), (voided, 2)):
        write(run_dir)
        assert report_of(run_dir)["accounting"]["rounds_spent"] == spent
        assert verify(run_dir).ok
    assert "1 round spent budget without giving a sum" in (lost / "report.html").read_text()


def test_the_page_of_a_run_that_did_nothing_yet(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=2, done=0)
    write(run_dir)
    report = report_of(run_dir)
    assert report["accounting"]["epsilon_pld_spent"] == 0
    assert report["rounds"] == []
    drawn = [
        dict(a)["aria-label"] for tag, a in Page((run_dir / "report.html").read_text()).tags if tag == "svg"
    ]
    assert [words.split(".")[0].split(",")[0] for words in drawn if words] == [
        "Line chart of δ",
        "Line chart of members missed by non-members accused",
        "Line chart of the noise that a number of rounds needs",
    ]


def test_json_alone_writes_no_page(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=2)
    assert write(run_dir, formats=("json",)) == {"json": run_dir / "report.json"}
    assert not (run_dir / "report.html").exists()


def test_an_unknown_format_is_refused(finished: Path) -> None:
    with pytest.raises(UsageError, match="'docx' is not a format"):
        write(finished, formats=("docx",))


def test_a_run_that_the_ledger_does_not_know_gets_no_report(copy: Path) -> None:
    edit(copy / "run.json", run_id="00" * 16)
    with pytest.raises(IntegrityError, match="no PLAN row"):
        write(copy)
