"""What a method whose clients keep a part of the model bears, and when their own models can be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.errors import ConfigError
from fedpriv.peft import METHODS

if TYPE_CHECKING:
    from fedpriv.federation.config.rules import Work
    from fedpriv.federation.config.tables import Data, Partition, Peft, Training

__all__ = ["check_kept", "check_measured"]

_KEY = "simulation.measure_personal"


def check_kept(peft: Peft, unit: str, work: Work) -> None:
    """Refuse what no bound on a record's gradient covers (protocols/dp/spec.md, 11.10).

    Raises:
        ConfigError: records are the unit of a method whose clients keep a part.
    """
    if not METHODS[peft.method].personal or unit == "client":
        return
    why = (
        "it is claimed for whole clients only: what a client keeps is made of its records without noise"
        if work == "update"
        else "B holds a client's records without noise and every later gradient of the client depends on it, "
        "so that removing one record moves more than that record's clipped gradient"
    )
    raise ConfigError(
        f"`peft.method` is {peft.method!r} with unit = 'record': {why}",
        key="peft.method",
        hint='use `unit = "client"`, or rolora, whose halves both travel',
    )


def check_measured(peft: Peft, task: str, data: Data, partition: Partition, training: Training) -> None:
    """Refuse to judge clients' own models where they have none, or no held-out record stands for theirs.

    Raises:
        ConfigError: that is so.
    """
    if not METHODS[peft.method].personal:
        kin = ", ".join(name for name, method in METHODS.items() if method.personal)
        raise ConfigError(
            f"`{_KEY}` is set, and with {peft.method} all clients have one model",
            key=_KEY,
            hint=f"leave it out, or take {kin}",
        )
    column = partition.column
    if column is None:
        if task == "causal-lm":
            raise ConfigError(
                f"`{_KEY}` is set, and neither a column nor a label says which held-out texts stand for a "
                "client's own",
                key=_KEY,
                hint='leave it out, or use `partition.method = "column"`',
            )
    elif data.test.by == column:
        raise ConfigError(
            f"`{_KEY}` is set, and `data.test.by` holds out whole values of {column!r}: no held-out record "
            "is of a client's own",
            key=_KEY,
            hint="leave `data.test.by` out, or the measurement",
        )
    elif data.test.source is not None and training.groups != column:
        raise ConfigError(
            f"`{_KEY}` is set, and the records of `data.test.source` are read without the column {column!r}",
            key=_KEY,
            hint="set `data.test.fraction` in its place",
        )
