"""The ledger's verifier once more, slow and obvious, from protocols/ledger/spec.md and nothing of fedpriv.

Covers sections 2 to 7 for Gaussian events; ε comes straight from dp-accounting.  Returns the faults found as
sentences that begin with the place, in the order of the rows.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from functools import lru_cache
from typing import Any

import dp_accounting
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from dp_accounting import pld
from dp_accounting.rdp import rdp_privacy_accountant

FIELDS = {
    "BUDGET": {"name", "epsilon", "delta"},
    "PLAN": {"run", "event", "rounds", "rule", "epsilon", "details"},
    "RESERVE": {"run", "round", "details"},
    "RELEASE": {"run", "round", "details"},
    "VOID": {"run", "round", "evidence"},
    "FINISH": {"run", "details"},
}
STEPS = {
    ("unknown", "none", "PLAN"): ("open", "none"),
    ("open", "none", "RESERVE"): ("open", "reserved"),
    ("open", "reserved", "RELEASE"): ("open", "released"),
    ("open", "reserved", "VOID"): ("open", "voided"),
    ("open", "none", "FINISH"): ("finished", "none"),
}


class Fault(Exception):  # noqa: N818 - it is what the spec calls one
    """Something in a row that section 3, 5 or 6 forbids."""


def frame(*parts: bytes) -> bytes:
    out = b""
    for part in parts:
        out += len(part).to_bytes(8, "big")
        out += part
    return out


def sha(domain: str, *parts: bytes) -> bytes:
    return hashlib.sha256(frame(domain.encode(), *parts)).digest()


def canonical(value: Any) -> bytes:
    """Canonical JSON, written out by hand."""
    if value is None or isinstance(value, bool):
        return {None: b"null", True: b"true", False: b"false"}[value]
    if isinstance(value, int):
        return str(value).encode()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).encode()
    if isinstance(value, list):
        return b"[" + b",".join(canonical(item) for item in value) + b"]"
    if isinstance(value, dict):
        items = (canonical(key) + b":" + canonical(value[key]) for key in sorted(value))
        return b"{" + b",".join(items) + b"}"
    raise Fault(f"holds a {type(value).__name__}")


def row_hash(dataset: str, row: dict[str, Any]) -> bytes:
    return sha(
        "fedpriv/ledger/row/v1",
        row["seq"].to_bytes(8, "big"),
        dataset.encode(),
        row["kind"].encode(),
        row["time"].encode(),
        canonical(row["body"]),
        bytes.fromhex(row["prev"]),
        bytes.fromhex(row["signer"]),
    )


def signature_holds(row: dict[str, Any]) -> bool:
    message = frame(b"fedpriv signature v1", b"fedpriv/ledger/signature/v1", bytes.fromhex(row["hash"]))
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(row["signer"]))
    try:
        key.verify(bytes.fromhex(row["signature"]), message)
    except InvalidSignature:
        return False
    return True


def gaussian(event: dict[str, str]) -> tuple[float, float]:
    if set(event) != {"kind", "noise_multiplier", "sampling_rate"} or event["kind"] != "poisson-gaussian":
        raise Fault("the event is not one that this verifier knows")
    return float(event["noise_multiplier"]), float(event["sampling_rate"])


def as_dp_event(counts: dict[tuple[float, float], int]) -> dp_accounting.DpEvent:
    parts = [
        dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise)), times
        )
        for (noise, rate), times in counts.items()
    ]
    return dp_accounting.ComposedDpEvent(parts)


def by_pld(counts: dict[tuple[float, float], int], delta: float) -> float:
    return pld_of(tuple(sorted(counts.items())), delta) if counts else 0.0


@lru_cache(maxsize=64)
def pld_of(counts: tuple[tuple[tuple[float, float], int], ...], delta: float) -> float:
    return pld.PLDAccountant().compose(as_dp_event(dict(counts))).get_epsilon(delta)


def by_rdp(counts: dict[tuple[float, float], int], delta: float) -> float:
    if not counts:
        return 0.0
    orders = list(rdp_privacy_accountant.DEFAULT_RDP_ORDERS)
    spent = [sum(times * one_round(key)[order] for key, times in counts.items()) for order in orders]
    return float(rdp_privacy_accountant.compute_epsilon(orders, spent, delta)[0])


@lru_cache(maxsize=64)
def one_round(key: tuple[float, float]) -> dict[float, float]:
    """RDP of one round of a Gaussian event at each of dp-accounting's orders."""
    accountant = rdp_privacy_accountant.RdpAccountant()
    accountant.compose(as_dp_event({key: 1}))
    return dict(zip(accountant._orders, accountant._rdp, strict=True))


def at_order(counts: dict[tuple[float, float], int], order: float, delta: float) -> float:
    """F of section 6.3 for events without slack."""
    if not counts:
        return 0.0
    spent = sum(times * float(one_round(key)[order]) for key, times in counts.items())
    left = delta * 63 / 64
    if left**2 + math.expm1(-spent) > 0:
        return 0.0
    return max(0.0, spent + math.log1p(-1 / order) - (math.log(left) + math.log(order)) / (order - 1))


def best_order(key: tuple[float, float], epsilon: float, delta: float) -> float:
    """The order at which the most rounds fit, and the first of those where several do."""
    orders = list(rdp_privacy_accountant.DEFAULT_RDP_ORDERS)
    rounds = 1
    while min(at_order({key: rounds + 1}, order, delta) for order in orders if order > 1.01) <= epsilon:
        rounds += 1
    return min(orders, key=lambda order: at_order({key: rounds}, order, delta))


class Replay:
    """Sections 5 and 6."""

    def __init__(self) -> None:
        self.budget: tuple[float, float] | None = None
        self.runs: dict[str, dict[str, Any]] = {}
        self.order = 0.0
        self.anchor = ""
        self.shared = False

    def counted(self) -> dict[tuple[float, float], int]:
        counts: dict[tuple[float, float], int] = {}
        for run in self.runs.values():
            times = sum(state in ("reserved", "released") for state in run["states"].values())
            if times:
                counts[run["key"]] = counts.get(run["key"], 0) + times
        return counts

    def unused(self) -> bool:
        return not self.counted() and all(run["finished"] for run in self.runs.values())

    def take(self, kind: str, body: dict[str, Any]) -> None:
        if kind not in FIELDS:
            raise Fault(f"{kind!r} is not a kind")
        if set(body) != FIELDS[kind]:
            raise Fault("the fields of the body are not those of its kind")
        if kind == "BUDGET":
            delta = float(body["delta"])
            if self.runs and self.budget is not None and delta != self.budget[1]:
                raise Fault("delta changes after a plan")
            self.budget = (float(body["epsilon"]), delta)
            return
        run = self.runs.get(body["run"])
        before = ("unknown", "none")
        if run is not None:
            before = ("finished" if run["finished"] else "open", run["states"].get(body.get("round"), "none"))
        if (*before, kind) not in STEPS:
            raise Fault(f"{kind} after {before} is not a step of the table")
        if self.budget is None:
            raise Fault("there is no budget")
        if kind == "PLAN":
            self.plan(body)
            return
        assert run is not None
        if kind == "RESERVE":
            self.reserve(run)
        _, state = STEPS[(*before, kind)]
        if kind == "FINISH":
            run["finished"] = True
        else:
            run["states"][body["round"]] = state

    def plan(self, body: dict[str, Any]) -> None:
        assert self.budget is not None
        epsilon, delta = self.budget
        key, rounds = gaussian(body["event"]), body["rounds"]
        if self.unused():
            rule, cost = "committed-plan PLD", by_pld({key: rounds}, delta)
            self.order, self.anchor, self.shared = best_order(key, epsilon, delta), body["run"], False
        else:
            first = self.runs[self.anchor]
            if not self.shared and at_order({first["key"]: first["rounds"]}, self.order, delta) > epsilon:
                raise Fault("the first plan leaves no room")
            counts = self.counted()
            counts[key] = counts.get(key, 0) + rounds
            rule, cost = "RDP filter", at_order(counts, self.order, delta)
            self.shared = True
        if cost > epsilon:
            raise Fault(f"the plan costs {cost}, over {epsilon}")
        if body["rule"] != rule or abs(float(body["epsilon"]) - cost) > 1e-6 * max(1.0, cost):
            raise Fault(f"the plan should say {rule}, {cost}")
        self.runs[body["run"]] = {
            "key": key,
            "rounds": rounds,
            "epsilon": float(body["epsilon"]),
            "states": {},
            "finished": False,
        }

    def reserve(self, run: dict[str, Any]) -> None:
        assert self.budget is not None
        epsilon, delta = self.budget
        if sum(state != "voided" for state in run["states"].values()) >= run["rounds"]:
            raise Fault("all rounds of the plan count already")
        if not self.shared and run["epsilon"] <= epsilon:
            return
        counts = self.counted()
        counts[run["key"]] = counts.get(run["key"], 0) + 1
        cost = at_order(counts, self.order, delta)
        if cost > epsilon:
            raise Fault(f"the round brings the data set to {cost}, over {epsilon}")


def verify(bundle: dict[str, Any], *, signer: str, expected_head: str | None = None) -> list[str]:
    """The faults of a bundle that is well-formed JSON with the fields of section 7."""
    faults: list[str] = []
    dataset, rows = bundle["dataset"], bundle["rows"]
    if not re.fullmatch("[0-9a-f]{16,128}", dataset):
        faults.append("bundle: no fingerprint")
    if bundle["signer"] != signer:
        faults.append("signer: not the expected key")
    replay = Replay()
    prev = sha("fedpriv/ledger/genesis/v1", dataset.encode()).hex()
    for index, row in enumerate(rows):
        place = f"row {index}"
        if row["seq"] != index:
            faults.append(f"{place}: number")
        if row["prev"] != prev:
            faults.append(f"{place}: does not follow")
        if row["hash"] != row_hash(dataset, row).hex():
            faults.append(f"{place}: hash")
        if row["signer"] != signer:
            faults.append(f"{place}: signer")
        if not signature_holds(row):
            faults.append(f"{place}: signature")
        if not faults:
            try:
                replay.take(row["kind"], row["body"])
            except Fault as fault:
                faults.append(f"{place}: {fault}")
        prev = row["hash"]
    if bundle["head"] != {"seq": rows[-1]["seq"], "hash": rows[-1]["hash"]}:
        faults.append("head: is not the last row")
    if expected_head is not None and rows[-1]["hash"] != expected_head:
        faults.append("head: is not the expected one")
    if not faults:
        faults += claims(bundle["claims"], replay)
    return faults


def claims(stated: dict[str, Any], replay: Replay) -> list[str]:
    """Section 7, point 4, for the figures of the data set."""
    assert replay.budget is not None
    epsilon, delta = replay.budget
    counts = replay.counted()
    tight = by_pld(counts, delta)
    filtered = at_order(counts, replay.order, delta)
    states = [state for run in replay.runs.values() for state in run["states"].values()]
    exact = {
        "rule": "RDP filter" if replay.shared else "committed-plan PLD",
        "budget": repr(epsilon),
        "delta": repr(delta),
        "reserved": len(states),
        "released": states.count("released"),
        "voided": states.count("voided"),
    }
    near = {
        "epsilon_pld": (tight, 1e-6),
        "epsilon": (filtered if replay.shared else tight, 1e-6),
        "epsilon_rdp": (by_rdp(counts, delta), 1e-9),
        "epsilon_filter": (filtered, 1e-9),
    }
    faults = [f"claims, {name}: {value}" for name, value in exact.items() if stated[name] != value]
    faults += far("claims", stated, near)
    for run_id, run in replay.runs.items():
        place, own = f"claims for run {run_id}", stated["runs"][run_id]
        times = sum(state != "voided" for state in run["states"].values())
        counts = {run["key"]: times} if times else {}
        if own["rounds"] != times:
            faults.append(f"{place}, rounds: {times}")
        figures = {
            "epsilon_pld": (by_pld(counts, delta), 1e-6),
            "epsilon_rdp": (by_rdp(counts, delta), 1e-9),
            "planned_epsilon": (by_pld({run["key"]: run["rounds"]}, delta), 1e-6),
        }
        faults += far(place, own, figures)
    return faults


def far(place: str, stated: dict[str, Any], figures: dict[str, tuple[float, float]]) -> list[str]:
    """The stated figures that are further from the true ones than is allowed."""
    return [
        f"{place}, {name}: {value}"
        for name, (value, allowed) in figures.items()
        if abs(float(stated[name]) - value) > allowed * max(1.0, value)
    ]
