"""The first page in words: what to know first, what is promised, against whom, and what is not covered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fedpriv import dp
from fedpriv.report.accesses import accesses
from fedpriv.report.encryption import Encryption
from fedpriv.report.figures import Figures
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.shared_records import shared_in_words
from fedpriv.report.wording import adversary, count, one_in, rounded_up, scientific, sentence, times

__all__ = ["summary", "warnings"]

_CHEATS = {
    "what": "Clients that cheat",
    "text": "False updates (poisoning) are not stopped, and a client sees its own records.",
}
_NOT_COVERED = {
    "record": (
        {"what": "A person with several records", "text": "Protected less, as a group: section 4."},
        {
            "what": "What is true of people in general",
            "text": "A fact that the model learns without any one record is no secret of that record.",
        },
        _CHEATS,
    ),
    "client": (
        {
            "what": "A person with records at several clients",
            "text": "Protected less, as a group: section 4.",
        },
        {
            "what": "Who the clients are",
            "text": "That a client takes part is public; what its records said is what is protected.",
        },
        {
            "what": "What is true of clients in general",
            "text": "A fact that the model learns without any one client is no secret of that client.",
        },
        _CHEATS,
    ),
}

_TRUST = {
    "local": "each client added enough noise on its own",
    "distributed": "each client added a share of the noise and only the sum has enough",
    "central": "the server added the noise and saw the exact sum",
}


def warnings(rundir: RunDirectory, history: History, failures: int) -> list[dict[str, str]]:
    """What a reader must know before the first figure; ``danger`` where the promise itself is touched."""
    run, plan = rundir.run, rundir.plan
    found: list[tuple[str, str, str]] = []
    if run["insecure_seed"] is not None:
        found.append(
            (
                "danger",
                "No guarantee: this run drew its noise from a known seed",
                "Whoever knows the seed can subtract the noise. Every ε on this page "
                "describes what the same run "
                "would give with secret randomness. Use this run for tests and nothing else.",
            )
        )
    if plan["epsilon"] >= dp.LARGE_EPSILON:
        found.append(
            (
                "danger",
                f"A budget of ε = {plan['epsilon']:g} protects next to nothing",
                f"From ε = {dp.LARGE_EPSILON:g} on, an attacker's odds may grow more than 400-million-fold. "
                + (
                    "The configuration says that so large a budget is meant (privacy.allow_large_epsilon)."
                    if plan.get("allow_large_epsilon", False)
                    else "The configuration does not say that so large a budget is meant."
                ),
            )
        )
    if failures:
        found.append(
            (
                "danger",
                f"Not verified: {count(failures, 'check')} failed",
                "The files of this run disagree with each other or with the ledger. Section 15 names each.",
            )
        )
    if plan["trust"] == "central":
        found.append(
            (
                "danger",
                "The server is trusted: nothing protects the records from it",
                "The server sees the exact sum of every round and adds the noise itself. "
                "The guarantee holds only "
                "against those who see the released model.",
            )
        )
    if plan["trust"] == "distributed" and plan.get("graph") == "sparse":
        found.append(
            (
                "caution",
                "The server is taken to follow the protocol",
                "Clients shared masks with some others only. A server that lies to them could open sums over "
                "fewer clients, with less noise than planned; the stated ε does not hold against it.",
            )
        )
    if plan["aggregator"] == "plain":
        text = "The server received every client's update in the clear. "
        if plan["trust"] == "distributed":
            text += (
                "Each update carries only a share of the noise, so the stated ε does "
                "not hold against the server."
            )
        elif plan["trust"] == "local":
            text += (
                "Each update carries its full noise; the stated ε holds for it, but "
                "not by any secrecy of the sum."
            )
        else:
            text += "Updates carry no noise at all before they reach the server."
        found.append(
            ("caution" if plan["trust"] == "local" else "danger", "No secure aggregation was used", text)
        )
    encryption = Encryption.of(plan)
    if encryption is not None:
        found += encryption.warnings(plan["max_colluders"], plan["trust"])
    if run.get("engine") == "simulation":
        found.append(
            (
                "caution",
                "Simulated on one machine",
                "All clients ran in one process, so whoever ran it could read every record. The protocol was "
                "exercised in full; the separation of the parties was not.",
            )
        )
    if not rundir.finished:
        found.append(
            (
                "caution",
                "This run is not finished",
                f"{history.spent} of {history.planned} planned rounds are spent. Figures are as of the last "
                "finished round; an interrupted round counts as spent.",
            )
        )
    return [{"level": level, "title": title, "text": text} for level, title, text in found]


def summary(
    rundir: RunDirectory,
    history: History,
    figures: Figures,
    open_points: Sequence[dict[str, Any]],
    failures: int,
) -> dict[str, Any]:
    """The first page: one sentence, three boxes, planned and spent, verified or not."""
    run, plan = rundir.run, rundir.plan
    unit, delta = plan["unit"], float(plan["delta"])
    one = "record" if unit == "record" else "client's whole data set"
    broken = run["insecure_seed"] is not None
    if broken:
        headline = "This run gives no privacy guarantee: its noise came from a known seed."
    elif figures.planned_pld is None:
        headline = "No finite privacy guarantee follows from what this run did."
    else:
        factor = math.exp(min(figures.planned_pld, 700.0))
        headline = (
            f"Using any one {one}, or leaving it out, makes any conclusion that can be drawn from what this "
            f"training released at most {times(factor)} times as likely, plus a chance of {one_in(delta)}."
        )
    limit = max(float(plan["epsilon"]), figures.planned_pld or 0.0) * (1 + 1e-9)
    against, weaker = [], []
    for seen, epsilon in zip(plan["adversaries"], figures.adversaries, strict=True):
        who, what = adversary(seen["adversary"]), sentence(seen["description"])
        if epsilon is not None and epsilon <= limit and not broken:
            against.append({"who": who, "epsilon": epsilon, "text": what})
        elif epsilon is None or broken:
            weaker.append({"what": who, "text": f"No bound. {what}"})
        else:
            weaker.append({"what": who, "text": f"Only ε ≤ {rounded_up(epsilon)}. {what}"})
    violated = [a["assumption"] for a in open_points if a["status"] == "violated"]
    promised = [
        f"One {one} more or less changes the odds of any outcome by a factor of at most "
        f"e^ε with ε = {rounded_up(figures.planned_pld)}, plus δ = {scientific(delta)}.",
        f"This covers all {plan['rounds']} planned rounds together, every intermediate "
        "model and the adapter.",
        f"Noise: {_TRUST.get(plan['trust'], plan['trust'])}.",
    ]
    return {
        "headline": headline,
        "statement": plan["guarantee"],
        "holds": not (broken or failures or violated) and figures.planned_pld is not None,
        "promised": [] if broken else promised,
        "against": against,
        "not_covered": [
            *weaker,
            *_NOT_COVERED.get(unit, _NOT_COVERED["record"]),
            *_left_out(rundir, history),
        ],
        "epsilon_allowed": float(plan["epsilon"]),
        "epsilon_planned": figures.planned_pld,
        "epsilon_spent": figures.spent_pld,
        "delta": delta,
        "rounds_spent": history.spent,
        "rounds_planned": history.planned,
        "finished": rundir.finished,
        "verified": failures == 0,
    }


def _left_out(rundir: RunDirectory, history: History) -> list[dict[str, str]]:
    """The box's lines about other budgets of the records, and about section 9 where there is one."""
    shared = " ".join(shared_in_words(history))
    found = [{"what": "What other runs spent", "text": shared}] if shared else []
    kinds = len(accesses(rundir, history))
    if kinds:
        text = f"{count(kinds, 'kind')} outside the accounting: section 9."
        found.append({"what": "Other accesses", "text": text})
    return found
