"""Which section is evidence for which clause of a law or standard; a person decides what applies.

The words are ours and short: they point at the clause, they do not restate or interpret it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["crosswalk"]

# (framework, clause, what it asks about, what this report holds, sections)
_ROWS: tuple[tuple[str, str, str, str, tuple[int, ...]], ...] = (
    (
        "NIST SP 800-226",
        "Privacy parameter and unit of privacy",
        "How strong the guarantee is, and what one unit of it protects.",
        "ε = {epsilon} at δ = {delta} for one {unit}; group figures and neighbouring relation.",
        (2, 4),
    ),
    (
        "NIST SP 800-226",
        "Algorithms and correctness",
        "Which mechanism ran, and why its accounting is right.",
        "The mechanism as implemented, its parameters, two accountants over the same events.",
        (5, 6),
    ),
    (
        "NIST SP 800-226",
        "Utility and bias",
        "What the noise costs, and whether it costs some groups more.",
        "Overall figures against the base model and the majority guess; {subgroups}.",
        (12,),
    ),
    (
        "NIST SP 800-226",
        "Trust model",
        "Who has to be trusted for the guarantee to hold.",
        "trust = {trust}, aggregator = {aggregator}; ε for each adversary; assumptions with their status.",
        (3, 7, 8),
    ),
    (
        "NIST SP 800-226",
        "Security, side channels, access control, data collection",
        "What surrounds the mechanism.",
        "Accesses outside the accounting are listed; hosting and access control are for "
        "the owner to describe.",
        (9, 13),
    ),
    (
        "GDPR",
        "Art. 5(2) accountability",
        "Being able to show how personal data were protected.",
        "A signed, chained record of every round ({rows} rows), which this report is recomputed from.",
        (6, 15),
    ),
    (
        "GDPR",
        "Art. 25 data protection by design",
        "Protection built into the processing itself.",
        "Records stay with each party; the contribution of one {unit} is bounded and covered by noise.",
        (4, 5, 8),
    ),
    (
        "GDPR",
        "Art. 32 security of processing",
        "Measures in proportion to the risk.",
        "{aggregation}; signed keys; the assumptions under which this protects.",
        (7, 8, 15),
    ),
    (
        "GDPR",
        "Art. 35(7) impact assessment",
        "A description of the processing, its risks and the measures against them.",
        "What is promised and what is not; bounds on membership inference; the open slots of section 13.",
        (2, 3, 9, 10, 13),
    ),
    (
        "HIPAA",
        "45 CFR 164.514(b)(1) expert determination",
        "An expert documents methods and results behind a finding of very small risk.",
        "Bounds for the expert to judge by; the finding itself is the expert's.",
        (4, 6, 10, 11),
    ),
    (
        "EU AI Act",
        "Art. 10 data and data governance",
        "Where training data come from and how they were prepared.",
        "Data set fingerprint, number of records declared, what was left out; origin is for the owner.",
        (1, 9, 13),
    ),
    (
        "EU AI Act",
        "Art. 11 and Annex IV technical documentation",
        "A description of the system and of how it was developed.",
        "Base model, method, versions, configuration digest, mechanism and results.",
        (1, 5, 12),
    ),
    (
        "EU AI Act",
        "Art. 12 record-keeping",
        "Events logged over the life of the system.",
        "The ledger's head and the command that checks it.",
        (15,),
    ),
    (
        "EU AI Act",
        "Art. 15 accuracy, robustness, cybersecurity",
        "Levels achieved and declared.",
        "Task figures; poisoning by a client is not prevented, and is said so.",
        (7, 12),
    ),
    (
        "ISO/IEC 27559",
        "Context, identifiability and mitigation",
        "Who could attack, how well they could do, and what was done about it.",
        "Adversaries with their ε, operational bounds, assumptions.",
        (3, 7, 10),
    ),
    (
        "ISO/IEC 27559",
        "Governance",
        "Who is responsible before, during and after disclosure.",
        "Owner slots here and the attestations of section 13.",
        (13, 14),
    ),
)


def crosswalk(facts: dict[str, object]) -> list[dict[str, Any]]:
    """The rows with evidence filled from ``facts``; ``applies`` and ``owner`` stay open for a person."""
    return [
        {
            "framework": framework,
            "clause": clause,
            "asks": asks,
            "evidence": evidence.format_map(facts),
            "sections": list(sections),
            "applies": None,
            "owner": None,
        }
        for framework, clause, asks, evidence, sections in _ROWS
    ]
