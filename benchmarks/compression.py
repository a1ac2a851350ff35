"""What travels in a round of the quickstart with LoRA of rank 4: how many coordinates, in how many bits.

In 40,000 bytes and without a limit, rotated or not, as the plan chooses.

    python benchmarks/compression.py [--json FILE]

Nothing is timed and nothing is trained: the figures are those of `fedpriv plan`, the same on every machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedpriv.federation.config import Config, load
from fedpriv.federation.planning.make import plan_of
from fedpriv.federation.planning.subject import Subject

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = ROOT / "examples" / "quickstart" / "fedpriv.toml"
METHOD = ("peft.method='lora'", "peft.rank=4", "peft.alpha=8")
PARAMETERS = 4 * 2 * 3 * (384 + 384) + 2 * (384 + 1)
"""Both halves of queries and values in three of MiniLM's layers, and the head."""
BYTES = 40_000


def config_of(unit: str, clients: int, compression: dict[str, Any] | None) -> Config:
    """The quickstart's; where the unit is a client, with one epoch of its own, at ε = 8 and δ = 1e-3."""
    values = load(QUICKSTART, METHOD).to_dict()
    if compression is not None:
        values["compression"] = compression
    if unit == "client":
        values["unit"] = "client"
        values["privacy"] = {"epsilon": 8.0, "delta": 1e-3}
        values["partition"]["clients"] = clients
        values["secagg"].pop("min_survivors")
    return Config.from_dict(values, base=QUICKSTART.parent)


def row(unit: str, clients: int, compression: dict[str, Any] | None) -> dict[str, Any]:
    """What the plan says of it."""
    key = "record" if unit == "record" else "client:00"
    subject = Subject("00" * 32, clients, records=10_500, unit_key=key, parameters=PARAMETERS)
    plan = plan_of(config_of(unit, clients, compression), subject)
    return {
        "unit": unit,
        "clients": clients,
        "compression": compression,
        "coordinates": plan.coordinates,
        "of": PARAMETERS,
        "bits": plan.grid.bits,
        "rotated": plan.rotated,
        "bytes": plan.bytes_per_client_round,
        "noise_multiplier": plan.noise.noise_multiplier,
        "epsilon": plan.epsilon_pld,
    }


def rows() -> Iterator[dict[str, Any]]:
    """Units and numbers of clients, each in four ways."""
    ways: tuple[dict[str, Any] | None, ...] = (
        None,
        {"rotate": True},
        {"bytes": BYTES, "rotate": False},
        {"bytes": BYTES},
    )
    for unit, clients in (("record", 8), ("client", 8), ("client", 50)):
        for compression in ways:
            yield row(unit, clients, compression)


def said(found: dict[str, Any]) -> str:
    """One line of the table."""
    keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in (found["compression"] or {}).items())
    turned = ", rotated" if found["rotated"] else ""
    return (
        f"| {found['unit']} | {found['clients']} | {keys or 'none'} | {found['coordinates']:,} "
        f"| {found['bits']}{turned} | {found['bytes']:,} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What a budget of bytes carries.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    target = parser.parse_args().json
    print("| unit | clients | compression | coordinates | bits | bytes |\n|---|---|---|---|---|---|")
    made = []
    for found in rows():
        print(said(found), flush=True)
        made.append(found)
    if target is not None:
        target.write_text(json.dumps({"benchmark": "compression", "rows": made}, indent=2) + "\n")


if __name__ == "__main__":
    main()
