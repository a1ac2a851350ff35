"""The tables of a configuration, one frozen model each: what a key means, its default and its range."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedpriv.federation.config.peft_rules import with_own_defaults
from fedpriv.peft import MethodName, PeftSpec

__all__ = [
    "AdaptiveClipping",
    "Budget",
    "Ckks",
    "Compression",
    "Data",
    "Local",
    "Model",
    "Partition",
    "Peft",
    "Privacy",
    "Run",
    "SecAgg",
    "Server",
    "Simulation",
    "Table",
    "TestData",
    "Training",
]

_Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
_Indices = Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Fraction = Annotated[float, Field(gt=0, lt=1)]


class Table(BaseModel):
    """One table of the file: frozen, and closed against keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Run(Table):
    """``[run]``: how long, and the public randomness."""

    name: str = Field(
        default="run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="names the run and its folder: letters, digits, dots, dashes and underscores",
    )
    rounds: int = Field(ge=1, description="rounds of training, fixed before the first one")
    participation: _Fraction | None = Field(
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
    alpha: _Positive = Field(
        default=16.0, description="their scale: the update is multiplied by alpha / rank"
    )
    target_modules: _Names | None = Field(
        default=None,
        description="lora and its kin, fed-sb, ia3: names of the layers that carry them; default: the "
        "model's attention query and value, for ia3 key, value and feed-forward output",
    )
    layers: _Indices | None = Field(
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
    feedforward_modules: _Names | None = Field(
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


class TestData(Table):
    """``[data.test]``: where the held-out data come from; ``fraction`` or ``source``."""

    __test__ = False  # pytest would collect the name

    fraction: _Fraction | None = Field(default=None, description="share of the records that is held out")
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
    skew: _Share = Field(default=0.5, description="groups: 0 mixes at random, 1 sorts by label")
    alpha: _Positive = Field(
        default=1.0, description="dirichlet, quantity: small values make the clients differ more"
    )
    shards_per_client: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="shards: how many runs of records a client is given; default: 2",
    )


class AdaptiveClipping(Table):
    """``[privacy.adaptive_clip]``: the clip follows a quantile of the updates' norms (1905.03871)."""

    quantile: _Fraction = Field(
        default=0.5, description="share of the updates that should be within the clip"
    )
    learning_rate: _Positive = Field(default=0.2, description="step in the logarithm of the clip, a round")
    share: _Fraction = Field(
        default=0.05, description="part of each round's privacy cost that the quantile may take"
    )


class Privacy(Table):
    """``[privacy]``: the guarantee, and what calibrates the noise."""

    epsilon: _Positive = Field(description="the epsilon that the whole run may cost")
    delta: _Fraction = Field(
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
    clip: _Positive = Field(
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
    expected_batch: _Positive | None = Field(
        default=None, description="expected records a step, over all clients; where records are sampled"
    )
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


class Local(Table):
    """``[local]``: what a client does by itself between two sums; one step on a sampled batch by default."""

    steps: int | None = Field(
        default=None, ge=1, le=100_000, description="steps between two sums; default: 1, or one epoch"
    )
    epochs: int | None = Field(
        default=None, ge=1, le=1000, description="passes over the client's records, in place of steps"
    )
    batch: int = Field(default=16, ge=1, le=65_536, description="records of one local step of plain SGD")
    learning_rate: _Positive = Field(default=0.1, description="step size of the local steps")
    optimizer: Literal["sgd"] = Field(default="sgd", description="the optimiser of the local steps")
    record_cap: int | None = Field(
        default=None,
        ge=1,
        description="public cap: a client weighs min(1, its records / record_cap); default: all weigh 1",
    )
    expected_weight: _Positive | None = Field(
        default=None,
        description="public expected sum of the weights, by which the sum is divided; default: the clients",
    )


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
    """``[compression]``: fewer coordinates in a round, drawn from run.seed; ``share`` or ``bytes``."""

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


class Server(Table):
    """``[server]``: what the server does with the sum."""

    optimizer: Literal["adam", "sgd", "yogi"] = Field(
        default="adam",
        description="the optimiser of the server; on whole updates sgd with learning_rate = 1 is FedAvg, "
        "with momentum FedAvgM, adam FedAdam, yogi FedYogi",
    )
    learning_rate: _Positive = Field(default=0.005, description="step size")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="first decay rate of adam and yogi")
    beta2: float = Field(default=0.99, ge=0, lt=1, description="second decay rate of adam and yogi")
    epsilon: _Positive | None = Field(
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


class Simulation(Table):
    """``[simulation]``: what happens to the simulated clients."""

    dropout: _Share = Field(
        default=0.0, description="chance a round that one random client vanishes at a random stage"
    )
    stragglers: _Share = Field(
        default=0.0, description="share of the clients that are slow, drawn once from run.seed"
    )
    straggler_misses: _Share | None = Field(
        default=None, description="chance a round that a straggler's upload comes too late; default: 0.5"
    )
    away: _Share = Field(
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


class Budget(Table):
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
    client_ledgers: bool = Field(
        default=True,
        description="each client keeps a ledger of its own, countersigns the server's and refuses on its own",
    )
    client_epsilon: _Positive | None = Field(
        default=None,
        description="cap that a client's own ledger is given at first; default: the data set's budget",
    )
