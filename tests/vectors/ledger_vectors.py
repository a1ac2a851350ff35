"""Writes protocols/vectors/v1/ledger_*.json: sound bundles, and the same with one thing wrong.

    python tests/vectors/ledger_vectors.py

A case is written once and for ever: a change of the format is a new version with its own vectors.  Each holds
``bundle``, what the verifier knows beforehand (``signer``, ``expected_head``), and ``finds``: the places that
it must name, in order, each once.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedpriv.crypto import SigningKey
from fedpriv.dp import PoissonGaussian, event_to_dict
from fedpriv.ledger.budget import admit_plan
from fedpriv.ledger.bundle import make_bundle
from fedpriv.ledger.chain import Chain
from fedpriv.ledger.rows import Row, genesis, seal

DIRECTORY = Path(__file__).resolve().parents[2] / "protocols" / "vectors" / "v1"
DATASET = "5eed" * 16
SIGNER = SigningKey.from_seed(bytes(range(32)))
STRANGER = SigningKey.from_seed(bytes(range(1, 33)))
HEAVY = PoissonGaussian(
    noise_multiplier=0.8, sampling_rate=0.1
)  # at (6, 1e-5): 23 rounds by PLD, 14 by the filter
LIGHT = PoissonGaussian(noise_multiplier=2.5, sampling_rate=0.05)

Entry = tuple[str, dict[str, Any]]
Case = dict[str, Any]


def budget(epsilon: str = "6.0", delta: str = "1e-05") -> Entry:
    return "BUDGET", {"name": "reviews", "epsilon": epsilon, "delta": delta}


def plan(run: str, event: PoissonGaussian, rounds: int, rule: str = "", epsilon: str = "") -> Entry:
    """A PLAN row; without ``rule`` and ``epsilon`` they are filled in when it is sealed."""
    body = {"run": run, "event": event_to_dict(event), "rounds": rounds, "details": {"base": "model"}}
    return "PLAN", body | ({"rule": rule, "epsilon": epsilon} if rule else {})


def reserve(run: str, number: int) -> Entry:
    return "RESERVE", {"run": run, "round": number, "details": {"clients": [1, 2, 3]}}


def release(run: str, number: int) -> Entry:
    details = {"survivors": [1, 3], "realised_multiplier": "0.8164965809277261", "aggregate": "ab" * 32}
    return "RELEASE", {"run": run, "round": number, "details": details}


def void(run: str, number: int) -> Entry:
    return "VOID", {
        "run": run,
        "round": number,
        "evidence": {"stage": "advertise", "reason": "1 of 3 answered"},
    }


def finish(run: str) -> Entry:
    return "FINISH", {"run": run, "details": {"adapter": "cd" * 32, "note": "größer als zuvor"}}


def played(run: str, rounds: int) -> list[Entry]:
    """``rounds`` rounds, each reserved and released."""
    return [entry for number in range(rounds) for entry in (reserve(run, number), release(run, number))]


ONE_PLAN = [
    budget(),
    plan("first", HEAVY, 4),
    reserve("first", 0),
    release("first", 0),
    reserve("first", 1),
    void("first", 1),
    reserve("first", 2),
    release("first", 2),
    reserve("first", 3),
    finish("first"),
]
TWO_PLANS = [
    budget(),
    plan("first", HEAVY, 9),
    *played("first", 3),
    plan("second", LIGHT, 8),
    *played("second", 4),
]


def sealed(entries: list[Entry], signer: SigningKey = SIGNER) -> list[Row]:
    """A chain of rows, hashed and signed whether or not they are legal."""
    rows: list[Row] = []
    chain = Chain(DATASET)
    legal = True
    for seq, (kind, given) in enumerate(entries):
        body = dict(given)
        if kind == "PLAN" and "rule" not in body:
            admission = admit_plan(
                chain, HEAVY if body["event"] == event_to_dict(HEAVY) else LIGHT, body["rounds"]
            )
            body |= {"rule": admission.rule, "epsilon": repr(admission.epsilon)}
        row = seal(
            signer,
            seq=seq,
            dataset=DATASET,
            kind=kind,
            time=f"2026-01-31T12:00:{seq % 60:02d}Z",
            body=body,
            prev=rows[-1].hash if rows else genesis(DATASET),
        )
        rows.append(row)
        try:
            if legal:
                chain.extend(row)
        except Exception:
            legal = False
    return rows


def document(entries: list[Entry], claims: dict[str, Any] | None = None) -> dict[str, Any]:
    """A bundle of rows; ``claims`` stand in for those of rows that are not legal."""
    rows = sealed(entries)
    if claims is None:
        bundle = make_bundle(DATASET, rows, signer=SIGNER.public)
    else:
        bundle = make_bundle(DATASET, sealed(ONE_PLAN), signer=SIGNER.public) | {
            "rows": [row.to_dict() for row in rows],
            "head": {"seq": rows[-1].seq, "hash": rows[-1].hash.hex()},
            "claims": claims,
        }
    return json.loads(json.dumps(bundle))  # type: ignore[no-any-return]


def case(description: str, bundle: dict[str, Any], finds: list[str], head: str | None = None) -> Case:
    return {
        "description": description,
        "signer": SIGNER.public.hex(),
        "expected_head": head if head is not None else bundle["rows"][-1]["hash"],
        "finds": finds,
        "bundle": bundle,
    }


def good() -> dict[str, Case]:
    return {
        "one_plan": case("one run: released, voided and pending rounds", document(ONE_PLAN), []),
        "two_plans": case("two runs on one data set, so the RDP filter", document(TWO_PLANS), []),
    }


def changed(edit: Callable[[dict[str, Any]], None], source: dict[str, Any]) -> dict[str, Any]:
    bundle = copy.deepcopy(source)
    edit(bundle)
    return bundle


def bad() -> dict[str, Case]:
    """Every faulty case by its name."""
    one, two = document(ONE_PLAN), document(TWO_PLANS)
    head, claims = one["rows"][-1]["hash"], one["claims"]
    cases: dict[str, Case] = {}

    def edited(name: str, description: str, finds: list[str], edit: Callable[[dict[str, Any]], None]) -> None:
        cases[name] = case(description, changed(edit, one), finds, head)

    def illegal(name: str, description: str, place: str, entries: list[Entry]) -> None:
        cases[name] = case(description, document(entries, claims), [place])

    def set_field(row: int, name: str, value: object) -> Callable[[dict[str, Any]], None]:
        return lambda bundle: bundle["rows"][row].update({name: value})

    def swap(bundle: dict[str, Any]) -> None:
        rows = bundle["rows"]
        rows[2], rows[3] = rows[3], rows[2]

    def rehash(bundle: dict[str, Any]) -> None:
        # Whoever has no key can make a row's hash fit again, but neither its signature nor the next row.
        forged = seal(
            STRANGER,
            seq=4,
            dataset=DATASET,
            kind="RESERVE",
            time=bundle["rows"][4]["time"],
            body={"run": "first", "round": 7, "details": {}},
            prev=bytes.fromhex(bundle["rows"][4]["prev"]),
        ).to_dict()
        bundle["rows"][4] = json.loads(json.dumps(forged))

    def strangers_tail(bundle: dict[str, Any]) -> None:
        bundle["rows"] = [row.to_dict() for row in sealed(ONE_PLAN, STRANGER)]
        bundle["head"]["hash"] = bundle["rows"][-1]["hash"]
        bundle["signer"] = STRANGER.public.hex()

    def truncate(bundle: dict[str, Any]) -> None:
        bundle["rows"] = bundle["rows"][:-1]
        bundle["head"] = {"seq": 8, "hash": bundle["rows"][-1]["hash"]}
        bundle["claims"] = document(ONE_PLAN[:-1])["claims"]

    def claim(name: str, value: object) -> Callable[[dict[str, Any]], None]:
        return lambda bundle: bundle["claims"].update({name: value})

    flipped = one["rows"][5]["signature"][:-1] + ("0" if one["rows"][5]["signature"][-1] != "0" else "1")
    edited(
        "row_body",
        "the survivors of a RELEASE changed",
        ["row 3"],
        lambda b: b["rows"][3]["body"]["details"].update(survivors=[1, 2, 3]),
    )
    edited("row_time", "the time of a row changed", ["row 6"], set_field(6, "time", "2026-02-01T12:00:00Z"))
    edited("signature", "one digit of a signature changed", ["row 5"], set_field(5, "signature", flipped))
    edited("forged_row", "a row replaced by one of a stranger's key", ["row 4", "row 5"], rehash)
    edited("order", "two rows changed places", ["row 2", "row 3", "row 4"], swap)
    edited(
        "dropped_row",
        "a row in the middle is missing",
        [f"row {i}" for i in range(5, 9)],
        lambda b: b["rows"].pop(5),
    )
    edited(
        "replayed_row",
        "a row stands twice",
        [f"row {i}" for i in range(3, 11)],
        lambda b: b["rows"].insert(3, copy.deepcopy(b["rows"][2])),
    )
    edited("truncated", "the last row is missing, and all the rest agrees with it", ["head"], truncate)
    edited("head", "the head names another row", ["head"], lambda b: b["head"].update(seq=8))
    edited(
        "other_data_set",
        "the chain passed off as another data set's",
        [f"row {i}" for i in range(10)],
        lambda b: b.update(dataset="0a" * 32),
    )
    edited(
        "other_signer",
        "the whole history written again with another key",
        ["signer", *(f"row {i}" for i in range(10)), "head"],
        strangers_tail,
    )
    edited(
        "claimed_pld", "a lower PLD figure is claimed", ["claims, epsilon_pld"], claim("epsilon_pld", "1.5")
    )
    edited(
        "claimed_rdp",
        "an RDP figure lower by 1e-8 is claimed",
        ["claims, epsilon_rdp"],
        claim("epsilon_rdp", repr(float(claims["epsilon_rdp"]) - 1e-8)),
    )
    edited("claimed_rounds", "a pending round is claimed as voided", ["claims, voided"], claim("voided", 2))
    edited(
        "claimed_run",
        "a run is claimed to have cost less",
        ["claims for run first, epsilon_pld"],
        lambda b: b["claims"]["runs"]["first"].update(epsilon_pld="0.0"),
    )
    first = [budget(), plan("first", HEAVY, 4)]
    illegal(
        "unknown_kind",
        "a kind that version 1 does not have",
        "row 2",
        [*first, ("REFUND", {"run": "first", "round": 0, "details": {}})],
    )
    illegal(
        "unknown_event",
        "a plan with an event that is not registered",
        "row 1",
        [
            budget(),
            (
                "PLAN",
                {
                    **first[1][1],
                    "event": {"kind": "laplace", "scale": "1.0"},
                    "rule": "committed-plan PLD",
                    "epsilon": "1.0",
                },
            ),
        ],
    )
    illegal(
        "unknown_field",
        "a RESERVE with a field too many",
        "row 2",
        [*first, ("RESERVE", {"run": "first", "round": 0, "details": {}, "free": True})],
    )
    illegal(
        "released_unreserved",
        "a round released that was never reserved",
        "row 2",
        [*first, release("first", 0)],
    )
    illegal(
        "released_after_void",
        "a voided round released",
        "row 4",
        [*first, reserve("first", 0), void("first", 0), release("first", 0)],
    )
    illegal(
        "reserved_twice",
        "a voided round reserved again",
        "row 4",
        [*first, reserve("first", 0), void("first", 0), reserve("first", 0)],
    )
    illegal(
        "reserved_after_finish",
        "a round after the end of its run",
        "row 3",
        [*first, finish("first"), reserve("first", 0)],
    )
    illegal(
        "planned_twice",
        "a run planned a second time",
        "row 2",
        [*first, plan("first", HEAVY, 4, "RDP filter", "5.0")],
    )
    illegal(
        "no_budget",
        "a plan before any budget",
        "row 0",
        [plan("first", HEAVY, 4, "committed-plan PLD", "3.5")],
    )
    illegal("changed_delta", "another delta after a plan", "row 2", [*first, budget(delta="0.001")])
    illegal(
        "too_many_rounds",
        "a round more than the plan has",
        "row 6",
        [*first, *(reserve("first", number) for number in range(5))],
    )
    illegal(
        "overspent_plan",
        "a first plan over the budget",
        "row 1",
        [budget(), plan("first", HEAVY, 24, "committed-plan PLD", "6.0")],
    )
    illegal(
        "understated_plan",
        "a plan that claims to cost less than it does",
        "row 1",
        [budget(), plan("first", HEAVY, 4, "committed-plan PLD", "3.4")],
    )
    illegal(
        "second_plan",
        "a second plan beside a first one that takes the whole budget",
        "row 3",
        [
            budget(),
            plan("first", HEAVY, 15),
            reserve("first", 0),
            plan("second", LIGHT, 1, "RDP filter", "4.4"),
        ],
    )
    illegal(
        "wrong_rule",
        "a second plan priced as if it were alone",
        "row 3",
        [*first, reserve("first", 0), plan("second", LIGHT, 1, "committed-plan PLD", "0.1")],
    )
    illegal(
        "overspent_reserve",
        "a round of a shared data set over its budget",
        "row 17",
        [
            budget(),
            plan("first", HEAVY, 10),
            plan("second", HEAVY, 10),
            *(reserve("first", number) for number in range(10)),
            *(reserve("second", number) for number in range(6)),
        ],
    )
    illegal(
        "lowered_budget",
        "a round after the budget was lowered below what is spent",
        "row 4",
        [*first, reserve("first", 0), budget("1.0"), reserve("first", 1)],
    )
    cases["claimed_filter"] = case(
        "a lower figure of the filter is claimed",
        changed(lambda b: b["claims"].update(epsilon=b["claims"]["epsilon_rdp"]), two),
        ["claims, epsilon"],
    )
    return cases


def main() -> None:
    cases = {f"ledger_{name}": value for name, value in good().items()}
    cases |= {f"ledger_bad_{name}": value for name, value in bad().items()}
    for name, value in cases.items():
        text = json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)
        (DIRECTORY / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
