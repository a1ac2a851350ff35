"""Attacks on a bundle: on its way, by whoever exported it, and on the program that reads it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from parties.report_forger import Statement, envelope_of, resign, sign_again, statement_of
from sample_run import DATASET, make_run, signer

from fedpriv import dp
from fedpriv.crypto import SigningKey
from fedpriv.errors import DecodeError, FedprivError, IntegrityError
from fedpriv.ledger import Ledger
from fedpriv.report import bundle, verify
from fedpriv.report.adapter_files import AdapterFiles

SIGNER = signer().public.hex()
STRANGER = SigningKey.from_seed(b"\x07" * 32)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds with its bundle."""
    folder = make_run(tmp_path_factory.mktemp("run"), rounds=2)
    bundle.write(folder, signer())
    return folder


@pytest.fixture
def evidence(run_dir: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, for the attacker."""
    return Path(shutil.copy(run_dir / bundle.NAME, tmp_path / bundle.NAME))


def failed(evidence: Path, **known: Any) -> list[str]:
    """The names of the checks that fail; there is at least one."""
    verification = verify(evidence, **known)
    assert not verification.ok
    return [check.name for check in verification.failures]


def change_file(name: str, **changes: Any) -> Callable[[Statement], None]:
    def edit(statement: Statement) -> None:
        files = statement["predicate"]["files"]
        files[name] = json.dumps({**json.loads(files[name]), **changes})

    return edit


# On its way: somebody without the ledger's key.


def test_a_changed_payload_is_not_read_further(evidence: Path) -> None:
    envelope = envelope_of(evidence)
    payload = base64.b64decode(envelope["payload"]).replace(b"rotten-tomatoes", b"fresher-tomatos")
    evidence.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))
    for known in ({}, {"signer": SIGNER}):
        found = verify(evidence, **known)
        assert [check.name for check in found.checks] == ["bundle: signature"]
        assert not found.ok


def test_another_type_around_the_same_bytes_is_refused(evidence: Path) -> None:
    evidence.write_text(json.dumps({**envelope_of(evidence), "payloadType": "application/json"}))
    with pytest.raises(DecodeError, match="application/json"):
        verify(evidence)


def test_a_signature_by_another_key_is_none(evidence: Path) -> None:
    sign_again(evidence, json.dumps(statement_of(evidence)), STRANGER)
    assert failed(evidence) == failed(evidence, signer=SIGNER) == ["bundle: signature"]


def test_a_keyid_that_lies_convinces_nobody(evidence: Path) -> None:
    sign_again(evidence, json.dumps(statement_of(evidence)), STRANGER)
    envelope = envelope_of(evidence)
    envelope["signatures"][0]["keyid"] = SIGNER
    evidence.write_text(json.dumps(envelope))
    assert failed(evidence, signer=SIGNER) == ["bundle: signature"]


def test_the_ledgers_own_signature_is_none_of_the_envelope(evidence: Path) -> None:
    ledger = json.loads(statement_of(evidence)["predicate"]["files"]["ledger.json"])
    envelope = envelope_of(evidence)
    for row in ledger["rows"]:
        sig = base64.b64encode(bytes.fromhex(row["signature"])).decode()
        evidence.write_text(json.dumps({**envelope, "signatures": [{"sig": sig}]}))
        assert failed(evidence, signer=SIGNER) == ["bundle: signature"]


# By the exporter, who has the key: only what others know, and what follows, holds against him.


def test_a_history_of_another_key_passes_alone_and_fails_against_the_known_key(tmp_path: Path) -> None:
    """A forger can make a sound bundle of a run that never was: it says so, and the known key refutes it."""
    honest = make_run(tmp_path, rounds=1)
    plan, run = (json.loads((honest / name).read_text()) for name in ("plan.json", "run.json"))
    with Ledger(tmp_path / "forged", STRANGER, lambda: "2026-03-01T09:00:00Z") as forged:
        forged.set_budget(DATASET, "reviews", 6, 1e-5)
        line = json.loads((honest / "rounds.jsonl").read_text())
        row = json.loads((honest / "ledger.json").read_text())["rows"][1]["body"]
        event = dp.event_from_dict(plan["event"])
        forged.plan(run["run_id"], DATASET, event=event, rounds=1, details=row["details"])
        forged.reserve(run["run_id"], 1)
        released = {"survivors": line["survivors"], "realised_multiplier": line["realised_multiplier"]}
        forged.release(run["run_id"], 1, {**released, "aggregate": line["aggregate_digest"]})
        adapter = AdapterFiles.of(honest / "adapter").digest
        forged.finish(run["run_id"], {"adapter": adapter, "accuracy": 0.7312})
        (honest / "ledger.json").write_text(json.dumps(forged.export(DATASET)))
    (honest / "run.json").write_text(json.dumps({**run, "server_key": STRANGER.public.hex()}))
    forgery = bundle.write(honest, STRANGER)
    alone = verify(forgery)
    assert alone.ok
    assert STRANGER.public.hex() in next(c.what for c in alone.checks if c.name == "signer")
    assert failed(forgery, signer=SIGNER) == ["bundle: signature"]


def test_rows_cut_from_the_end_are_missed_by_whoever_knows_a_later_head(tmp_path: Path) -> None:
    """A second run spent more on the data; the exporter hands out the ledger of before."""
    folder = make_run(tmp_path, rounds=1)
    evidence = bundle.write(folder, signer())
    event = dp.PoissonGaussian(noise_multiplier=2.0, sampling_rate=0.05)
    with Ledger.open(tmp_path / "quickstart.sqlite", signer(), lambda: "2026-03-02T09:00:00Z") as ledger:
        ledger.plan("second", DATASET, event=event, rounds=1, details={})
        head = ledger.export(DATASET)["head"]
    assert isinstance(head, dict)
    assert verify(evidence).ok
    assert failed(evidence, head=head["hash"]) == ["head"]


def test_rows_cut_inside_the_run_lose_its_adapter(evidence: Path) -> None:
    def cut(statement: Statement) -> None:
        files = statement["predicate"]["files"]
        ledger = json.loads(files["ledger.json"])
        ledger["rows"].pop()
        last = ledger["rows"][-1]
        files["ledger.json"] = json.dumps({**ledger, "head": {"seq": last["seq"], "hash": last["hash"]}})

    head = json.loads(statement_of(evidence)["predicate"]["files"]["ledger.json"])["head"]["hash"]
    resign(evidence, cut)
    assert failed(evidence) == ["adapter"]
    assert failed(evidence, head=head) == ["head", "adapter"]


def relisted(statement: Statement) -> None:
    """Make the first subject follow from the others again."""
    whole, *files = statement["subject"]
    digests = {file["name"].removeprefix("adapter/"): file["digest"]["sha256"] for file in files}
    whole["digest"]["sha256"] = AdapterFiles(digests).digest


def test_another_adapter_in_the_subjects_is_not_the_ledgers(evidence: Path) -> None:
    def swap(statement: Statement) -> None:
        statement["subject"][1]["digest"]["sha256"] = "00" * 32
        relisted(statement)

    resign(evidence, swap)
    assert failed(evidence, signer=SIGNER) == ["adapter"]


def test_another_adapter_in_use_is_named(evidence: Path, run_dir: Path, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(run_dir / "adapter", tmp_path / "in-use"))
    (adapter / "adapter_model.safetensors").write_bytes(b"other weights")
    (adapter / "extra.py").write_text("")
    (found,) = verify(evidence, adapter=adapter).failures
    assert found.what.endswith("adapter_model.safetensors, extra.py")


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (change_file("plan.json", noise_multiplier=2.0), "plan"),
        (change_file("plan.json", epsilon_pld=0.1), "ε planned"),
        (change_file("result.json", epsilon_pld_spent=0.1), "result"),
        (change_file("run.json", config_digest="00" * 32), "configuration"),
    ],
)
def test_a_file_that_does_not_match_is_found_under_a_good_signature(
    evidence: Path, edit: Callable[[Statement], None], name: str
) -> None:
    resign(evidence, edit)
    assert name in failed(evidence, signer=SIGNER)


def test_a_value_cannot_write_lines_of_its_own(evidence: Path) -> None:
    """The officer reads the output of a terminal; what a file says must not look like it."""
    forged = "1\n\x1b[2K\x1b[Aok      everything matches"
    resign(evidence, change_file("plan.json", share_variance=forged))
    texts = [str(check) for check in verify(evidence).checks]
    assert any("everything matches" in text for text in texts)
    assert all(text.isprintable() for text in texts)


# On the program that reads it.


def add_file(name: str, text: str) -> Callable[[Statement], None]:
    return lambda statement: statement["predicate"]["files"].update({name: text})


def rename_subject(name: str) -> Callable[[Statement], None]:
    """One subject, under another name; all digests are right."""

    def edit(statement: Statement) -> None:
        statement["subject"] = statement["subject"][:2]
        statement["subject"][1]["name"] = name
        relisted(statement)

    return edit


REFUSED: dict[str, Callable[[Statement], None]] = {
    "a file more": add_file("notes.txt", "hello"),
    "a page": add_file("report.html", "<script>"),
    "a path upward": add_file("../../.ssh/authorized_keys", "key"),
    "an absolute path": add_file("/etc/passwd", "root"),
    "a file of the adapter": add_file("adapter/adapter_config.json", "{}"),
    "a file that is no text": lambda s: s["predicate"]["files"].update({"audit.json": {"a": 1}}),
    "a file less": lambda s: s["predicate"]["files"].pop("ledger.json"),
    "a text without a UTF-8 form": add_file("audit.json", "\ud800"),
    "files as a list": lambda s: s["predicate"].update(files=[]),
    "no predicate": lambda s: s.pop("predicate"),
    "another predicate": lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
    "another statement": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "a field more": lambda s: s.update(note=""),
    "a field more in a subject": lambda s: s["subject"][1].update(uri="file:///"),
    "a weaker digest beside the other": lambda s: s["subject"][1]["digest"].update(md5="00" * 16),
    "no subject": lambda s: s.update(subject=[]),
    "the adapter without its files": lambda s: s.update(subject=s["subject"][:1]),
    "a subject twice": lambda s: s["subject"].append(s["subject"][-1]),
    "subjects without end": lambda s: s.update(subject=s["subject"][1:] * 100),
    "a subject upward": rename_subject("adapter/../run.json"),
    "a subject elsewhere": rename_subject("/adapter/adapter_config.json"),
    "a subject on a drive": rename_subject("adapter/C:\\x"),
    "a subject with a new line": rename_subject("adapter/a\nb"),
    "a subject that is the folder": rename_subject("adapter"),
    "a subject with an empty part": rename_subject("adapter//x"),
    "a subject with a long name": rename_subject("adapter/" + "x" * 300),
    "a digest in capitals": lambda s: s["subject"][1].update(digest={"sha256": "AB" * 32}),
    "a subject that is no object": lambda s: s["subject"].append(7),
    "another annotation": lambda s: s["subject"][0].update(annotations={"over": "the whole world"}),
}


@pytest.mark.parametrize("attack", REFUSED)
def test_a_statement_of_another_form_is_refused_under_a_good_signature(evidence: Path, attack: str) -> None:
    resign(evidence, REFUSED[attack])
    with pytest.raises(DecodeError):
        verify(evidence, signer=SIGNER)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 100 + "1" + "}" * 100,
        '{"format": "fedpriv-run/1", "format": "fedpriv-run/1"}',
        '{"format": NaN}',
        '{"format": 1e999}',
        '{"format": ' + "9" * 10_000 + "}",
        '"\\ud800"',
        "",
        "null",
    ],
)
@pytest.mark.parametrize("name", ["run.json", "plan.json", "ledger.json", "result.json", "rounds.jsonl"])
def test_hostile_json_in_a_file_is_refused_by_its_name(evidence: Path, name: str, text: str) -> None:
    resign(evidence, add_file(name, text))
    if (name, text) == ("rounds.jsonl", ""):  # a run without rounds, which does not match
        assert failed(evidence)
        return
    with pytest.raises(IntegrityError, match=name):
        verify(evidence, signer=SIGNER)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"_type": "https://in-toto.io/Statement/v1"',
        b"[]",
        b'{"_type": "https://in-toto.io/Statement/v1", "_type": "https://in-toto.io/Statement/v1"}',
    ],
)
def test_a_payload_that_is_no_statement_is_refused(evidence: Path, payload: bytes) -> None:
    sign_again(evidence, payload)
    with pytest.raises(DecodeError):
        verify(evidence, signer=SIGNER)


def test_a_key_told_twice_in_the_statement_is_refused(evidence: Path) -> None:
    """One reader would take the first set of files, another the last."""
    text = json.dumps(statement_of(evidence))
    sign_again(evidence, text.replace('"predicate":', '"predicate": {"files": {}}, "predicate":'))
    with pytest.raises(DecodeError, match="twice"):
        verify(evidence, signer=SIGNER)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b"\x00" * 100, b"\xff", b"[" * 200_000, b'{"payload": "!", "payloadType": ""}'],
)
def test_a_file_that_is_no_envelope_is_refused(evidence: Path, data: bytes) -> None:
    evidence.write_bytes(data)
    with pytest.raises(DecodeError):
        verify(evidence)


def test_a_file_without_end_is_not_read_to_its_end(evidence: Path) -> None:
    with evidence.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DecodeError, match="67,108,864"):
        verify(evidence)


def test_numbers_that_nothing_can_be_computed_from_are_a_failed_check_or_refused(evidence: Path) -> None:
    whole = evidence.read_bytes()
    for key in ("noise_multiplier", "sensitivity", "dimension", "sampling_rate", "clip", "epsilon", "delta"):
        for value in (0, -1, 10**99, 1e308, 5e-324):
            evidence.write_bytes(whole)
            resign(evidence, change_file("plan.json", **{key: value}))
            try:
                verification = verify(evidence, signer=SIGNER)
            except FedprivError:
                continue
            assert key == "clip" or not verification.ok
