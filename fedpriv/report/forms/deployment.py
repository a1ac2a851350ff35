"""A draft record for the OpenDP deployments registry: what the report knows, and open places for a person.

The form is that of ``schemas/deployments-schema.yaml`` in opendp/deployments-registry-data at commit 3e9c812
of 2026-07-15; ``protocols/report/deployment.schema.json`` says the same in our words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, TypeAlias

from fedpriv.errors import UsageError
from fedpriv.report.forms.deployment_words import actors, composition, epsilon_details, mechanisms, notes
from fedpriv.report.wording import count, rounded_up

__all__ = ["FILL_IN", "deployment", "deployment_yaml"]

Record: TypeAlias = dict[str, Any]

FILL_IN = "TO BE FILLED IN"
_NO_DATE = "1900-01-01"  # what the registry's own template has where no date is known

# What belongs to a person: kept from an earlier file, while the rest is made again from the report.
_PEOPLE = (
    ("status",),
    ("tier",),
    *(
        ("deployment", "basic", key)
        for key in (
            "name",
            "data_curators",
            "intended_use",
            "data_product_region",
            "description",
            "publication_date",
            "data_product_sector",
        )
    ),
    ("deployment", "dp_variant", "data_domain"),
    ("deployment", "implementation", "justification"),
    ("deployment", "administrative", "sources"),
    ("deployment", "administrative", "registry_authors"),
)
_SECTORS = "Technology, Healthcare, Education, Government, Energy or Finance"

_WHO_ADDS = {
    "local": "Records stay with the clients, and each adds enough noise to what it sends on its own.",
    "distributed": "Records stay with the clients. Each adds a share of the noise; only the sum has enough.",
    "central": "Records stay with the clients. The server adds the noise and is trusted with what it sees.",
}
_SERVER_SEES = {
    True: "Secure aggregation shows the server the sum of a round and no single update.",
    False: "There is no secure aggregation: the server sees every client's update.",
}
_ADJACENT = {
    "record": "Two data sets are adjacent when one has one record more than the other",
    "client": "Two data sets are adjacent when all records of one client are in one and not in the other",
}


def deployment(report: Mapping[str, Any], earlier: object = None) -> Record:
    """The record of ``report``; what people wrote into ``earlier`` (such a record) is kept.

    ε and δ are stated only where the report's guarantee holds.
    """
    identity, guarantee, data = report["identity"], report["guarantee"], report["identity"]["dataset"]
    unit, left_out = guarantee["unit"], data["left_out"]
    clients = count(report["secure_aggregation"]["clients"], "client")
    record: Record = {
        "url_slug": "",
        "status": "Draft",
        "tier": 3,
        "deployment": {
            "basic": {
                "name": identity["name"],
                "data_curators": [FILL_IN],
                "intended_use": FILL_IN,
                "data_product_type": "Machine learning model",
                "data_product_region": FILL_IN,
                "description": f"An adapter ({identity['peft']['method']}) for the base model "
                f"{identity['model']['id']}, trained by {clients} on {count(data['records'], 'record')}.",
                "publication_date": _NO_DATE,
            },
            "dp_variant": {
                "variant_name": "Approximate DP",
                "data_domain": FILL_IN,
                "unprotected_quantities": _list(report["accesses_not_accounted"]),
            },
            "privacy_loss": {
                "privacy_unit": unit,
                "privacy_unit_details": f"{_ADJACENT[unit]} ({guarantee['relation'].replace('-', ' ')}). "
                "A client is one of the organisations that train.",
                "privacy_parameters": _parameters(report),
                "privacy_parameters_details": epsilon_details(report),
            },
            "deployment_model": {
                "model_name": "Central" if guarantee["trust"] == "central" else "Federated",
                "model_name_details": f"{_WHO_ADDS[guarantee['trust']]} "
                + _SERVER_SEES[report["secure_aggregation"]["used"]],
                "actors": actors(report),
                "release_type": "One release",
                "release_type_details": "One adapter. The intermediate models, which clients and server see, "
                "are covered by the same ε.",
                "data_source_type": "Static",
                "data_source_type_details": "Known by its fingerprint; a changed data set is another.",
                "access_type": "Non-interactive",
                "access_type_details": "Nobody asks questions of the records; the adapter is handed out.",
            },
            "accounting": {
                "post_processing": "The server's optimiser turns each noisy sum into the next model, without "
                "going back to the records.",
                "composition": composition(report),
            },
            "implementation": {
                "preprocessing_and_hyperparameter_tuning": "Left out before training: "
                + (", ".join(f"{key} {value}" for key, value in sorted(left_out.items())) or "nothing")
                + ". Neither this nor any tuning outside the ledger is part of ε.",
                "mechanisms": mechanisms(report),
                "justification": FILL_IN,
            },
            "administrative": {
                "sources": FILL_IN,
                "notes": notes(report),
                "registry_authors": [FILL_IN],
            },
        },
    }
    for path in _PEOPLE:
        _keep(record, earlier, path)
    record["url_slug"] = _slug(record["deployment"]["basic"])
    return record


def deployment_yaml(report: Mapping[str, Any], earlier: str | None = None) -> str:
    """The record as the registry's YAML, with a comment that lists what a person has yet to fill in.

    Raises:
        UsageError: ``earlier`` cannot be read, so that what people wrote into it would be lost.
    """
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc] # PyYAML has no types
        """Writes text of several lines as a block, which is the form that the registry asks for."""

    Dumper.add_representer(
        str,
        lambda dumper, text: dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
        ),
    )
    try:
        known = None if earlier is None else yaml.safe_load(earlier)
    except (yaml.YAMLError, ValueError):
        raise UsageError(
            "deployment.yaml is not readable as YAML, and what people wrote into it would be lost",
            hint="mend it, or move it away",
        ) from None
    record = deployment(report, known)
    body = yaml.dump(
        record, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=False
    )
    slug, rest = body.split("\n", maxsplit=1)  # the registry's tools look for it in the first line
    return f"{slug}\n{_heading(record)}{rest}"


def _heading(record: Record) -> str:
    basic = record["deployment"]["basic"]
    # Beside what holds the words, a date nobody has set and a sector nobody has chosen.
    waiting = [*_waiting(record, "")]
    waiting += ["deployment.basic.publication_date"] * (basic["publication_date"] == _NO_DATE)
    if "data_product_sector" not in basic:
        waiting.append(f"deployment.basic.data_product_sector (to be added: {_SECTORS})")
    lines = [
        "Draft for the OpenDP deployments registry, made from report.json, which is the record.",
        "What a person wrote is kept when this file is made again; all else follows the report.",
        *(["For a person to fill in:"] if waiting else []),
        *(f"  {place}" for place in waiting),
    ]
    return "".join(f"# {line}\n" for line in lines)


def _waiting(value: object, path: str) -> list[str]:
    if isinstance(value, dict):
        return [p for key, item in value.items() for p in _waiting(item, f"{path}.{key}" if path else key)]
    if isinstance(value, list):
        return [path] if FILL_IN in value else []
    return [path] if value == FILL_IN else []


def _keep(record: Record, earlier: object, path: tuple[str, ...]) -> None:
    *parents, key = path
    for name in parents:
        record = record[name]
        earlier = earlier.get(name) if isinstance(earlier, dict) else None
    if isinstance(earlier, dict) and earlier.get(key) not in (None, FILL_IN, [FILL_IN]):
        value = earlier[key]
        record[key] = value.isoformat() if isinstance(value, date) else value  # YAML reads a bare date as one


def _parameters(report: Mapping[str, Any]) -> Record:
    planned = report["accounting"]["epsilon_pld_planned"]
    if not report["summary"]["holds"] or planned is None:
        return {}
    return {"epsilon": float(rounded_up(planned)), "delta": report["guarantee"]["delta"]}


def _slug(basic: Mapping[str, Any]) -> str:
    """Name, curators and year, as the registry's own script joins them."""
    curators = basic["data_curators"]
    parts = (
        str(basic["name"]),
        "-".join(map(str, curators)) if isinstance(curators, list) else str(curators),
        str(basic["publication_date"]).split("-", maxsplit=1)[0],
    )
    return "_".join(re.sub(r"\W+", "_", part.lower()) for part in parts).replace("_", "-")


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) if lines else "None recorded."
