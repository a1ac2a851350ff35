"""Code and spec speak of the same clauses."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SPEC = (ROOT / "protocols" / "secagg" / "spec.md").read_text(encoding="utf-8")
CODE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "fedpriv" / "secagg").glob("*.py"))
)


def test_the_clauses_are_numbered_without_a_gap() -> None:
    defined = [int(number) for number in re.findall(r"^- \*\*SA-(\d+) ", SPEC, flags=re.MULTILINE)]
    assert defined == list(range(1, 17))


def test_every_clause_that_the_code_raises_is_in_the_spec_and_tried_by_an_attack() -> None:
    raised = set(re.findall(r'"(SA-\d+)"', CODE))
    assert raised == {f"SA-{number}" for number in (1, 2, 3, 4, 7, 9, 12, 15, 16)}
    vectors = ROOT / "protocols" / "vectors" / "v1"
    published = "".join(path.read_text(encoding="utf-8") for path in vectors.glob("secagg_bad_*.json"))
    assert all(f'"error": "{clause}"' in published for clause in raised)


def test_the_threshold_is_in_no_message() -> None:
    schema = (ROOT / "protocols" / "secagg" / "messages.md").read_text(encoding="utf-8")
    assert "threshold" not in schema
    assert "threshold" not in (ROOT / "fedpriv" / "secagg" / "messages.py").read_text(encoding="utf-8")
