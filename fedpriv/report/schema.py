"""The report's JSON Schema: ``protocols/report/report.schema.json``, of which the package carries a copy."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from fedpriv.errors import IntegrityError

__all__ = ["load_schema", "problems", "require_valid"]


@cache
def load_schema() -> dict[str, Any]:
    """The schema that reports are held to."""
    text = files("fedpriv.report").joinpath("templates", "report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def problems(report: object) -> list[str]:
    """Where ``report`` departs from the schema, one line each; empty when it does not."""
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(load_schema()).iter_errors(report)
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]


def require_valid(report: object) -> None:
    """Raise :class:`IntegrityError` unless ``report`` follows the schema."""
    found = problems(report)
    if found:
        raise IntegrityError(
            f"the report does not follow its schema: {found[0]}",
            hint="a value in the run directory is not of the kind that a report can hold",
        )
