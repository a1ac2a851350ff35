"""What is learned, and how: ``[run]``, ``[model]``, ``[peft]``, ``[local]``, ``[server]``, ``[training]``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedpriv.federation.config.peft_rules import with_own_defaults
from fedpriv.federation.config.tables.table import Fraction, Indices, Names, Positive, Table
from fedpriv.peft import MethodName, PeftSpec

__all__ = [
    "Local",
    "Model",
    "Peft",
    "Run",
    "Server",
    "Training",
]


class Run(Table):
    """``[run]``: how long, and the public randomness."""

    name: str = Field(
        default="run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="names the run and its folder: letters, digits, dots, dashes and underscores",
    )
    rounds: int = Field(ge=1, description="rounds of training, fixed before the first one")
    participation: Fraction | None = Field(
        default=None,
        ge=0.001,
        description="share of the clients that take part in a round, in turns: 0.25 makes four cohorts; "
        "default: all",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="public seed of partition, initial weights and simulated dropouts; never of noise",
    )


class Model(Table):
    """``[model]``: the base model."""

    id: str = Field(
        min_length=1, description="a Hugging Face id, a local folder, or 'package:module/path' in a package"
    )
    revision: str | None = Field(default=None, description="revision of a Hugging Face model")
    max_length: int = Field(default=128, ge=4, le=131_072, description="tokens of a text that are read")
    image_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="pixels to which both sides of an image are scaled, a multiple of the model's patch; "
        "default: the model's own",
    )
    pooling: Literal["cls", "mean"] | None = Field(
        default=None, description="what the classification head reads; default: the model's own way"
    )


class Peft(Table):
    """``[peft]``: which parameters are trained and sent."""

    method: MethodName = Field(
        default="ffa-lora",
        description="ffa-lora freezes one half of LoRA, so that noise is not multiplied by noise",
    )
    rank: int = Field(default=8, ge=1, le=4096, description="lora and its kin, fed-sb: rank of the update")
    alpha: Positive = Field(default=16.0, description="their scale: the update is multiplied by alpha / rank")
    target_modules: Names | None = Field(
        default=None,
        description="lora and its kin, fed-sb, ia3: names of the layers that carry them; default: the "
        "model's attention query and value, for ia3 key, value and feed-forward output",
    )
    layers: Indices | None = Field(
        default=None,
        description="indices of the blocks that are trained, negative ones from the top; default: all",
    )
    placement: Literal["pfeiffer", "houlsby"] | None = Field(
        default=None,
        description="adapter: behind each block's feed-forward part (pfeiffer, the default), or behind its "
        "attention as well (houlsby)",
    )
    bottleneck: int | None = Field(
        default=None, ge=1, le=65_536, description="adapter: its width inside; default: 16"
    )
    virtual_tokens: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="prompt, prefix, p-tuning, deep-prompt: tokens trained; default: 10",
    )
    encoder_width: int | None = Field(
        default=None, ge=1, le=65_536, description="p-tuning: width of its network; default: 64"
    )
    feedforward_modules: Names | None = Field(
        default=None,
        description="ia3: those of target_modules whose input is scaled, in place of their output",
    )
    ranks: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=1)] | None = (
        Field(
            default=None,
            description="hetlora: the clients' own ranks, which they take in turn; the largest is rank; "
            "default: a quarter of it, half of it, all of it",
        )
    )
    density: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="flasc: share of the coordinates that travel in a round; default: 0.25",
    )
    directions: int | None = Field(
        default=None, ge=1, le=65_536, description="fedkseed: slopes that travel in a round; default: 16"
    )
    perturbation: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="fedkseed: how far each weight is moved to either side for a slope; default: 0.001",
    )

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, values: Any) -> Any:
        """What the method takes and is not given is written out."""
        return with_own_defaults(values, cls.model_fields["method"].default)

    def spec(self, seed: int) -> PeftSpec:
        """What is trained, its first weights drawn from this public seed.

        Raises:
            UsageError: an option is not the method's.
        """
        return PeftSpec(**self.model_dump(), seed=seed)


class Local(Table):
    """``[local]``: what a client does by itself between two sums; one step on a sampled batch by default."""

    steps: int | None = Field(
        default=None, ge=1, le=100_000, description="steps between two sums; default: 1, or one epoch"
    )
    epochs: int | None = Field(
        default=None, ge=1, le=1000, description="passes over the client's records, in place of steps"
    )
    batch: int = Field(default=16, ge=1, le=65_536, description="records of one local step of plain SGD")
    learning_rate: Positive = Field(default=0.1, description="step size of the local steps")
    optimizer: Literal["sgd"] = Field(default="sgd", description="the optimiser of the local steps")
    record_cap: int | None = Field(
        default=None,
        ge=1,
        description="public cap: a client weighs min(1, its records / record_cap); default: all weigh 1",
    )
    expected_weight: Positive | None = Field(
        default=None,
        description="public expected sum of the weights, by which the sum is divided; default: the clients",
    )


class Server(Table):
    """``[server]``: what the server does with the sum."""

    optimizer: Literal["adam", "sgd", "yogi"] = Field(
        default="adam",
        description="the optimiser of the server; on whole updates sgd with learning_rate = 1 is FedAvg, "
        "with momentum FedAvgM, adam FedAdam, yogi FedYogi",
    )
    learning_rate: Positive = Field(default=0.005, description="step size")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="first decay rate of adam and yogi")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="second decay rate of adam and yogi")
    epsilon: Positive | None = Field(
        default=None,
        description="what keeps the divisor of adam and yogi from zero; default: 1e-8, for yogi 0.001",
    )


class Training(Table):
    """``[training]``: a client's local work."""

    micro_batch: int = Field(
        default=32, ge=1, le=65_536, description="records in memory at once; not the batch of a step"
    )
    engine: Literal["direct", "one-by-one", "opacus"] = Field(
        default="direct", description="what takes gradients record by record"
    )
    prefix_memory: int = Field(
        default=1024,
        ge=0,
        description="MiB for hidden states below the first trained block, computed once; 0: none are kept",
    )
    prefix_dtype: Literal["float32", "float16"] = Field(
        default="float32",
        description="their precision; float16 takes half the memory and computes each record alone at first",
    )
    prefix_folder: str | None = Field(
        default=None,
        min_length=1,
        description="folder that keeps them for later runs (they are the records in another form); "
        "default: memory",
    )
    evaluate_every: int = Field(
        default=5, ge=1, description="rounds between two evaluations on the held-out data"
    )
    generate: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="causal-lm: held-out texts whose beginnings the base and the final model go on with, "
        "beside what really came next; default: none",
    )
    groups: str | None = Field(
        default=None,
        min_length=1,
        description="column by whose values the final model is judged on the held-out data as well",
    )
