"""What two keys of a configuration get wrong together, and what this version does not offer."""

from __future__ import annotations

from typing import Literal

from fedpriv import dp
from fedpriv.errors import ConfigError, UnsafeParameters
from fedpriv.federation.config.ckks_rules import check_ckks, committee
from fedpriv.federation.config.participation_rules import check_equal_cohorts, check_participation
from fedpriv.federation.config.peft_rules import check_peft
from fedpriv.federation.config.simulation_rules import check_simulation
from fedpriv.federation.config.tables import (
    Ckks,
    Data,
    Local,
    Model,
    Partition,
    Peft,
    Privacy,
    Run,
    SecAgg,
    Simulation,
)
from fedpriv.federation.config.task_rules import check_task

__all__ = ["FEWEST_CLIENTS", "Work", "cross_check", "kind_of_work", "least_survivors"]

Work = Literal["gradients", "steps", "update"]
"""``gradients``: the sampled records' clipped gradients, one step; ``steps``: several such steps, each with
the client's own noise; ``update``: how far plain local training led, clipped as a whole."""

FEWEST_CLIENTS = 3
"""Fewest clients of a sum that hides: with two, each learns the other's update from the result."""

_HIDING = {"masked": "masked", "ckks": "encrypted"}


def cross_check(
    *,
    unit: str,
    trust: str,
    aggregator: str,
    task: str,
    model: Model,
    peft: Peft,
    privacy: Privacy,
    local: Local,
    data: Data,
    partition: Partition,
    secagg: SecAgg,
    ckks: Ckks,
    simulation: Simulation,
    run: Run,
) -> None:
    """What two keys get wrong together, and what this version does not offer."""
    work = kind_of_work(unit, trust, local)
    check_peft(peft)
    check_task(task, model, data, peft)
    _check_epsilon(privacy)
    _check_local(work, local)
    _check_mechanism(unit, trust, privacy)
    if work == "update":
        _check_update(unit, privacy, partition)
    else:
        _check_privacy(privacy)
    _check_data(data)
    _check_partition(partition)
    check_simulation(work, peft, simulation)
    check_participation(run, peft, privacy)
    check_ckks(trust, aggregator, secagg, ckks)
    if partition.clients is not None:
        cohort = -(-partition.clients // (privacy.bands or 1))
        if run.participation is not None:
            cohort = check_equal_cohorts(partition.clients, round(1 / run.participation))
        least_survivors(aggregator, secagg, cohort)
        if aggregator == "ckks" and ckks.mode == "threshold":
            committee(ckks, secagg, cohort)


def kind_of_work(unit: str, trust: str, local: Local) -> Work:
    """What a client puts into a round's sum, by unit, trust and number of local steps.

    Several steps of a record's unit can each carry noise of their own only where that noise is enough alone
    (``local``); else the whole update is clipped.
    """
    if unit == "client":
        return "update"
    if local.epochs is None and local.steps in (None, 1):
        return "gradients"
    return "steps" if trust == "local" else "update"


def least_survivors(aggregator: str, secagg: SecAgg, clients: int) -> int:
    """``secagg.min_survivors`` for this many clients, checked, or the least safe number."""
    colluders = secagg.max_colluders
    if aggregator in _HIDING and clients < FEWEST_CLIENTS:
        raise ConfigError(
            f"`partition.clients` is {clients}, fewer than the {FEWEST_CLIENTS} that the "
            f"{_HIDING[aggregator]} sum needs",
            key="partition.clients",
            hint=f'take {FEWEST_CLIENTS} or more, or `aggregator = "plain"`, which hides nothing',
        )
    least = (clients + colluders) // 2 + 1 if aggregator == "masked" else colluders + 1
    if aggregator == "ckks":
        least += 1  # with one honest client in it, the others can take their own off the sum
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


def _check_epsilon(privacy: Privacy) -> None:
    try:
        dp.check_epsilon(privacy.epsilon, allow_large=privacy.allow_large_epsilon)
    except UnsafeParameters as error:
        raise ConfigError(
            f"`privacy.epsilon` is {privacy.epsilon:g}: {error}",
            key="privacy.epsilon",
            hint=f"stay below {dp.LARGE_EPSILON:g}, or set `privacy.allow_large_epsilon = true`, which the "
            "report says first",
        ) from None


def _check_local(work: Work, local: Local) -> None:
    if local.steps is not None and local.epochs is not None:
        raise ConfigError(
            "`local.steps` and `local.epochs` are both set",
            key="local.epochs",
            hint="a client takes a number of steps or a number of passes over its records, not both",
        )
    if work == "steps" and local.epochs is not None:
        raise ConfigError(
            "`local.epochs` is set, and noisy local steps sample their records instead of passing over them",
            key="local.epochs",
            hint="set `local.steps`",
        )
    if work != "update":
        for key in ("record_cap", "expected_weight"):
            if getattr(local, key) is not None:
                raise ConfigError(
                    f"`local.{key}` is set, and weights are for whole updates: here records are summed, "
                    "each with the same weight",
                    key=f"local.{key}",
                    hint='leave it out, or use `unit = "client"`',
                )


def _check_mechanism(unit: str, trust: str, privacy: Privacy) -> None:
    if privacy.mechanism != "banded-matrix":
        if privacy.bands is not None:
            raise ConfigError(
                "`privacy.bands` is set, and `privacy.mechanism` is not 'banded-matrix'",
                key="privacy.bands",
                hint='leave it out, or set `privacy.mechanism = "banded-matrix"`',
            )
        return
    if trust != "central":
        raise ConfigError(
            f"`privacy.mechanism` is 'banded-matrix' under trust = {trust!r}: its noise is correlated over "
            "rounds, and what a client that vanished owes to later rounds cannot be added by the others",
            key="privacy.mechanism",
            hint='use `trust = "central"`, or `mechanism = "skellam"`',
        )
    if unit != "client":
        raise ConfigError(
            "`privacy.mechanism` is 'banded-matrix' with unit = 'record': it bounds how often a unit takes "
            "part, which sampled records do not keep to",
            key="privacy.mechanism",
            hint='use `unit = "client"`, or `mechanism = "skellam"`',
        )
    if privacy.bands is None:
        raise ConfigError(
            "`privacy.bands` is missing: the banded matrix mechanism needs it",
            key="privacy.bands",
            hint="set it to the number of cohorts that take turns; 4 to 16 is usual",
        )
    if privacy.adaptive_clip is not None:
        raise ConfigError(
            "`privacy.adaptive_clip` is set under 'banded-matrix': noise that later rounds take back needs "
            "one scale for all rounds",
            key="privacy.adaptive_clip",
            hint='leave it out, or use `mechanism = "skellam"`',
        )


def _check_update(unit: str, privacy: Privacy, partition: Partition) -> None:
    """Where whole updates are clipped no record is sampled, and the unit's own number bounds delta."""
    for key in ("expected_batch", *(("records",) if unit == "client" else ())):
        if getattr(privacy, key) is not None:
            raise ConfigError(
                f"`privacy.{key}` is set, and no record is sampled: each client's whole update is clipped, "
                "and no amplification by sampling is claimed",
                key=f"privacy.{key}",
                hint="leave it out; `local.batch` is the batch of a local step",
            )
    count = partition.clients if unit == "client" else privacy.records
    if count is not None:
        _check_delta(privacy.delta, count, f"{unit}s")


def _check_privacy(privacy: Privacy) -> None:
    if privacy.adaptive_clip is not None:
        raise ConfigError(
            "`privacy.adaptive_clip` is set, and the gradients of records have a fixed clip",
            key="privacy.adaptive_clip",
            hint='leave it out, or use `unit = "client"`',
        )
    if privacy.expected_batch is None:
        raise ConfigError(
            "`privacy.expected_batch` is missing",
            key="privacy.expected_batch",
            hint="set it: expected records a step, over all clients",
        )
    if privacy.records is None:
        return
    _check_delta(privacy.delta, privacy.records, "records")
    if privacy.expected_batch > privacy.records:
        raise ConfigError(
            f"`privacy.expected_batch` is {privacy.expected_batch:g}, "
            f"more than `privacy.records` ({privacy.records})",
            key="privacy.expected_batch",
            hint="it is the expected number of records a round over all clients; 2 to 10 % of them is usual",
        )


def _check_delta(delta: float, count: int, units: str) -> None:
    if delta >= 1 / count:
        raise ConfigError(
            f"`privacy.delta` is {delta:g}, too large for {count} {units}: "
            f"it must be below 1/{units} = {1 / count:.3g}",
            key="privacy.delta",
            hint=f"use {_power_of_ten_below(count):g} or smaller: with 1/{units}, "
            f"publishing one {units[:-1]} picked at random would count as private",
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
    for what, column in (("text", data.text), ("image", data.image)):
        if column == data.label:
            raise ConfigError(
                f"`data.{what}` and `data.label` are both {column!r}",
                key="data.label",
                hint=f"the {what} and the label are two columns",
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
    if method not in {"groups", "column"} and partition.column is not None:
        raise ConfigError(
            f"`partition.column` is {partition.column!r}, and the method {method!r} uses no column",
            key="partition.column",
            hint='leave it out, or use `method = "groups"` or `method = "column"`',
        )
    if method != "shards" and partition.shards_per_client is not None:
        raise ConfigError(
            f"`partition.shards_per_client` is set, and the method {method!r} cuts no shards",
            key="partition.shards_per_client",
            hint='leave it out, or use `method = "shards"`',
        )
    if method != "column" and partition.clients is None:
        raise ConfigError(
            f"`partition.clients` is missing: the method {method!r} needs the number of clients",
            key="partition.clients",
            hint="set it to 3 or more",
        )
