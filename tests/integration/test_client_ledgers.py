"""Whole runs whose clients keep ledgers of their own: caps, older ledgers, rounds that are taken back."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from parties.small_run import small_config

from fedpriv.errors import BudgetExceeded, IntegrityError
from fedpriv.federation.config import Config
from fedpriv.federation.run import run
from fedpriv.ledger import Checkpoint, Ledger
from fedpriv.ledger.home import open_ledger
from fedpriv.report import verify

pytestmark = pytest.mark.slow


def client_ledgers(folder: Path) -> dict[int, Path]:
    """The files of the clients' ledgers, which lie beside the server's."""
    found = (folder / "ledger.clients").glob("*/*/ledger.sqlite")
    return {int(path.parent.name): path for path in found}


def set_budget(path: Path, epsilon: float) -> None:
    with closing(open_ledger(path)) as ledger:
        (budget,) = ledger.datasets()
        ledger.set_budget(budget.dataset, budget.name, epsilon, budget.delta)


def raise_budgets(folder: Path, epsilon: float, *, but: tuple[int, ...] = ()) -> None:
    """What the owner of the server's ledger does, and the owners of all clients' but some."""
    set_budget(folder / "ledger.sqlite", epsilon)
    for client, path in client_ledgers(folder).items():
        if client not in but:
            set_budget(path, epsilon)


def rows(path: Path) -> list[tuple[str, int | None]]:
    with closing(open_ledger(path)) as ledger:
        (budget,) = ledger.datasets()
        return [(row.kind, row.round) for row in ledger.rows(budget.dataset)]


def second_run(folder: Path, **changes: Any) -> Config:
    """A cheap run after the first one, which left room for it once budgets are raised."""
    return small_config(folder, run__rounds=2, privacy__epsilon=2.0, **changes)


def test_every_client_writes_down_what_its_records_lost(tmp_path: Path) -> None:
    run(small_config(tmp_path, simulation__dropout=1.0, run__seed=5), tmp_path / "run")
    dropped = {
        (line["round"], client): stage
        for line in map(json.loads, (tmp_path / "run" / "rounds.jsonl").read_text().splitlines())
        for client, stage in line["dropped"]
    }
    ledgers = client_ledgers(tmp_path)
    assert sorted(ledgers) == [1, 2, 3, 4, 5]
    for client, path in ledgers.items():
        reserved = {round_ for kind, round_ in rows(path) if kind == "RESERVE"}
        never = {
            r
            for (r, c), stage in dropped.items()
            if c == client and stage in ("advertise", "share", "upload")
        }
        assert reserved == {1, 2, 3, 4} - never
        assert rows(path)[-1][0] == "FINISH"
    kept = Checkpoint.from_json((tmp_path / "run" / "adapter" / "checkpoint.json").read_bytes())
    assert kept.faults() == []
    assert kept.round == 4


def test_a_client_with_a_smaller_cap_takes_no_part_and_the_others_go_on(tmp_path: Path) -> None:
    run(small_config(tmp_path), tmp_path / "first")
    raise_budgets(tmp_path, 16.0, but=(3,))
    result = run(second_run(tmp_path), tmp_path / "second")
    assert result.rounds_done == 2
    lines = [json.loads(line) for line in (tmp_path / "second" / "rounds.jsonl").read_text().splitlines()]
    assert [line["dropped"] for line in lines] == [[[3, "refused"]]] * 2
    assert all(3 not in line["survivors"] for line in lines)
    after = rows(client_ledgers(tmp_path)[3])
    assert sum(kind == "RESERVE" for kind, _ in after) == 4  # those of the first run
    assert verify(tmp_path / "second").ok


def test_where_too_few_clients_have_room_nothing_is_spent(tmp_path: Path) -> None:
    run(small_config(tmp_path), tmp_path / "first")
    set_budget(tmp_path / "ledger.sqlite", 16.0)  # the server raises its own, and none of theirs
    before = rows(tmp_path / "ledger.sqlite")
    with pytest.raises(BudgetExceeded, match="5 of 5 clients have no room") as refused:
        run(second_run(tmp_path), tmp_path / "second")
    assert "budget set" in refused.value.hint
    assert rows(tmp_path / "ledger.sqlite") == before
    assert not (tmp_path / "second").exists()


def test_an_older_copy_of_the_ledger_wins_no_budget_back(tmp_path: Path) -> None:
    config = small_config(tmp_path, run__rounds=2)
    path = tmp_path / "ledger.sqlite"
    with closing(open_ledger(path)):
        pass
    shutil.copy(path, tmp_path / "older.sqlite")
    run(config, tmp_path / "first")
    shutil.copy(tmp_path / "older.sqlite", path)
    with pytest.raises(IntegrityError, match=r"Client 1 refuses.*older copy"):
        run(config, tmp_path / "second")
    shutil.rmtree(tmp_path / "ledger.clients")  # what an attacker with every disk can do: nobody remembers
    assert run(config, tmp_path / "second").rounds_done == 2


def lost_rounds(tmp_path: Path) -> Path:
    """A run in which every client is needed and one vanishes in each round, at any stage."""
    config = small_config(
        tmp_path,
        run__rounds=12,
        secagg__min_survivors=5,
        secagg__max_colluders=1,
        simulation__dropout=1.0,
    )
    run(config, tmp_path / "run")
    return tmp_path / "run"


def test_a_lost_round_is_taken_back_on_every_clients_word_and_on_nothing_less(tmp_path: Path) -> None:
    folder = lost_rounds(tmp_path)
    bundle = json.loads((folder / "ledger.json").read_text())
    voids = [row for row in bundle["rows"] if row["kind"] == "VOID"]
    assert voids
    assert all(sorted(row["body"]["evidence"]["withdrawals"]) == list("12345") for row in voids)
    for path in client_ledgers(tmp_path).values():
        own = rows(path)
        for row in voids:
            assert ("VOID", row["body"]["round"]) in own
            assert ("RELEASE", row["body"]["round"]) not in own
    checked = verify(folder)
    assert checked.ok, checked.failures
    assert any(check.name == "voids" and check.status == "ok" for check in checked.checks)


def test_a_void_that_one_client_did_not_sign_is_named(tmp_path: Path) -> None:
    """The server signs a ledger in which it took a round back by itself: one word is missing."""
    folder = lost_rounds(tmp_path)
    with closing(open_ledger(tmp_path / "ledger.sqlite")) as honest:
        (budget,) = honest.datasets()
        kept = honest.rows(budget.dataset)
        key = honest.key
    forged = Ledger.open(tmp_path / "forged.sqlite", key, lambda: "2026-01-31T12:00:00Z")
    run_id, changed = json.loads((folder / "run.json").read_text())["run_id"], 0
    with closing(forged):
        for row in kept:
            body = row.body
            if row.kind == "BUDGET":
                forged.set_budget(budget.dataset, budget.name, budget.epsilon, budget.delta)
            elif row.kind == "PLAN":
                from fedpriv.dp import event_from_dict

                event = event_from_dict(body["event"])
                forged.plan(
                    run_id, budget.dataset, event=event, rounds=body["rounds"], details=body["details"]
                )
            elif row.kind == "RESERVE":
                forged.reserve(run_id, row.round, body["details"])
            elif row.kind == "VOID":
                evidence = dict(body["evidence"])
                evidence["withdrawals"] = {**evidence["withdrawals"], "4": evidence["withdrawals"]["5"]}
                forged.void(run_id, row.round, evidence)
                changed += 1
            elif row.kind == "FINISH":
                forged.finish(run_id, body["details"])
        bundle = forged.export(budget.dataset)
    (folder / "ledger.json").write_text(json.dumps(bundle))
    assert changed
    named = [check for check in verify(folder).failures if "without the word of client 4" in check.what]
    assert len(named) == changed


def test_without_ledgers_of_the_clients_the_report_says_so(tmp_path: Path) -> None:
    run(small_config(tmp_path, budget__client_ledgers=False), tmp_path / "run")
    assert not (tmp_path / "ledger.clients").exists()
    assert not (tmp_path / "run" / "checkpoints.jsonl").exists()
    checked = verify(tmp_path / "run")
    assert checked.ok
    assert any("kept no ledgers of their own" in check.what for check in checked.checks)


@pytest.mark.parametrize("fault", ["signature", "another client's", "cut ledger", "unsigned plan", "emptied"])
def test_countersignatures_that_do_not_hold_are_named(tmp_path: Path, fault: str) -> None:
    folder = run(small_config(tmp_path, run__rounds=2), tmp_path / "run").run_dir
    path = folder / "checkpoints.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    signed = lines[-1]["countersignatures"]
    if fault == "signature":
        signed["2"]["signature"] = "00" * 64
    elif fault == "another client's":
        signed["2"] = signed["3"]
    elif fault == "cut ledger":
        lines[-1]["seq"] += 5
    elif fault == "unsigned plan":
        facts = json.loads((folder / "run.json").read_text())
        facts["roster"]["2"] = facts["roster"]["3"]
        (folder / "run.json").write_text(json.dumps(facts))
    if fault == "emptied":
        lines = []
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    failed = {check.name for check in verify(folder).failures}
    assert failed & {"countersignatures", "clients' ledgers"}
