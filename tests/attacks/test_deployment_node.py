"""Attacks on a node of a deployed run, by the server or by whoever can put files on the node's disk back.

Each goes on from a genuine run: the node's folder is as it was when the genuine message came.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from parties.deployed import identity
from parties.recorded_run import Moment, Recorded, changed, opened_for, own_rows, record, with_blob

from fedpriv.deployment.messages import Answer, Prepare, decode_answer, encode_request
from fedpriv.deployment.transport import Parts
from fedpriv.errors import (
    DataError,
    IntegrityError,
    ProtocolViolation,
    UnsafeParameters,
    UsageError,
)
from fedpriv.ledger import Ledger
from fedpriv.ledger.home import now

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("recorded"))


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """Where a copy of the node's folder goes."""
    return tmp_path / "node"


def rounds(moment: Moment) -> list[tuple[str, int | None]]:
    """What the node's own ledger holds of rounds."""
    return [(row.kind, row.round) for row in own_rows(moment.folder) if row.round is not None]


def answered(parts: Parts) -> Answer:
    answer = decode_answer(parts)
    assert isinstance(answer, Answer)
    return answer


def rows(parts: Parts) -> list[dict[str, object]]:
    """The server's ledger as a message shows it."""
    shown: list[dict[str, object]] = json.loads(parts.blobs[0])
    return shown


def showing(parts: Parts, shown: list[dict[str, object]]) -> Parts:
    return with_blob(parts, 0, json.dumps(shown).encode())


def with_another_model(parts: Parts) -> Parts:
    model = np.frombuffer(parts.blobs[1], dtype="<f4").copy()
    model[0] += 1.0
    return with_blob(parts, 1, model.tobytes())


def put_back(moment: Moment, earlier: Moment, pattern: str) -> None:
    """Put files of the node's folder back to what they were at an earlier moment."""
    for path in moment.folder.glob(pattern):
        path.unlink() if path.is_file() else shutil.rmtree(path)
    for path in earlier.folder.glob(pattern):
        place = moment.folder / path.relative_to(earlier.folder)
        place.parent.mkdir(exist_ok=True)
        (shutil.copy if path.is_file() else shutil.copytree)(path, place)


# What is trained on is what the round was opened for (DE-4)


@pytest.mark.parametrize("lie", ["model", "state", "ledger"])
def test_one_client_is_sent_something_else_than_the_round_was_opened_for(
    run: Recorded, node: Path, lie: str
) -> None:
    """With a model of its own, one client's gradient would stand alone in the sum."""
    moment = run.at("upload 1", node)
    if lie == "model":
        forged = with_another_model(moment.parts)
    elif lie == "state":
        forged = changed(moment.parts, state=b'{"clip":"0x1.0p+4"}')
    else:
        forged = showing(moment.parts, rows(moment.parts)[:-1])
    with pytest.raises(ProtocolViolation, match=r"not what the round was opened for\. \[DE-4\]"):
        moment.answer(forged)
    assert rounds(moment) == []
    assert answered(moment.answer()).messages  # the right message is still answered


def test_a_round_is_opened_a_second_time_for_another_model_by_a_later_message(
    run: Recorded, node: Path
) -> None:
    moment = run.at("upload 1", node)
    with pytest.raises(ProtocolViolation, match=r"opened for something else\. \[DE-3\]"):
        moment.answer(opened_for(with_another_model(moment.parts), moment))
    assert rounds(moment) == []


def test_two_clients_that_were_told_of_different_models_have_no_sum(run: Recorded, node: Path) -> None:
    """Where the server lies from the round's first message on, the sum's own session differs (SA-4)."""
    moment = run.at("upload 2", node)
    assert moment.parts.values["opens"]
    with pytest.raises(ProtocolViolation, match=r"belongs to another session\. \[SA-4\]"):
        moment.answer(opened_for(with_another_model(moment.parts), moment))


# Place in the round (DE-3)


@pytest.mark.parametrize("round_", [0, 3, 2**62, -1])
def test_a_round_beyond_the_plan_is_refused(run: Recorded, node: Path, round_: int) -> None:
    moment = run.at("upload 2", node)
    with pytest.raises(ProtocolViolation, match=rf"Round {round_} is not one of the 2 .*\[DE-3\]"):
        moment.answer(changed(moment.parts, round=round_))


def test_an_upload_is_counted_as_another_round_than_the_one_that_is_open(run: Recorded, node: Path) -> None:
    """The vector of round 1 under the number of a round that the ledger would count differently."""
    moment = run.at("upload 1", node)
    with pytest.raises(ProtocolViolation, match=r"not the one that was opened here.*\[DE-3\]"):
        moment.answer(changed(moment.parts, round=2))


def test_an_upload_is_asked_for_without_a_model(run: Recorded, node: Path) -> None:
    moment = run.at("upload 1", node)
    bare = {name: value for name, value in moment.parts.values.items() if name != "state"}
    with pytest.raises(UsageError, match="no vectors have been set"):
        moment.answer(Parts(bare))
    assert rounds(moment) == []


def test_a_round_of_a_run_that_no_ledger_holds_is_refused(run: Recorded, node: Path) -> None:
    """A new run would have a state of its own, and so a second answer."""
    moment = run.at("upload 2", node)
    before = rounds(moment)
    with pytest.raises(IntegrityError, match="holds no plan of run"):
        moment.answer(changed(moment.parts, run=bytes(16)))
    assert ("RESERVE", 2) not in rounds(moment)
    assert [row for row in rounds(moment) if row not in before] == [("RELEASE", 1)]  # it was shown that, too


# One answer a round (DE-5, DE-6)


@pytest.mark.parametrize("opens", [False, True])
def test_a_round_is_asked_for_twice(run: Recorded, node: Path, opens: bool) -> None:
    moment = run.at("upload 1", node)
    moment.answer()
    spent = rounds(moment)
    assert spent == [("RESERVE", 1)]
    with pytest.raises((ProtocolViolation, UsageError)):
        moment.answer(changed(moment.parts, opens=opens))
    assert rounds(moment) == spent


def test_an_answer_that_was_lost_is_not_given_again(run: Recorded, node: Path) -> None:
    moment = run.at("consistency 1", node)
    moment.answer()
    with pytest.raises(ProtocolViolation, match=r"\[SA-15\]"):
        moment.answer()


def test_the_state_is_put_back_and_its_anchor_is_not(run: Recorded, node: Path) -> None:
    moment = run.at("consistency 1", node)
    put_back(moment, run.moments["upload 1"], "state/*.state")
    with pytest.raises(IntegrityError, match="went back in time"):
        moment.answer()


def test_the_state_is_removed_and_its_anchor_is_not(run: Recorded, node: Path) -> None:
    moment = run.at("consistency 1", node)
    for path in moment.folder.glob("state/*.state"):
        path.unlink()
    with pytest.raises(IntegrityError, match="is lost"):
        moment.answer(run.moments["upload 1"].parts)


def test_the_round_s_context_is_rewritten_in_the_saved_state(run: Recorded, node: Path) -> None:
    """By whoever can write the node's disk, so that it takes another model for the round's."""
    moment = run.at("upload 1", node)
    (path,) = moment.folder.glob("state/*.state")
    raw = path.read_bytes()
    magic, checksum = len(b"fedpriv state 1\n"), hashlib.sha256().digest_size
    number, data = raw[magic : magic + 8], raw[magic + 8 + checksum :]
    forged = data[:8] + bytes(32) + data[40:]
    path.write_bytes(raw[:magic] + number + hashlib.sha256(raw[:magic] + number + forged).digest() + forged)
    with pytest.raises(IntegrityError, match=r"or was changed. \[DE-6\]"):
        moment.answer()
    assert rounds(moment) == []


def test_all_of_the_disk_is_put_back_but_the_ledger(run: Recorded, node: Path) -> None:
    """A second upload of one round, under other masks: the state has forgotten the first, the ledger not."""
    moment = run.at("consistency 1", node)
    put_back(moment, run.moments["upload 1"], "state")
    with pytest.raises(UsageError, match=r"Round 1 .* number is used once"):
        moment.answer(run.moments["upload 1"].parts)
    assert rounds(moment) == [("RESERVE", 1)]


def test_the_ledger_is_put_back_and_the_state_is_not(run: Recorded, node: Path) -> None:
    """The budget would be there again; the round is not, as the state has answered in it."""
    moment = run.at("consistency 1", node)
    put_back(moment, run.moments["upload 1"], "ledger.sqlite*")
    with pytest.raises(UsageError, match="in round 1 this client is 'uploaded'"):
        moment.answer(run.moments["upload 1"].parts)


def test_a_round_that_was_withdrawn_is_asked_for(run: Recorded, node: Path) -> None:
    """The word that nothing left the node gives the server its budget back; then nothing may leave."""
    moment = run.at("upload 1", node)
    upload = moment.parts
    assert answered(moment.answer(withdrawal_of(moment))).signature
    assert rounds(moment) == [("RESERVE", 1), ("VOID", 1)]
    with pytest.raises(UsageError, match=r"Round 1 .* number is used once"):
        moment.answer(upload)


def test_a_round_that_left_the_node_is_to_be_withdrawn(run: Recorded, node: Path) -> None:
    moment = run.at("upload 1", node)
    asked = withdrawal_of(moment)
    moment.answer()
    assert answered(moment.answer(asked)).signature == b""
    assert rounds(moment) == [("RESERVE", 1)]


def withdrawal_of(moment: Moment) -> Parts:
    """The server's question whether round 1 may be taken back, with its ledger as the upload shows it."""
    values = moment.parts.values
    kept = {name: values[name] for name in ("agreement", "run", "round")}
    return Parts({**kept, "asks": "withdraw"}, moment.parts.blobs[:1])


def test_training_fails_after_the_round_is_reserved(
    run: Recorded, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round is spent, nothing leaves, and the same round is not trained on again."""
    import torch

    moment = run.at("upload 1", node)

    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", fails)
        patch.setattr(torch.Tensor, "backward", fails)
        patch.setattr(torch.nn.functional, "cross_entropy", fails)
        with pytest.raises(MemoryError):
            moment.answer()
    assert rounds(moment) == [("RESERVE", 1)]
    with pytest.raises(UsageError, match=r"Round 1 .* number is used once"):
        moment.answer()


# The server's ledger


def prepare(moment: Moment, shown: bytes) -> Parts:
    return Parts(
        {
            "asks": "prepare",
            "agreement": moment.parts.values["agreement"],
            "nonce": os.urandom(32),
            "begins": False,
        },
        (shown,),
    )


@pytest.mark.parametrize("kept", [0, 2, -1])
def test_the_end_of_the_server_s_ledger_is_cut_off(run: Recorded, node: Path, kept: int) -> None:
    """What the server spent since would be there again; kept = 0: it lost all of it."""
    moment = run.at("sign", node)
    moment.answer()
    moment.answer(prepare(moment, moment.parts.blobs[0]))  # with all rows it says who it is
    shown = rows(moment.parts)[:-1][:kept]  # the last row says that the run is finished
    with pytest.raises(IntegrityError, match="an older copy was put back"):
        moment.answer(prepare(moment, json.dumps(shown).encode()))


def test_the_ledger_is_another_server_s(run: Recorded, node: Path, tmp_path: Path) -> None:
    moment = run.at("upload 1", node)
    bundle = json.loads((moment.bundle / "agreement.json").read_text())
    with closing(Ledger.open(tmp_path / "other.sqlite", identity(9), now)) as other:
        other.set_budget(bundle["dataset"], "other", 8.0, 1e-4)
        shown = [row.to_dict() for row in other.rows(bundle["dataset"])]
    with pytest.raises(IntegrityError, match="signed by another key than the server's"):
        moment.answer(prepare(moment, json.dumps(shown).encode()))


def test_a_row_of_the_server_s_ledger_is_changed(run: Recorded, node: Path) -> None:
    moment = run.at("sign", node)
    shown = rows(moment.parts)
    shown[2] = {**shown[2], "body": {**shown[2]["body"], "round": 2}}  # type: ignore[dict-item]
    with pytest.raises((IntegrityError, ProtocolViolation)):
        moment.answer(prepare(moment, json.dumps(shown).encode()))


# The agreement in every message, and the owner's policy before all else (DE-1, DE-2)


@pytest.mark.parametrize("name", ["prepare", "advertise 1", "upload 1", "unmask 1", "sign"])
def test_a_message_of_another_deployment_is_refused(run: Recorded, node: Path, name: str) -> None:
    moment = run.at(name, node)
    with pytest.raises(ProtocolViolation, match=r"\[DE-1\]"):
        moment.answer(changed(moment.parts, agreement=bytes(32)))


def test_the_policy_was_tightened_since_the_last_message(run: Recorded, node: Path) -> None:
    """What was accepted under the old policy is looked at again."""
    moment = run.at("upload 2", node)
    policy = moment.folder / "policy.toml"
    lines = policy.read_text().splitlines()
    told = ["max_epsilon = 0.01" if line.startswith("max_epsilon") else line for line in lines]
    policy.write_text("\n".join(told) + "\n")
    with pytest.raises(UnsafeParameters, match=r"cost epsilon = .* this node allows 0\.01"):
        moment.answer()
    assert ("RESERVE", 2) not in rounds(moment)


def test_the_node_s_cap_was_lowered_below_what_its_earlier_runs_left(run: Recorded, node: Path) -> None:
    """The cap in the policy is for all runs together: it is the ledger's from the next upload on."""
    moment = run.at("upload 2", node)
    policy = moment.folder / "policy.toml"
    lines = policy.read_text().splitlines()
    told = ["max_epsilon = 7.5" if line.startswith("max_epsilon") else line for line in lines]
    policy.write_text("\n".join(told) + "\n")
    moment.answer()
    caps = [row.body["epsilon"] for row in own_rows(moment.folder) if row.kind == "BUDGET"]
    assert [float(str(cap)) for cap in caps][-1] == 7.5


def test_the_records_are_others_than_the_run_was_begun_with(run: Recorded, node: Path) -> None:
    moment = run.at("upload 2", node)
    records = moment.folder / "records.jsonl"
    lines = records.read_text().splitlines()
    lines[0] = lines[0].replace("film", "play")
    records.write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match="not those that the run was begun with"):
        moment.answer()
    assert ("RESERVE", 2) not in rounds(moment)


# What is said to the server (DE-7, DE-8)


def test_a_greeting_is_good_for_its_own_question_only(run: Recorded, node: Path) -> None:
    from fedpriv.deployment.bundle import Bundle
    from fedpriv.deployment.messages import is_hello

    moment = run.at("sign", node)
    bundle = Bundle.read(moment.bundle)
    asked = Prepare(bundle.agreement.digest(), bytes(range(32)), (), begins=False)
    shown = with_blob(encode_request(asked), 0, moment.parts.blobs[0])
    answer = answered(moment.answer(shown))
    key = bundle.roster[answer.party]
    assert is_hello(key, asked, answer.signature)
    assert not is_hello(key, replace(asked, nonce=bytes(32)), answer.signature)
    assert not is_hello(key, replace(asked, agreement=bytes(32)), answer.signature)
    assert not is_hello(bundle.roster[2], asked, answer.signature)


@pytest.mark.parametrize("line", ['{"my secret illness', '["my secret illness"]', "my secret illness"])
@pytest.mark.parametrize("first", [True, False])
def test_records_that_cannot_be_read_are_not_quoted_to_the_server(
    run: Recorded, node: Path, line: str, first: bool
) -> None:
    moment = run.at("upload 1", node)
    path = moment.folder / "records.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([line, *lines] if first else [*lines, line]) + "\n")
    with pytest.raises(DataError, match="The node's records cannot be used") as told:
        moment.answer()
    assert rounds(moment) == []
    said = f"{told.value} {told.value.hint}"
    assert "illness" not in said
    assert str(node) not in said
