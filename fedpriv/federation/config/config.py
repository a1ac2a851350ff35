"""The configuration of a run: what may stand in ``fedpriv.toml``, and what it means.

Every table of the file is a frozen model in :mod:`fedpriv.federation.config.tables`, where every key carries
its meaning, default and range; what two keys get wrong together is checked by
:mod:`fedpriv.federation.config.rules`.  A mistake is a :class:`~fedpriv.errors.ConfigError` with one sentence
and a hint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from fedpriv.crypto.digest import canonical_json, digest
from fedpriv.federation.config.coordinates_rules import (
    check_coordinates,
    check_server,
    check_slopes,
    why_not_rotated,
)
from fedpriv.federation.config.language_rules import check_language
from fedpriv.federation.config.participation_rules import check_equal_cohorts
from fedpriv.federation.config.personal_rules import check_kept, check_measured
from fedpriv.federation.config.rules import Work, cross_check, kind_of_work, least_survivors
from fedpriv.federation.config.tables import (
    Budget,
    Ckks,
    Compression,
    Data,
    Local,
    Model,
    Partition,
    Peft,
    Privacy,
    Run,
    SecAgg,
    Server,
    Simulation,
    Table,
    Training,
)
from fedpriv.federation.config.task_rules import Task, unused_by
from fedpriv.federation.config.text import explain, merge_overrides, parse_toml, write_toml
from fedpriv.federation.planning.cohorts import largest_cohort

__all__ = ["Config", "load"]


class Config(Table):
    """A whole configuration.

    Relative paths in it are meant relative to ``base``, the folder of the file that it came from.
    """

    unit: Literal["record", "client"] = Field(default="record", description="what one change in the data is")
    trust: Literal["local", "distributed", "central"] = Field(
        default="distributed", description="who adds the noise"
    )
    aggregator: Literal["masked", "plain", "ckks"] = Field(
        default="masked", description="how the updates are summed"
    )
    task: Task = Field(default="text-classification", description="what a record is, and what is learned")
    run: Run
    model: Model
    peft: Peft = Peft()
    data: Data
    partition: Partition
    privacy: Privacy
    local: Local = Local()
    secagg: SecAgg = SecAgg()
    ckks: Ckks = Ckks()
    compression: Compression | None = Field(
        default=None, description="fewer coordinates in a round; default: all that the method has"
    )
    server: Server = Server()
    training: Training = Training()
    simulation: Simulation = Simulation()
    budget: Budget = Budget()

    _base: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _check(self) -> Self:
        cross_check(
            unit=self.unit,
            trust=self.trust,
            aggregator=self.aggregator,
            task=self.task,
            model=self.model,
            peft=self.peft,
            privacy=self.privacy,
            local=self.local,
            data=self.data,
            partition=self.partition,
            secagg=self.secagg,
            ckks=self.ckks,
            simulation=self.simulation,
            run=self.run,
        )
        check_language(self.task, self.model, self.partition, self.training)
        check_coordinates(self.peft, self.privacy, self.compression, self.work)
        check_slopes(self.peft, self.work, self.training)
        check_kept(self.peft, self.unit, self.work)
        if self.simulation.measure_personal:
            check_measured(self.peft, self.task, self.data, self.partition, self.training)
        check_server(self.server)
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, base: Path | None = None) -> Config:
        """A configuration from nested mappings; ``base`` is the folder that relative paths start from.

        Raises:
            ConfigError: naming the first key that is unknown, missing or out of range.
        """
        try:
            config = cls.model_validate(dict(values))
        except ValidationError as error:
            raise explain(error, cls) from None
        config._base = (base or Path()).absolute()
        return config

    @property
    def base(self) -> Path:
        """The folder that relative paths in the configuration start from."""
        return self._base

    @property
    def work(self) -> Work:
        """What a client puts into a round's sum, see :func:`fedpriv.federation.config.rules.kind_of_work`."""
        return kind_of_work(self.unit, self.trust, self.local)

    @property
    def local_epochs(self) -> int | None:
        """Passes of a client over its records in a round; None where steps are counted."""
        if self.work == "update" and self.local.steps is None:
            return self.local.epochs or 1
        return None

    @property
    def local_steps(self) -> int | None:
        """Steps of a client in a round; None where passes are counted."""
        return None if self.local_epochs is not None else self.local.steps or 1

    @property
    def rotations(self) -> tuple[bool, ...]:
        """Whether sums may be rotated: no, yes, or as the plan chooses."""
        options = self.compression
        if options is None or (options.rotate is None and options.bytes is None):
            return (False,)
        if options.rotate is not None:
            return (options.rotate,)
        return (False,) if why_not_rotated(self.peft, self.work) else (False, True)

    @property
    def cohorts(self) -> int | None:
        """Disjoint cohorts of clients that take turns; None where all clients take part in every round."""
        if self.run.participation is not None:
            return round(1 / self.run.participation)
        return self.privacy.bands

    def cohort_size(self, clients: int) -> int:
        """Clients of the largest cohort of so many.

        Raises:
            ConfigError: ``run.participation`` makes no cohorts of one size of them.
        """
        if self.run.participation is not None:
            check_equal_cohorts(clients, round(1 / self.run.participation))
        return largest_cohort(clients, self.cohorts)

    def min_survivors(self, clients: int) -> int:
        """Fewest of ``clients`` whose sum a round accepts, given or a safe number.

        That number is a majority of the honest, ``(clients + max_colluders) // 2 + 1``, which is what
        keeps a server from running two unmaskings of one round (protocols/secagg/spec.md).  An encrypted sum
        is opened once whatever it holds, so that fewer may be given there.

        Raises:
            ConfigError: ``clients`` are fewer than the aggregator needs, or ``secagg`` does not fit them.
        """
        return least_survivors(self.aggregator, self.secagg, clients)

    def resolve(self, path: str) -> Path:
        """A path of the configuration as an absolute one (``~`` expanded)."""
        return self._base / Path(path).expanduser()

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, every default written out, without what is not set or does not apply."""
        other: dict[str, Any] = {} if self.aggregator == "ckks" else {"ckks": True}
        return self.model_dump(mode="json", exclude_none=True, exclude={**other, **unused_by(self.task)})

    def to_toml(self) -> str:
        """The configuration as a TOML file; read from the same folder it gives an equal one."""
        return write_toml(self.to_dict())

    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON of :meth:`to_dict`, numbers as their shortest decimal strings."""
        return digest("fedpriv/config/v1", canonical_json(_numbers_as_text(self.to_dict()))).hex()


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file, apply ``key=value`` overrides with dotted keys, and validate.

    Raises:
        ConfigError: the file is missing or is not TOML (the line is named), or a key is wrong.
    """
    values = parse_toml(path)
    merge_overrides(values, overrides)
    return Config.from_dict(values, base=path.absolute().parent)


def _numbers_as_text(value: Any) -> Any:
    """Canonical JSON has no floats: ``0.5`` becomes ``"0.5"`` and ``8`` becomes ``"8"``."""
    if isinstance(value, dict):
        return {key: _numbers_as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers_as_text(item) for item in value]
    if isinstance(value, bool | str):
        return value
    return repr(value)
