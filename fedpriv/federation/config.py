"""The configuration of a run: what may stand in ``fedpriv.toml``, and what it means.

Every table of the file is a frozen model below, and every key carries its meaning and its default.  What one
key alone can get wrong is checked by its model; what two keys get wrong together is checked by
:mod:`fedpriv.federation.config_rules`.  A mistake is a :class:`~fedpriv.errors.ConfigError` with one sentence
and a hint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from fedpriv.crypto.digest import canonical_json, digest
from fedpriv.federation.config_rules import cross_check, least_survivors
from fedpriv.federation.config_text import explain, merge_overrides, parse_toml, write_toml

__all__ = [
    "Budget",
    "Config",
    "Data",
    "Model",
    "Partition",
    "Peft",
    "Privacy",
    "Run",
    "SecAgg",
    "Server",
    "Simulation",
    "TestData",
    "Training",
    "load",
]

_Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
_Indices = Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Table(BaseModel):
    """One table of the file: frozen, and closed against keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Run(_Table):
    """``[run]``: how long, and the public randomness."""

    name: str = Field(
        default="run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="names the run and its folder: letters, digits, dots, dashes and underscores",
    )
    rounds: int = Field(ge=1, description="rounds of training, fixed before the first one")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="public seed of partition, initial weights and simulated dropouts; never of noise",
    )


class Model(_Table):
    """``[model]``: the base model."""

    id: str = Field(
        min_length=1, description="a Hugging Face id, a local folder, or 'package:module/path' in a package"
    )
    revision: str | None = Field(default=None, description="revision of a Hugging Face model")
    max_length: int = Field(default=128, ge=4, le=131_072, description="tokens of a text that are read")
    pooling: Literal["cls", "mean"] | None = Field(
        default=None, description="what the classification head reads; default: the model's own way"
    )


class Peft(_Table):
    """``[peft]``: which parameters are trained and sent."""

    method: Literal["lora", "ffa-lora", "bitfit", "head"] = Field(
        default="ffa-lora",
        description="ffa-lora freezes one half of LoRA, so that noise is not multiplied by noise",
    )
    rank: int = Field(default=8, ge=1, le=4096, description="rank of the LoRA update")
    alpha: _Positive = Field(
        default=16.0, description="LoRA's scale: the update is multiplied by alpha / rank"
    )
    target_modules: _Names | None = Field(
        default=None,
        description="names of the layers that carry LoRA; default: the model's attention query and value",
    )
    layers: _Indices | None = Field(
        default=None,
        description="indices of the blocks that are trained, negative ones from the top; default: all",
    )


class TestData(_Table):
    """``[data.test]``: where the held-out data come from; ``fraction`` or ``source``."""

    __test__ = False  # pytest would collect the name

    fraction: _Fraction | None = Field(default=None, description="share of the records that is held out")
    by: str | None = Field(default=None, description="column whose groups are held out whole")
    source: str | None = Field(
        default=None, min_length=1, description="a source of its own, in the form of data.source"
    )


class Data(_Table):
    """``[data]``: where the records are and which columns matter."""

    source: str = Field(
        min_length=1,
        description="a file or folder (relative to this file), 'package:module/path', or 'hf:owner/name'",
    )
    format: Literal["auto", "csv", "jsonl", "parquet"] = Field(
        default="auto", description="auto reads the file's name"
    )
    text: str = Field(default="text", min_length=1, description="column of the text")
    label: str = Field(default="label", min_length=1, description="column of the label")
    labels: Annotated[tuple[str, ...], Field(strict=False, min_length=2)] | None = Field(
        default=None,
        description="labels that are kept, in order; rows with other labels are left out; default: all",
    )
    test: TestData = Field(default=TestData(fraction=0.2), description="the held-out data")


class Partition(_Table):
    """``[partition]``: how the records belong to clients."""

    method: Literal["groups", "column", "iid", "dirichlet"] = Field(
        default="iid",
        description="groups: whole groups of a column to each client; column: one client for each value; "
        "iid: at random; dirichlet: label shares drawn from Dirichlet(alpha)",
    )
    clients: int | None = Field(default=None, ge=1, le=100_000, description="number of clients")
    column: str | None = Field(default=None, description="column of the groups, or of the clients' names")
    skew: _Share = Field(default=0.5, description="groups: 0 mixes at random, 1 sorts by label")
    alpha: _Positive = Field(default=1.0, description="dirichlet: small values make the clients differ more")


class Privacy(_Table):
    """``[privacy]``: the guarantee, and what calibrates the noise."""

    epsilon: _Positive = Field(description="the epsilon that the whole run may cost")
    delta: _Fraction = Field(description="the delta of the guarantee; below 1 / number of records")
    clip: _Positive = Field(default=1.0, description="l2 bound of one record's gradient")
    expected_batch: _Positive = Field(description="expected records a round, over all clients")
    records: int | None = Field(
        default=None,
        ge=1,
        description="public nominal number of training records; sampling rate = expected_batch / records",
    )
    noise_multiplier: _Positive | None = Field(
        default=None, description="standard deviation of the noise over clip; default: calibrated to epsilon"
    )
    insecure_seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="makes the noise reproducible and the run INSECURE; for tests only",
    )


class SecAgg(_Table):
    """``[secagg]``: the secure sum."""

    bits: int | None = Field(
        default=None,
        ge=8,
        le=62,
        description="the sum is taken modulo 2**bits; default: 32, or more where the grid would cost privacy",
    )
    min_survivors: int | None = Field(
        default=None,
        ge=1,
        description="fewest clients whose sum a round accepts; default: the least safe number",
    )
    max_colluders: int = Field(
        default=1, ge=0, description="clients that may share what they know with the server"
    )


class Server(_Table):
    """``[server]``: what the server does with the sum."""

    optimizer: Literal["adam", "sgd"] = Field(default="adam", description="the optimiser of the server")
    learning_rate: _Positive = Field(default=0.005, description="step size")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="first decay rate of adam")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="second decay rate of adam")


class Training(_Table):
    """``[training]``: a client's local work."""

    micro_batch: int = Field(
        default=32, ge=1, le=65_536, description="records in memory at once; not the batch of a step"
    )
    engine: Literal["opacus"] = Field(default="opacus", description="what takes gradients record by record")
    evaluate_every: int = Field(
        default=5, ge=1, description="rounds between two evaluations on the held-out data"
    )


class Simulation(_Table):
    """``[simulation]``: what happens to the simulated clients."""

    dropout: _Share = Field(
        default=0.0, description="chance a round that one random client vanishes at a random stage"
    )


class Budget(_Table):
    """``[budget]``: the data set's own budget, which outlives the run."""

    epsilon: _Positive | None = Field(
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


class Config(_Table):
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
    run: Run
    model: Model
    peft: Peft = Peft()
    data: Data
    partition: Partition
    privacy: Privacy
    secagg: SecAgg = SecAgg()
    server: Server = Server()
    training: Training = Training()
    simulation: Simulation = Simulation()
    budget: Budget = Budget()

    _base: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _check(self) -> Self:
        cross_check(self)
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

    def min_survivors(self, clients: int) -> int:
        """Fewest of ``clients`` whose sum a round accepts, given or the least safe number.

        The least number is a majority of the honest, ``(clients + max_colluders) // 2 + 1``, which is what
        keeps a server from running two unmaskings of one round (protocols/secagg/spec.md).

        Raises:
            ConfigError: ``clients`` are fewer than the aggregator needs, or ``secagg`` does not fit them.
        """
        return least_survivors(self, clients)

    def resolve(self, path: str) -> Path:
        """A path of the configuration as an absolute one (``~`` expanded)."""
        return self._base / Path(path).expanduser()

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, every default written out, without the keys that are not set."""
        return self.model_dump(mode="json", exclude_none=True)

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
