"""How updates are summed: ``[secagg]``, ``[ckks]`` and ``[compression]``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedpriv.federation.config.tables.table import Table

__all__ = [
    "Ckks",
    "Compression",
    "SecAgg",
]


class SecAgg(Table):
    """``[secagg]``: the secure sum."""

    bits: int | None = Field(
        default=None,
        ge=8,
        le=62,
        description="the sum is taken modulo 2**bits; default: 32, under ckks 20, or more where the grid "
        "would cost privacy",
    )
    min_survivors: int | None = Field(
        default=None,
        ge=1,
        description="fewest clients whose sum a round accepts; default: the least safe number",
    )
    graph: Literal["complete", "sparse"] = Field(
        default="complete",
        description="complete: every two clients share masks; sparse: each with some others only, for "
        "hundreds of clients, of which few may vanish, and a server that follows the protocol",
    )
    max_colluders: int = Field(
        default=1, ge=0, description="clients that may share what they know with the server"
    )
    remove_excess: bool = Field(
        default=True,
        description="under trust = distributed, take off the noise that the survivors turn out not to need; "
        "costs the drawing of it, by the clients and once more by the server; not under ckks",
    )


class Ckks(Table):
    """``[ckks]``: who has the key of the encrypted sum; survivors, colluders and bits are ``[secagg]``'s."""

    mode: Literal["authority", "threshold", "shared-key"] = Field(
        default="authority",
        description="authority: a party of its own, which never works with the server; threshold: some of "
        "the clients, so many of whom must answer; shared-key: every client, so that one of them and the "
        "server open every update",
    )
    holders: int | None = Field(
        default=None,
        ge=2,
        le=64,
        description="threshold: clients that hold the key together, the first ones; default: 5, or all where "
        "they are fewer",
    )
    threshold: int | None = Field(
        default=None,
        ge=2,
        le=64,
        description="threshold: holders that must answer before a sum is opened; default: the fewest that "
        "are safe",
    )
    server: Literal["malicious", "semi-honest"] = Field(
        default="malicious",
        description="malicious: a holder is sent one half of every ciphertext, checks who signed it and adds "
        "them itself; semi-honest: it opens what the server says is the sum, and downloads far less",
    )
    sums_per_key: int = Field(
        default=16, ge=1, le=65_536, description="sums that one key may open before a new one is made"
    )
    statistical_bits: int = Field(
        default=30,
        ge=20,
        le=64,
        description="threshold: over the life of a key, the answers of its holders tell more than the sum "
        "with an advantage of at most 2**-statistical_bits",
    )


class Compression(Table):
    """``[compression]``: fewer coordinates in a round, drawn from run.seed (``share``, or as many as fit into
    ``bytes``), and fewer bits, where a random rotation spreads what a sum must hold."""

    share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="part of the method's coordinates that travels, drawn anew each round",
    )
    bytes: int | None = Field(
        default=None,
        ge=1,
        description="bytes that a client may send in a round; the plan chooses the narrowest modulus that "
        "costs next to no privacy, and then the share",
    )
    rotate: bool | None = Field(
        default=None,
        description="turn what is summed by a public random rotation, new in each round, so that sums take "
        "fewer bits; default: under bytes where more coordinates travel for it, else not",
    )
