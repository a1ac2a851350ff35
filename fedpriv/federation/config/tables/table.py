"""What all tables of a configuration have in common, and the ranges that several of their keys share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Fraction", "Indices", "Names", "Positive", "Share", "Table"]

Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Indices = Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Table(BaseModel):
    """One table of the file: frozen, and closed against keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
