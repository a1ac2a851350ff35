"""What the README says that a budget of bytes carries, from the figures of `benchmarks/compression.py`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def figures() -> dict[tuple[str, int, str], dict[str, Any]]:
    found = json.loads((ROOT / "benchmarks" / "results" / "compression.json").read_text())
    return {(row["unit"], row["clients"], json.dumps(row["compression"])): row for row in found["rows"]}


def test_the_readme_says_what_was_found() -> None:
    said = " ".join((ROOT / "README.md").read_text().split())
    rows = figures()
    turned, plain = (
        rows["record", 8, '{"bytes": 40000}'],
        rows["record", 8, '{"bytes": 40000, "rotate": false}'],
    )
    assert (turned["rotated"], plain["rotated"]) == (True, False)
    assert (
        f"sends {turned['coordinates']:,} of {turned['of']:,} coordinates in {turned['bits']} bits each, and "
        f"{plain['coordinates']:,} in {plain['bits']} bits without rotation"
    ) in said
    usual, alone = rows["record", 8, "null"], rows["record", 8, '{"rotate": true}']
    assert usual["coordinates"] == alone["coordinates"] == turned["of"]
    assert f"in {alone['bytes']:,} bytes instead of {usual['bytes']:,}" in said
    many, few = rows["client", 50, '{"bytes": 40000}'], rows["client", 8, '{"bytes": 40000}']
    without = rows["client", 50, '{"bytes": 40000, "rotate": false}']
    assert (many["rotated"], few["rotated"]) == (True, False)
    assert f"{many['coordinates']:,} travel instead of {without['coordinates']:,} with 50 clients" in said
    assert usual["noise_multiplier"] == turned["noise_multiplier"] == plain["noise_multiplier"]


@pytest.mark.slow
def test_the_figures_are_still_those_of_the_plan() -> None:
    spec = importlib.util.spec_from_file_location("compression", ROOT / "benchmarks" / "compression.py")
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    for compression in ({"bytes": 40_000}, {"rotate": True}):
        found = benchmark.row("record", 8, compression)
        written = figures()["record", 8, json.dumps(compression)]
        assert found.pop("epsilon") == pytest.approx(
            written.pop("epsilon"), abs=1e-9
        )  # last places of an FFT
        assert found == written
