"""What the guarantee rests on, and what only a person can say."""

from __future__ import annotations

from typing import Any

from fedpriv.report.encryption import Encryption, hides_updates
from fedpriv.report.history import History
from fedpriv.report.rundir import RunDirectory
from fedpriv.report.shared_records import compared, shared_records
from fedpriv.report.wording import count, scientific

__all__ = ["assumptions", "attestations"]


def assumptions(rundir: RunDirectory, history: History) -> list[dict[str, str]]:
    """What the guarantee rests on: ``holds`` (checked here), ``asserted``, ``unknown`` or ``violated``."""
    run, plan = rundir.run, rundir.plan
    data, trust = run["dataset"], plan["trust"]
    records = int(data["records_declared"])
    rows: list[tuple[str, str, str]] = []
    seeded = run["insecure_seed"] is not None
    rows.append(
        (
            "The noise is secret and drawn from a cryptographic generator.",
            "violated" if seeded else "asserted",
            f"run.json names the seed {run['insecure_seed']}."
            if seeded
            else "No seed is recorded; the generator is keyed from the operating system.",
        )
    )
    order = history.planned_before_spending
    rows.append(
        (
            "Noise, rate and number of rounds were fixed before the first round.",
            "holds" if order else "violated",
            "The ledger's PLAN row stands before every RESERVE of this run, and no round "
            "beyond it was reserved."
            if order
            else "The ledger does not show one plan before every reserved round.",
        )
    )
    fewest = min((len(r["survivors"]) for r in rundir.rounds), default=None)
    enough = fewest is None or fewest >= plan["min_survivors"]
    rows.append(
        (
            f"At least {plan['min_survivors']} of {plan['clients']} clients contribute to "
            "every released sum.",
            "holds" if enough else "violated",
            "No round was released." if fewest is None else f"The smallest released round had {fewest}.",
        )
    )
    verified = data["disjointness"] == "verified"
    rows.append(
        (
            f"Every {'record' if plan['unit'] == 'record' else 'data set'} belongs to one client only.",
            "holds" if verified else "asserted",
            "The records of all clients were compared before the run."
            if verified
            else "The clients state it; it was not compared across them. One record at m "
            "clients counts as a group of m.",
        )
    )
    rows += [_one_budget(history), *_people(plan)]
    if plan.get("work", "gradients") == "update":
        rows.append(
            (
                "Each client shortens its whole update to the bound before it leaves.",
                "asserted",
                "By the software of this version; a client that does otherwise breaks its own protection and "
                "is not detected. That it takes part is public, and no amplification by sampling is claimed.",
            )
        )
    else:
        rows.append(
            (
                "Each client draws its batch by independent coin flips at the common rate.",
                "asserted",
                f"Rate {plan['sampling_rate']:g}, by the software of this version; a client "
                "that does otherwise is "
                "not detected.",
            )
        )
    unit, units = (
        ("client", int(plan.get("clients_in_all") or plan["clients"]))
        if plan["unit"] == "client"
        else ("record", records)
    )
    below = units > 0 and plan["delta"] * units < 1
    rows.append(
        (
            f"δ is smaller than one over the number of {unit}s.",
            "holds" if below else "violated",
            f"δ = {scientific(plan['delta'])}, {count(units, unit)}.",
        )
    )
    if trust == "central":
        rows.append(("The server is honest.", "asserted", "It sees exact sums and adds the noise."))
    else:
        rows.append(
            (
                f"Clients that pool what they know with the server: at most {plan['max_colluders']}.",
                "asserted",
                "Their noise is left out of the accounting.",
            )
        )
    encryption = Encryption.of(plan)
    if trust == "distributed":
        hidden = hides_updates(plan)
        rows.append(
            (
                "The server sees sums and nothing else.",
                "asserted" if hidden else "violated",
                "Rests on secure aggregation, on the roster of keys having been compared out of band, and on "
                "standard cryptography."
                if hidden
                else "Aggregation was plain: the server received each update."
                if encryption is None
                else "With the key of one client the server opens each update.",
            )
        )
        if plan.get("graph") == "sparse":
            rows.append(
                (
                    "The server follows the protocol.",
                    "asserted",
                    "On a sparse graph of masks one that does not could open sums over fewer clients.",
                )
            )
    if encryption is not None and trust != "local":
        rows += encryption.assumptions(plan["max_colluders"])
    return [{"assumption": a, "status": s, "evidence": e} for a, s, e in rows]


def _one_budget(history: History) -> tuple[str, str, str]:
    """Whether all that was ever released from the records is in this ledger's chain of them."""
    what = "The records are known again, and every run on them spends from this budget."
    if not compared(history):
        return what, "asserted", "The data set was given a name; its records were not compared."
    shared = sum(other.records for other in shared_records(history))
    also = f"{count(shared, 'record')} also had another budget: section 9." if shared else "None had another."
    return what, "holds", f"Their marks were compared with those of every data set of the ledger. {also}"


def _people(plan: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What is known of people behind several records; section 4 has what follows where it is not so."""
    asserted = plan.get("disjointness", "unknown") == "asserted"
    rows = [
        (
            "Nobody has records at more than one client.",
            "asserted" if asserted else "unknown",
            "data.disjointness says so; it was not compared."
            if asserted
            else "Nothing says so. Section 4 has the ε of somebody with one at every client."
            if plan["trust"] == "local"
            else "Nothing says so. The ε of one record does not cover such a person; section 4 has groups.",
        )
    ]
    records = int(plan.get("person_records", 1))
    if records > 1:
        what = "privacy.person_records says so; section 4 has the ε of such a person."
        rows.append((f"Nobody has more than {records} records in all.", "asserted", what))
    return rows


def attestations(rundir: RunDirectory) -> list[dict[str, Any]]:
    """Statements that no software can make; each waits for a name and a date."""
    statements = [
        "The records were collected and are used on a lawful basis, and those concerned "
        "were informed as required.",
        "The parties are separate organisations and do not pool what they see, within "
        "the number that section 7 allows.",
        "The roster of signing keys was compared over a channel other than the server.",
        "Hyperparameters were chosen without looking at the protected records, or the "
        "accesses are listed in section 9.",
        "No record stands at more than one client, or the overlap is known and its group figure is accepted.",
        "The level of ε is acceptable for these data and this use.",
        "Who may use the adapter, for what and until when, is settled.",
    ]
    if rundir.plan["trust"] == "central":
        statements.insert(2, "The operator of the server is trusted with the exact sum of every round.")
    return [{"statement": s, "name": None, "role": None, "date": None} for s in statements]
