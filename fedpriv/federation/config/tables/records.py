"""Whose records there are: ``[data]``, ``[partition]`` and ``[simulation]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fedpriv.federation.config.tables.table import Fraction, Positive, Share, Table

__all__ = [
    "Data",
    "Partition",
    "Simulation",
    "TestData",
]


class TestData(Table):
    """``[data.test]``: where the held-out data come from; ``fraction`` or ``source``."""

    __test__ = False  # pytest would collect the name

    fraction: Fraction | None = Field(default=None, description="share of the records that is held out")
    by: str | None = Field(default=None, description="column whose groups are held out whole")
    source: str | None = Field(
        default=None, min_length=1, description="a source of its own, in the form of data.source"
    )


class Data(Table):
    """``[data]``: where the records are and which columns matter."""

    source: str = Field(
        min_length=1,
        description="a file or folder (relative to this file), 'package:module/path', or 'hf:owner/name'",
    )
    format: Literal["auto", "csv", "jsonl", "parquet"] = Field(
        default="auto", description="auto reads the file's name"
    )
    text: str = Field(default="text", min_length=1, description="column of the text")
    image: str | None = Field(
        default=None, min_length=1, description="column of the image in a Parquet file; default: image"
    )
    label: str = Field(default="label", min_length=1, description="column of the label")
    labels: Annotated[tuple[str, ...], Field(strict=False, min_length=2)] | None = Field(
        default=None,
        description="labels that are kept, in order; rows with other labels are left out; default: all",
    )
    test: TestData = Field(default=TestData(fraction=0.2), description="the held-out data")
    version: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="declares these data a version with a budget of its own, where they share records with "
        "data that have one; for whoever is in both, ε adds up",
    )
    disjointness: Literal["asserted", "unknown"] = Field(
        default="unknown",
        description="asserted: it is stated that nobody has records at two clients; under trust = local, "
        "unknown also prices a record at every client",
    )


class Partition(Table):
    """``[partition]``: how the records belong to clients."""

    method: Literal["groups", "column", "iid", "dirichlet", "shards", "quantity"] = Field(
        default="iid",
        description="groups: whole groups of a column to each client; column: one client for each value; "
        "iid: at random; dirichlet: label shares drawn from Dirichlet(alpha); shards: a few runs of the "
        "records in the order of their labels to each; quantity: at random, sizes drawn from "
        "Dirichlet(alpha)",
    )
    clients: int | None = Field(default=None, ge=1, le=100_000, description="number of clients")
    column: str | None = Field(default=None, description="column of the groups, or of the clients' names")
    skew: Share = Field(default=0.5, description="groups: 0 mixes at random, 1 sorts by label")
    alpha: Positive = Field(
        default=1.0, description="dirichlet, quantity: small values make the clients differ more"
    )
    shards_per_client: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="shards: how many runs of records a client is given; default: 2",
    )


class Simulation(Table):
    """``[simulation]``: what happens to the simulated clients."""

    dropout: Share = Field(
        default=0.0, description="chance a round that one random client vanishes at a random stage"
    )
    stragglers: Share = Field(
        default=0.0, description="share of the clients that are slow, drawn once from run.seed"
    )
    straggler_misses: Share | None = Field(
        default=None, description="chance a round that a straggler's upload comes too late; default: 0.5"
    )
    away: Share = Field(
        default=0.0, description="chance a round that a client leaves, to come back after away_rounds rounds"
    )
    away_rounds: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="rounds for which a client that leaves is away; default: 3",
    )
    measure_gap: bool = Field(
        default=False,
        description="measure how far the mean of the clients' products B A is from the product of the means, "
        "from their updates without noise, which no real server sees",
    )
    measure_personal: bool = Field(
        default=False,
        description="judge each client's own model, with the part that the client keeps to itself, on "
        "held-out records that stand for its own; no real server has it",
    )
