"""What is promised, and what may be spent: ``[privacy]`` and ``[budget]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedpriv.federation.config.tables.table import Fraction, Positive, Table

__all__ = [
    "AdaptiveClipping",
    "Budget",
    "Privacy",
]


class AdaptiveClipping(Table):
    """``[privacy.adaptive_clip]``: the clip follows a quantile of the updates' norms (1905.03871)."""

    quantile: Fraction = Field(default=0.5, description="share of the updates that should be within the clip")
    learning_rate: Positive = Field(default=0.2, description="step in the logarithm of the clip, a round")
    share: Fraction = Field(
        default=0.05, description="part of each round's privacy cost that the quantile may take"
    )


class Privacy(Table):
    """``[privacy]``: the guarantee, and what calibrates the noise."""

    epsilon: Positive = Field(description="the epsilon that the whole run may cost")
    delta: Fraction = Field(
        description="the delta of the guarantee; below 1 / number of records, or of clients for that unit"
    )
    allow_large_epsilon: bool = Field(
        default=False, description="allows an epsilon of 20 or more, which the report then says first"
    )
    person_records: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="most records of one person, over all clients; above 1, the plan and the report say what "
        "such a person is promised",
    )
    clip: Positive = Field(
        default=1.0,
        description="l2 bound of one record's gradient, or of one client's update; the first one with "
        "adaptive_clip",
    )
    adaptive_clip: AdaptiveClipping | None = Field(
        default=None, description="lets the clip of whole updates follow a quantile of their norms"
    )
    mechanism: Literal["skellam", "banded-matrix"] = Field(
        default="skellam",
        description="skellam: fresh noise a round; banded-matrix: noise that partly cancels over rounds",
    )
    bands: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="banded-matrix: rounds with correlated noise; a client takes part in one of them",
    )
    expected_batch: Positive | None = Field(
        default=None, description="expected records a step, over all clients; where records are sampled"
    )
    records: int | None = Field(
        default=None,
        ge=1,
        description="public nominal number of training records; sampling rate = expected_batch / records",
    )
    noise_multiplier: Positive | None = Field(
        default=None, description="standard deviation of the noise over clip; default: calibrated to epsilon"
    )
    insecure_seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="makes the noise reproducible and the run INSECURE; for tests only",
    )


class Budget(Table):
    """``[budget]``: the data set's own budget, which outlives the run."""

    epsilon: Positive | None = Field(
        default=None, description="budget of the data set if none has been set yet; default: privacy.epsilon"
    )
    name: str | None = Field(
        default=None, min_length=1, description="a name for the data set; default: data.source"
    )
    ledger: str | None = Field(
        default=None,
        min_length=1,
        description="file of the ledger (relative to the config file); default: the user's own",
    )
    client_ledgers: bool = Field(
        default=True,
        description="each client keeps a ledger of its own, countersigns the server's and refuses on its own",
    )
    client_epsilon: Positive | None = Field(
        default=None,
        description="cap that a client's own ledger is given at first; default: the data set's budget",
    )
