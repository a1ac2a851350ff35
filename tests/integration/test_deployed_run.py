"""Whole runs whose clients are made anew for each message: equal to one process, and what faults leave."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from parties.loopback import Loopback, Reaches
from parties.recorded_run import STAGES, own_rows
from parties.small_run import small_config
from parties.tiny_run import write_model

from fedpriv import dp, peft
from fedpriv.deployment.bundle import Bundle
from fedpriv.deployment.files import write_deployment
from fedpriv.deployment.serve import serve
from fedpriv.deployment.transport import Lost, Parts
from fedpriv.errors import BudgetExceeded, TooFewParties
from fedpriv.federation.observer import RunResult
from fedpriv.federation.run import run
from fedpriv.federation.work.kept import newest_part
from fedpriv.keystore import load_identity
from fedpriv.ledger import Ledger
from fedpriv.ledger.home import now, open_ledger
from fedpriv.report import verify

pytestmark = pytest.mark.slow


@dataclass
class Deployed:
    """A deployment in a folder, its nodes, and what its run left behind."""

    folder: Path
    network: Loopback

    def serve(self) -> RunResult:
        return serve(self.folder / "app" / "fedpriv_run", self.folder / "server", self.network)

    @property
    def run_dir(self) -> Path:
        return self.folder / "server" / "run"

    def clients(self) -> list[int]:
        return [int(path.name) for path in (self.folder / "nodes").iterdir() if path.name.isdigit()]

    def rounds(self) -> list[dict[str, Any]]:
        return lines(self.run_dir)

    def server_rows(self) -> list[tuple[str, int | None]]:
        """What the server's ledger holds of rounds."""
        with closing(open_ledger(self.folder / "server" / "ledger.sqlite")) as ledger:
            return [
                (row.kind, row.round)
                for budget in ledger.datasets()
                for row in ledger.rows(budget.dataset)
                if row.round is not None
            ]

    def rows(self, node: int) -> list[tuple[str, int | None]]:
        """What a node's own ledger holds of rounds."""
        found = own_rows(self.folder / "nodes" / str(node))
        return [(row.kind, row.round) for row in found if row.round is not None]

    def policy(self, node: int, before: str, after: str) -> None:
        path = self.folder / "nodes" / str(node) / "policy.toml"
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    def patience(self, **seconds: float) -> None:
        """The server's, so that a test need not wait."""
        path = self.folder / "server" / "server.toml"
        kept = [line for line in path.read_text().splitlines() if not line.startswith(tuple(seconds))]
        path.write_text("\n".join([*kept, *(f"{name} = {value}" for name, value in seconds.items())]) + "\n")


def lines(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "rounds.jsonl").read_text().splitlines()]


def deploy(folder: Path, reaches: Reaches = lambda node, parts: True, **changes: Any) -> Deployed:
    """Four clients, of whom three are enough, for two rounds."""
    values = {"run__rounds": 2, "partition__clients": 4, "privacy__noise_multiplier": 3.0, **changes}
    config = small_config(folder, **values)
    write_deployment(config, folder / "deployed")
    deployed = Deployed(folder / "deployed", Loopback(folder / "deployed", reaches))
    deployed.patience(start_timeout=1.0)
    return deployed


@dataclass
class Silence:
    """Some nodes answer nothing from a stage of a round on, until the round before ``back`` is over."""

    begins: Mapping[str, tuple[int, str]]
    back: int = 99
    seen: dict[tuple[str, int], int] = field(default_factory=dict)
    """The place among `STAGES` of the last message of a round to a node."""

    def __call__(self, node: str, parts: Parts) -> bool:
        if node not in self.begins:
            return True
        if parts.values["asks"] != "step":
            return not self._begun(node) or any(round_ >= self.back - 1 for _, round_ in self.seen)
        round_ = int(parts.values["round"])
        first = STAGES.index("upload") if parts.blobs else 0
        place = self.seen[node, round_] = self.seen.get((node, round_), first - 1) + 1
        from_round, from_stage = self.begins[node]
        return round_ >= self.back or (round_, place) < (from_round, STAGES.index(from_stage))

    def _begun(self, node: str) -> bool:
        from_round, from_stage = self.begins[node]
        return self.seen.get((node, from_round), -1) >= STAGES.index(from_stage)


EQUAL: dict[str, dict[str, Any]] = {
    "masked": {"simulation__dropout": 0.7, "run__rounds": 3},
    "local": {"trust": "local", "simulation__dropout": 0.7},
    "central": {"trust": "central"},
    "client": {
        "unit": "client",
        "privacy": {
            "epsilon": 8.0,
            "delta": 1e-4,
            "noise_multiplier": 3.0,
            "adaptive_clip": {"quantile": 0.5},
        },
        "local": {"epochs": 1},
    },
    "bands": {
        "unit": "client",
        "trust": "central",
        "privacy": {
            "epsilon": 8.0,
            "delta": 1e-4,
            "noise_multiplier": 3.0,
            "mechanism": "banded-matrix",
            "bands": 2,
        },
        "local": {"epochs": 1},
        "partition__clients": 7,
    },
    "turns": {
        "run__participation": 0.5,
        "partition__clients": 6,
        "data__disjointness": "asserted",
        "run__rounds": 3,
    },
    "plain": {"aggregator": "plain"},
    "authority": {"aggregator": "ckks", "ckks": {"mode": "authority"}, "simulation__dropout": 0.7},
    "threshold": {"aggregator": "ckks", "ckks": {"mode": "threshold"}},
    "coordinates": {
        "model__id": "tiny",
        "peft": {"method": "flasc", "rank": 2, "density": 0.75},
        "compression": {"bytes": 1_800},
    },
    "rotated": {"compression": {"bytes": 4_200, "rotate": True}, "simulation__dropout": 0.7},
}
EQUAL["rotated client"] = {**EQUAL["client"], "compression": {"rotate": True}}


@pytest.mark.parametrize("kind", EQUAL)
def test_a_deployed_run_equals_one_in_this_process_to_the_bit(tmp_path: Path, kind: str) -> None:
    changes = dict(EQUAL[kind])
    write_model(tmp_path / "tiny")
    if "privacy" in changes:
        changes["privacy"] = {**changes["privacy"], "insecure_seed": 5}
    else:
        changes["privacy__insecure_seed"] = 5
        changes.setdefault("privacy__noise_multiplier", 3.0)
    values = {"run__rounds": 2, **changes}
    here = run(small_config(tmp_path, **values), tmp_path / "here")
    write_deployment(small_config(tmp_path, **values), tmp_path / "deployed")
    deployed = Deployed(tmp_path / "deployed", Loopback(tmp_path / "deployed"))
    there = deployed.serve()
    compared = ("round", "survivors", "dropped", "aggregate_digest", "clip", "accuracy")
    assert [[line[name] for name in compared] for line in lines(here.run_dir)] == [
        [line[name] for name in compared] for line in deployed.rounds()
    ]
    for path in here.adapter.glob("*.safetensors"):
        assert path.read_bytes() == (there.adapter / path.name).read_bytes()
    assert verify(deployed.run_dir).failures == ()
    for node in deployed.clients():  # what each client wrote down is what became of its rounds
        reserved = [round_ for kind_, round_ in deployed.rows(node) if kind_ == "RESERVE"]
        released = [round_ for kind_, round_ in deployed.rows(node) if kind_ == "RELEASE"]
        assert reserved == released


def test_a_node_that_a_round_never_reached_helps_to_open_the_next_as_it_does_in_this_process(
    tmp_path: Path,
) -> None:
    """Client 2 made keys for round 2, which begins with the upload; 1 to 4 are left to open round 3."""
    values = {
        "privacy__noise_multiplier": 3.0,
        "privacy__insecure_seed": 5,
        "secagg__min_survivors": 4,
        "run__rounds": 3,
        "simulation__dropout": 1.0,
    }
    here = run(small_config(tmp_path, **values), tmp_path / "here")
    write_deployment(small_config(tmp_path, **values), tmp_path / "deployed")
    deployed = Deployed(tmp_path / "deployed", Loopback(tmp_path / "deployed"))
    assert deployed.serve().rounds_done == 3
    compared = ("round", "survivors", "dropped", "aggregate_digest", "accuracy")
    assert [[line[name] for name in compared] for line in lines(here.run_dir)] == [
        [line[name] for name in compared] for line in deployed.rounds()
    ]
    dropped = [line["dropped"] for line in deployed.rounds()]
    assert dropped == [[[5, "upload"]], [[2, "upload"]], [[5, "unmask"]]]


def test_nodes_keep_what_simulated_clients_keep_and_join_it_to_the_same_adapters(tmp_path: Path) -> None:
    """One that vanishes before it is asked for its upload does not move what it keeps."""
    write_model(tmp_path / "tiny")
    values = {
        "unit": "client",
        "model__id": "tiny",
        "peft": {"method": "fedsa-lora", "rank": 2},
        "privacy": {"epsilon": 8.0, "delta": 1e-4, "noise_multiplier": 3.0, "insecure_seed": 5},
        "local": {"steps": 3, "batch": 8, "learning_rate": 0.5},
        "run__rounds": 2,
        "simulation__dropout": 1.0,
    }
    here = run(small_config(tmp_path, **values), tmp_path / "here")
    write_deployment(small_config(tmp_path, **values), tmp_path / "deployed")
    deployed = Deployed(tmp_path / "deployed", Loopback(tmp_path / "deployed"))
    there = deployed.serve()
    compared = ("round", "survivors", "dropped", "aggregate_digest", "accuracy")
    assert [[line[name] for name in compared] for line in lines(here.run_dir)] == [
        [line[name] for name in compared] for line in deployed.rounds()
    ]
    assert [line["dropped"] for line in deployed.rounds()] == [[[5, "upload"]], [[2, "upload"]]]
    assert verify(deployed.run_dir).failures == ()
    assert not list((deployed.folder / "server").rglob("round-*"))  # nor anything of it with the server
    run_id = json.loads((deployed.run_dir / "run.json").read_text())["run_id"]
    for node in deployed.clients():
        own = deployed.folder / "nodes" / str(node) / "state" / f"{run_id}.kept"
        assert len(list(own.iterdir())) == (1 if node in (2, 5) else 2)
        simulated = here.run_dir / "clients" / str(node)
        kept = {path.name: path.read_bytes() for path in own.iterdir()}
        assert kept == {path.name: path.read_bytes() for path in (simulated / "kept").iterdir()}
        assert {path.stat().st_mode & 0o777 for path in own.iterdir()} == {0o600}
        peft.join(there.adapter, newest_part(own), tmp_path / f"own-{node}")
        name = "adapter_model.safetensors"
        joined = (tmp_path / f"own-{node}" / name).read_bytes()
        assert joined == (simulated / "adapter" / name).read_bytes()
        assert joined != (there.adapter / name).read_bytes()


def test_a_node_whose_own_part_is_damaged_says_so_before_it_spends(tmp_path: Path) -> None:
    write_model(tmp_path / "tiny")

    def spoils(node: str, parts: Parts) -> bool:
        if node == "2" and parts.values["asks"] == "step" and parts.values["round"] == 2:
            (path,) = (deployed.folder / "nodes" / "2" / "state").glob("*.kept/*")
            path.write_bytes(path.read_bytes()[:-1])
        return True

    deployed = deploy(
        tmp_path,
        spoils,
        unit="client",
        model__id="tiny",
        peft={"method": "fedsa-lora", "rank": 2},
        privacy={"epsilon": 8.0, "delta": 1e-4, "noise_multiplier": 3.0},
        local={"steps": 2, "batch": 8},
    )
    assert deployed.serve().rounds_done == 2
    assert deployed.rounds()[1]["dropped"] == [[2, "upload"]]
    assert ("RESERVE", 2) not in deployed.rows(2)
    assert ("RESERVE", 2) in deployed.rows(1)


@pytest.mark.parametrize("stage", STAGES)
def test_a_node_that_falls_silent_at_any_stage_leaves_the_exact_sum_of_the_others(
    tmp_path: Path, stage: str
) -> None:
    deployed = deploy(tmp_path, Silence({"2": (1, stage)}), run__rounds=1)
    assert deployed.serve().rounds_done == 1
    (line,) = deployed.rounds()
    uploaded = STAGES.index(stage) > STAGES.index("upload")
    assert line["survivors"] == ([1, 2, 3, 4] if uploaded else [1, 3, 4])
    assert line["dropped"] == [[2, stage]]
    assert deployed.server_rows() == [("RESERVE", 1), ("RELEASE", 1)]
    assert deployed.rows(1) == [("RESERVE", 1), ("RELEASE", 1)]
    assert deployed.rows(2) == ([("RESERVE", 1)] if uploaded else [])
    assert verify(deployed.run_dir).failures == ()


@pytest.mark.parametrize("stage", ["upload", "consistency", "unmask"])  # the second round has no others
def test_too_few_for_a_sum_lose_the_round_and_the_budget_says_what_left(tmp_path: Path, stage: str) -> None:
    deployed = deploy(tmp_path, Silence({"2": (2, stage), "3": (2, stage)}))
    assert deployed.serve().rounds_done == 1
    assert deployed.server_rows() == [("RESERVE", 1), ("RELEASE", 1), ("RESERVE", 2)]  # and stays counted
    assert deployed.rows(1) == deployed.server_rows()
    left = stage != "upload"
    assert (("RESERVE", 2) in deployed.rows(2)) == left
    assert verify(deployed.run_dir).failures == ()


def test_a_round_that_was_lost_before_anything_left_is_taken_back(tmp_path: Path) -> None:
    """The clients that were too few to sum are there again to give their word."""
    silence = Silence({"2": (1, "share"), "3": (1, "share")})
    deployed = deploy(
        tmp_path, lambda node, parts: parts.values["asks"] != "step" or silence(node, parts), run__rounds=1
    )
    network = deployed.network
    exchange = network.exchange

    def failing(requests: Mapping[int, Parts], timeout: float) -> Any:
        """Nodes whose app fails at a stage are still there when they are asked for their word."""
        unheard = set(requests)
        for node, answer in exchange(requests, timeout):
            unheard.discard(node)
            yield node, answer
        for node in unheard:
            yield node, Lost("its app failed")

    network.exchange = failing  # type: ignore[method-assign]
    assert deployed.serve().rounds_done == 0
    assert deployed.server_rows() == [("RESERVE", 1), ("VOID", 1)]
    for node in range(1, 5):
        assert deployed.rows(node) == [("RESERVE", 1), ("VOID", 1)]


def test_a_client_that_was_lost_takes_part_from_the_round_after_it_came_back(tmp_path: Path) -> None:
    deployed = deploy(tmp_path, Silence({"2": (1, "upload")}, back=2), run__rounds=3)
    assert deployed.serve().rounds_done == 3
    assert deployed.rounds()[0]["dropped"] == [[2, "upload"]]
    assert 2 in deployed.rounds()[-1]["survivors"]
    assert verify(deployed.run_dir).failures == ()


@pytest.mark.parametrize("exchange", [0, 2, 4, 6, 7, 9])
def test_a_server_that_dies_at_an_exchange_goes_on_when_it_is_started_again(
    tmp_path: Path, exchange: int
) -> None:
    class PowerFailureError(Exception):
        pass

    def dies(node: str, parts: Parts) -> bool:
        if len(deployed.network.asked) > exchange:
            raise PowerFailureError
        return True

    deployed = deploy(tmp_path, dies)
    with pytest.raises(PowerFailureError):
        deployed.serve()
    deployed.network.reaches = lambda node, parts: True
    result = deployed.serve()
    spent = {round_ for kind, round_ in deployed.server_rows() if kind == "RESERVE"}
    released = {round_ for kind, round_ in deployed.server_rows() if kind == "RELEASE"}
    assert {1, 2} >= spent >= released
    assert result.rounds_done >= 1
    for node in range(1, 5):
        own = {round_ for kind, round_ in deployed.rows(node) if kind == "RESERVE"}
        assert own <= spent
    assert verify(deployed.run_dir).failures == ()


def use_up(node: Path, event: dp.Event) -> None:
    """Spend what a client's own budget has left, in runs of its own: in large steps, then in the run's."""
    key = load_identity(node / "identity.pem")
    with Ledger.open(node / "ledger.sqlite", key, now) as ledger:
        (budget,) = ledger.datasets()
        for step in (dp.PoissonGaussian(2.0, 1.0), event):
            with suppress(BudgetExceeded):
                for _ in range(1000):
                    other = secrets.token_hex(16)
                    ledger.plan(other, budget.dataset, event=step, rounds=1, details={})
                    ledger.reserve(other, 1)


ENCRYPTED = {"aggregator": "ckks", "ckks__mode": "threshold", "secagg__bits": 32}
"""With a grid so fine that the budget can be shared with other runs."""


@pytest.mark.parametrize("changes", [{}, ENCRYPTED])
def test_a_client_whose_own_cap_is_used_up_is_refused_and_the_others_go_on(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """It spends on its records elsewhere, once the run has begun; it still helps to open the others' sum."""

    def spends(node: str, parts: Parts) -> bool:
        if node == "2" and parts.blobs and parts.values["asks"] == "step" and parts.values["round"] == 2:
            bundle = Bundle.read(deployed.folder / "app" / "fedpriv_run")
            use_up(deployed.folder / "nodes" / "2", bundle.plan.event)
        return True

    deployed = deploy(tmp_path, spends, **changes)
    assert deployed.serve().rounds_done == 2
    assert deployed.rounds()[1]["survivors"] == [1, 3, 4]
    assert deployed.rounds()[1]["dropped"] == [[2, "refused"]]
    assert ("RESERVE", 2) not in deployed.rows(2)
    assert verify(deployed.run_dir).failures == ()


def test_too_few_nodes_is_one_sentence_and_nothing_is_spent(tmp_path: Path) -> None:
    deployed = deploy(tmp_path, lambda node, parts: node in {"1", "2"})
    with pytest.raises(TooFewParties, match=r"^2 parties take part, and 3 are needed\.$") as error:
        deployed.serve()
    assert "Start the missing nodes" in error.value.hint
    assert deployed.server_rows() == []
    told = (deployed.folder / "server" / "progress.jsonl").read_text().splitlines()
    assert json.loads(told[-1])["event"] == "failed"
    assert not (deployed.run_dir / "run.json").exists()
