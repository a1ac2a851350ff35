"""One file that is verified alone, and says what the folder says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from parties.report_forger import statement_of
from sample_run import make_run, signer

from fedpriv.crypto import SigningKey
from fedpriv.errors import IntegrityError, UsageError
from fedpriv.peft.artifact import digest_of
from fedpriv.report import bundle, verify, write
from fedpriv.report.adapter_files import AdapterFiles

SIGNER = signer().public.hex()


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds with its report and its bundle."""
    run_dir = make_run(tmp_path_factory.mktemp("reported"), rounds=2)
    write(run_dir)
    bundle.write(run_dir, signer())
    return run_dir


@pytest.fixture
def alone(reported: Path, tmp_path: Path) -> Path:
    """The bundle, and nothing of the run beside it."""
    return Path(shutil.copy(reported / bundle.NAME, tmp_path / "evidence.dsse.json"))


@pytest.fixture
def copy(reported: Path, tmp_path: Path) -> Path:
    """The run, to be changed."""
    run_dir = Path(shutil.copytree(reported, tmp_path / "run"))
    (run_dir / bundle.NAME).unlink()
    return run_dir


def test_a_bundle_alone_says_what_the_folder_says(reported: Path, alone: Path) -> None:
    folder = [str(check) for check in verify(reported).checks if check.name != "report: page"]
    found = verify(alone, signer=SIGNER, adapter=reported / "adapter")
    assert found.ok
    assert found.finished
    assert [str(check) for check in found.checks][-len(folder) :] == folder
    assert {check.name for check in found.checks if check.status == "note"} <= {"clients' ledgers"}


def test_what_a_bundle_alone_cannot_show_is_said(alone: Path) -> None:
    found = verify(alone)
    assert found.ok
    notes = [check for check in found.checks if check.status == "note"]
    assert [check.name for check in notes][:2] == ["signer", "adapter in use"]
    assert SIGNER in notes[0].what


def test_files_are_in_it_word_for_word(copy: Path) -> None:
    config = '# Übung\r\n[run]\r\nname = "x"  # \u2028 \\ud800 \U0001f642\n\n'
    (copy / "config.toml").write_bytes(config.encode())
    files = statement_of(bundle.write(copy, signer()))["predicate"]["files"]
    assert files["config.toml"] == config
    for name, text in files.items():
        assert text.encode() == (copy / name).read_bytes()
    assert "report.html" not in files


def test_the_same_run_gives_the_same_bytes(reported: Path, copy: Path) -> None:
    assert bundle.write(copy, signer()).read_bytes() == (reported / bundle.NAME).read_bytes()


def test_the_subjects_are_the_adapter_and_its_files(reported: Path) -> None:
    whole, *files = statement_of(reported / bundle.NAME)["subject"]
    assert whole["digest"]["sha256"] == digest_of(reported / "adapter")
    assert {file["name"] for file in files} == {
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    }


def test_the_verifiers_digest_of_a_folder_is_the_writers(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a/ä", "a-"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert AdapterFiles.of(tmp_path).digest == digest_of(tmp_path)


def test_a_run_that_is_not_finished_has_no_bundle(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, rounds=2, done=1)
    with pytest.raises(UsageError, match="not finished") as caught:
        bundle.write(run_dir, signer())
    assert "--resume" in caught.value.hint
    assert not (run_dir / bundle.NAME).exists()


def test_another_key_than_the_ledgers_signs_nothing(copy: Path) -> None:
    with pytest.raises(UsageError, match="another key"):
        bundle.write(copy, SigningKey.from_seed(bytes(32)))
    assert not (copy / bundle.NAME).exists()


def test_an_adapter_that_the_ledger_does_not_name_is_not_vouched_for(copy: Path) -> None:
    (copy / "adapter" / "more.bin").write_bytes(b"x")
    with pytest.raises(IntegrityError, match="FINISH"):
        bundle.write(copy, signer())
    assert not (copy / bundle.NAME).exists()


def test_a_file_that_is_no_text_is_not_taken(copy: Path) -> None:
    (copy / "audit.json").write_bytes(b"\xff")
    with pytest.raises(IntegrityError, match=r"audit\.json is not UTF-8"):
        bundle.write(copy, signer())


def test_a_known_row_is_found_wherever_it_stands(alone: Path) -> None:
    rows = json.loads(statement_of(alone)["predicate"]["files"]["ledger.json"])["rows"]
    for row, said in ((rows[-1], "the last row"), (rows[2], f"{len(rows) - 3} rows")):
        (check,) = [c for c in verify(alone, head=row["hash"].upper()).checks if c.name == "head"]
        assert check.status == "ok"
        assert said in check.what


@pytest.mark.parametrize("known", [{"signer": "03a1"}, {"head": "x" * 64}, {"adapter": "no/such/folder"}])
def test_what_is_known_must_be_what_it_is_called(alone: Path, known: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        verify(alone, **known)
    assert caught.value.hint


def test_a_folder_is_held_against_what_is_known_too(reported: Path, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(reported / "adapter", tmp_path / "in-use"))
    assert verify(reported, signer=SIGNER, adapter=adapter).ok
    (adapter / "adapter_config.json").write_text("{}")
    found = verify(reported, signer="00" * 32, head="00" * 32, adapter=adapter).failures
    assert [check.name for check in found] == ["signer", "head", "adapter in use"]
    assert found[2].what.endswith("adapter_config.json")
