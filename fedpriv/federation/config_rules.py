"""What two keys of a configuration get wrong together, and what this version does not offer."""

from __future__ import annotations

from fedpriv.errors import ConfigError
from fedpriv.federation.config_tables import Data, Partition, Privacy, SecAgg

__all__ = ["MASKED_MINIMUM", "cross_check", "least_survivors"]

MASKED_MINIMUM = 3
"""Fewest clients of a masked sum: with two, each learns the other's update from the result."""


def cross_check(
    *, unit: str, aggregator: str, privacy: Privacy, data: Data, partition: Partition, secagg: SecAgg
) -> None:
    """What two keys get wrong together, and what this version does not offer."""
    if unit == "client":
        raise ConfigError(
            "`unit` is 'client', which is not available in this version",
            key="unit",
            hint='use `unit = "record"`: the guarantee then holds for each single record',
        )
    if aggregator == "ckks":
        raise ConfigError(
            "`aggregator` is 'ckks', which is not available in this version",
            key="aggregator",
            hint='use `aggregator = "masked"`: the server then learns the sum and nothing else',
        )
    _check_privacy(privacy)
    _check_data(data)
    _check_partition(partition)
    if partition.clients is not None:
        least_survivors(aggregator, secagg, partition.clients)


def least_survivors(aggregator: str, secagg: SecAgg, clients: int) -> int:
    """``secagg.min_survivors`` for this many clients, checked, or the least safe number."""
    colluders = secagg.max_colluders
    if aggregator == "masked" and clients < MASKED_MINIMUM:
        raise ConfigError(
            f"`partition.clients` is {clients}, fewer than the {MASKED_MINIMUM} that the masked sum needs",
            key="partition.clients",
            hint=f'take {MASKED_MINIMUM} or more, or `aggregator = "plain"`, which hides nothing',
        )
    least = (clients + colluders) // 2 + 1 if aggregator == "masked" else colluders + 1
    if least > clients:
        raise ConfigError(
            f"`secagg.max_colluders` is {colluders}, too many for {clients} clients",
            key="secagg.max_colluders",
            hint=f"allowed: 0 to {max(0, clients - 2)}",
        )
    given = secagg.min_survivors
    if given is None:
        return (clients + colluders) // 2 + 1
    if not least <= given <= clients:
        raise ConfigError(
            f"`secagg.min_survivors` is {given}; allowed: {least} to {clients} "
            f"with {clients} clients and {colluders} colluding",
            key="secagg.min_survivors",
            hint="fewer would let a server open single updates; more than all clients can never answer",
        )
    return given


def _check_privacy(privacy: Privacy) -> None:
    if privacy.records is None:
        return
    if privacy.delta >= 1 / privacy.records:
        raise ConfigError(
            f"`privacy.delta` is {privacy.delta:g}, too large for {privacy.records} records: "
            f"it must be below 1/records = {1 / privacy.records:.3g}",
            key="privacy.delta",
            hint=f"use {_power_of_ten_below(privacy.records):g} or smaller: with 1/records, "
            "publishing one record picked at random would count as private",
        )
    if privacy.expected_batch > privacy.records:
        raise ConfigError(
            f"`privacy.expected_batch` is {privacy.expected_batch:g}, "
            f"more than `privacy.records` ({privacy.records})",
            key="privacy.expected_batch",
            hint="it is the expected number of records a round over all clients; 2 to 10 % of them is usual",
        )


def _power_of_ten_below(records: int) -> float:
    """The largest power of ten below ``1 / records``."""
    return float(f"1e-{len(str(records))}")


def _check_data(data: Data) -> None:
    if data.labels is not None and len(set(data.labels)) != len(data.labels):
        twice = next(name for name in data.labels if data.labels.count(name) > 1)
        raise ConfigError(
            f"`data.labels` names {twice!r} twice", key="data.labels", hint="name every label once"
        )
    if data.text == data.label:
        raise ConfigError(
            f"`data.text` and `data.label` are both {data.text!r}",
            key="data.label",
            hint="the text and the label are two columns",
        )
    if (data.test.fraction is None) == (data.test.source is None):
        raise ConfigError(
            "`data.test` needs either `fraction` or `source`, and has "
            + ("neither" if data.test.source is None else "both"),
            key="data.test",
            hint="`fraction = 0.2` holds out a fifth of data.source; `source` names other data",
        )
    if data.test.by is not None and data.test.source is not None:
        raise ConfigError(
            "`data.test.by` belongs to `data.test.fraction`, and `data.test.source` is set",
            key="data.test.by",
            hint="leave `by` out",
        )


def _check_partition(partition: Partition) -> None:
    method = partition.method
    if method in {"groups", "column"} and not partition.column:
        raise ConfigError(
            f"`partition.column` is missing: the method {method!r} needs one",
            key="partition.column",
            hint="name the column that says where a record belongs",
        )
    if method in {"iid", "dirichlet"} and partition.column is not None:
        raise ConfigError(
            f"`partition.column` is {partition.column!r}, and the method {method!r} uses no column",
            key="partition.column",
            hint='leave it out, or use `method = "groups"` or `method = "column"`',
        )
    if method != "column" and partition.clients is None:
        raise ConfigError(
            f"`partition.clients` is missing: the method {method!r} needs the number of clients",
            key="partition.clients",
            hint="set it to 3 or more",
        )
