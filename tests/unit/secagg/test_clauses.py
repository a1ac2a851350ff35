"""Code and spec speak of the same clauses."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SPEC = (ROOT / "protocols" / "secagg" / "spec.md").read_text(encoding="utf-8")
CODE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "fedpriv" / "secagg").glob("*.py"))
)
DEFINED = [int(number) for number in re.findall(r"^- \*\*SA-(\d+) ", SPEC, flags=re.MULTILINE)]
RAISED = set(re.findall(r'"(SA-\d+)"', CODE))

# What no message can break: what binds (5), what is left to the caller or is no goal (10, 11, 14), and what
# is forgotten (13).
NOT_BY_A_MESSAGE = {f"SA-{number}" for number in (5, 10, 11, 13, 14)}


def test_the_clauses_are_numbered_without_a_gap() -> None:
    assert list(range(1, len(DEFINED) + 1)) == DEFINED


def test_every_clause_that_a_message_can_break_is_raised_by_the_code() -> None:
    assert {f"SA-{number}" for number in DEFINED} - NOT_BY_A_MESSAGE == RAISED


def test_every_clause_that_code_and_attacks_cite_is_in_the_spec() -> None:
    attacks = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "attacks").glob("test_secagg_*.py")
    )
    cited = {int(number) for number in re.findall(r"\bSA-(\d+)", CODE + attacks)}
    assert cited <= set(DEFINED)


def test_every_clause_that_the_code_raises_has_a_message_that_breaks_it() -> None:
    vectors = (ROOT / "protocols" / "vectors" / "v2").glob("secagg_bad_*.json")
    published = {json.loads(path.read_text(encoding="utf-8"))["error"] for path in vectors}
    assert published == RAISED | {"decode"}


def test_the_threshold_is_in_no_message() -> None:
    schema = (ROOT / "protocols" / "secagg" / "messages.md").read_text(encoding="utf-8")
    assert "threshold" not in schema
    assert "threshold" not in (ROOT / "fedpriv" / "secagg" / "messages.py").read_text(encoding="utf-8")
