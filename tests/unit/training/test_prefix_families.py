"""The frozen prefix under a library user's own losses: every family, both precisions, and misuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch.nn import functional as F  # noqa: N812

from fedpriv.errors import UsageError
from fedpriv.training import PREFIX_DTYPES, FrozenPrefix
from fedpriv.training.per_record import PerRecordGradients

# What peft asks transformers for, in the releases that go together.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

TEXT = {"vocab_size": 40, "pad_token_id": 0, "use_cache": False}
DEEP = {"num_hidden_layers": 3, "num_attention_heads": 2}
IMAGE = {"image_size": 28, "patch_size": 7, "num_labels": 3}
BUDGET = 1 << 20


def _model(family: str, width: int) -> torch.nn.Module:
    deep = DEEP | {"hidden_size": width, "intermediate_size": 2 * width}
    match family:
        case "bert":
            config = transformers.BertConfig(**TEXT, **deep, num_labels=3)
            return transformers.BertForSequenceClassification(config)
        case "gpt2":
            config = transformers.GPT2Config(**TEXT, n_embd=width, n_layer=3, n_head=2, n_positions=64)
            return transformers.GPT2LMHeadModel(config)
        case "llama":
            config = transformers.LlamaConfig(**TEXT, **deep, num_key_value_heads=1)
            return transformers.LlamaForCausalLM(config)
        case "vit":
            return transformers.ViTForImageClassification(transformers.ViTConfig(**IMAGE, **deep))
        case "dinov2":
            return transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**IMAGE, **deep))
    raise AssertionError(family)


FAMILIES = ("bert", "gpt2", "llama", "vit", "dinov2")
TOP_BLOCK = r".*\.2\..*\.(query|value|q_proj|v_proj|c_attn)"


class Job:
    """A model whose top block has an adapter, twelve records, and losses that know of a prefix."""

    def __init__(self, family: str, *, width: int = 16, longest: int = 10) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            model = _model(family, width)
            for name, parameter in model.named_parameters():
                if "norm" not in name.lower() and ".ln_" not in name:
                    torch.nn.init.normal_(parameter, std=0.2)
            lora = LoraConfig(r=3, target_modules=TOP_BLOCK, fan_in_fan_out=family == "gpt2")
            self.model = get_peft_model(model, lora).eval()
            self.pixels = torch.randn(12, 3, 28, 28)
            self.lengths = [int(n) for n in torch.randint(2, longest + 1, (12,))]
            self.texts = [torch.randint(1, 40, (n,)) for n in self.lengths]
            self.labels = torch.randint(0, 3, (12,))
        self.lm = family in ("gpt2", "llama")
        self.image = family in ("vit", "dinov2")
        self.prefix: FrozenPrefix | None = None

    def inputs(self, records) -> dict[str, torch.Tensor]:
        records = np.asarray(records)
        if self.image:
            return {"pixel_values": self.pixels[records]}
        ids = torch.nn.utils.rnn.pad_sequence([self.texts[i] for i in records], batch_first=True)
        return {"input_ids": ids, "attention_mask": (ids != 0).long()}

    def batch(self, records) -> dict[str, torch.Tensor]:
        numbers = torch.tensor(records)
        return {"record": numbers, "label": self.labels[numbers], **self.inputs(records)}

    def keep(self, dtype: str = "float32", **changes) -> FrozenPrefix:
        options = {"records": 12, "lengths": None if self.image else self.lengths, "budget": BUDGET}
        self.prefix = FrozenPrefix.over(self.model, self.inputs, dtype=dtype, **(options | changes))
        assert self.prefix is not None
        return self.prefix

    def losses(self, model, batch) -> torch.Tensor:
        inputs = {key: value for key, value in batch.items() if key not in ("record", "label")}
        if self.prefix is None:
            logits = model(**inputs).logits
        else:
            with self.prefix.standing_in(batch["record"]):
                logits = model(**inputs).logits
        if not self.lm:
            return F.cross_entropy(logits, batch["label"], reduction="none")
        ids, mask = batch["input_ids"][:, 1:], batch["attention_mask"][:, 1:]
        each = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids, reduction="none")
        return (each * mask).sum(1) / mask.sum(1)

    def rows(self, records, engine: PerRecordGradients | None = None) -> torch.Tensor:
        engine = engine or PerRecordGradients(self.model, self.losses)
        found = engine.rows(self.batch(records))
        return torch.cat([rows.flatten(1) for rows in found.values()], dim=1)


def _blocks(model) -> torch.nn.ModuleList:
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3)


def _away_from_start(model) -> None:
    with torch.no_grad():
        for index, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
            )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", PREFIX_DTYPES)
def test_a_library_users_gradients_are_the_same_and_lower_blocks_rest(family, dtype):
    job, records = Job(family), [4, 9, 0, 7, 2]
    _away_from_start(job.model)
    expected = job.rows(records)
    prefix = job.keep(dtype)
    engine = PerRecordGradients(job.model, job.losses)
    found = job.rows(records, engine)
    assert prefix.visited.nonzero()[0].tolist() == sorted(records)
    gap = ((found - expected).norm(dim=1) / expected.norm(dim=1)).max()
    assert float(gap) < (1e-6 if dtype == "float32" else 5e-3)

    def fail(*args, **kwargs):
        raise AssertionError("a lower block was run again")

    for block in _blocks(job.model)[:2]:
        block.forward = fail
    for name, value in engine.rows(job.batch(records[1:3])).items():
        assert bool(value.any()), name


@pytest.mark.parametrize("family", FAMILIES)
def test_one_batch_in_single_precision_is_the_same_to_the_bit(family):
    job, records = Job(family), list(range(12))
    _away_from_start(job.model)
    batch = job.batch(records)
    expected = job.losses(job.model, batch)
    job.keep()
    assert torch.equal(job.losses(job.model, batch), expected)
    assert torch.equal(job.losses(job.model, batch), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_states_do_not_depend_on_what_else_was_sampled(family):
    seen = []
    for others in ([], [11, 8, 1], [0, 2, 4, 5, 6, 7, 9, 10], [1]):
        # Wide and long enough that matrix products are blocked otherwise where there is more than one record.
        job = Job(family, width=96, longest=50)
        prefix = job.keep("float16", budget=BUDGET << 4)
        with torch.no_grad():
            job.losses(job.model, job.batch([*others[:2], 3, *others[2:]]))
        seen.append(prefix.states(3))
        assert seen[-1].dtype == np.float16
    for states in seen[1:]:
        np.testing.assert_array_equal(states.view(np.uint16), seen[0].view(np.uint16))


def test_half_precision_takes_half_the_memory():
    job = Job("bert")
    assert 2 * job.keep("float16").nbytes == job.keep().nbytes == 4 * 16 * sum(job.lengths)


@pytest.mark.parametrize("dtype", PREFIX_DTYPES)
def test_a_record_taken_twice_and_a_slice_with_padding_of_its_own_are_served(dtype):
    job = Job("bert")
    batch = job.batch([5, 5, 1, 8])
    expected = job.losses(job.model, batch).detach()
    longest = batch["input_ids"].shape[1]
    shortest = int(np.argmin([job.lengths[i] for i in (5, 5, 1, 8)]))
    one = {key: value[[shortest]] for key, value in batch.items()}
    job.keep(dtype)
    rough = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 5e-3, "atol": 5e-3}
    torch.testing.assert_close(job.losses(job.model, batch).detach(), expected, **rough)
    assert one["input_ids"].shape[1] == longest > job.lengths[int(one["record"])]
    torch.testing.assert_close(job.losses(job.model, one).detach(), expected[[shortest]], **rough)


def test_record_numbers_of_other_records_are_refused():
    job = Job("vit")
    job.keep()
    batch = job.batch([1, 2, 3])
    batch["record"] = torch.tensor([1, 2, 4])
    with pytest.raises(UsageError, match="kept for record 4 are not those of its inputs"):
        job.losses(job.model, batch)
    with pytest.raises(UsageError, match="outside the 12 records"):
        job.losses(job.model, batch | {"record": torch.tensor([1, 2, 12])})
    with pytest.raises(UsageError, match="took 3 records"):
        job.losses(job.model, batch | {"record": torch.tensor([1, 2])})


def test_padding_on_the_left_is_refused():
    job = Job("llama")
    short, long = int(np.argmin(job.lengths)), int(np.argmax(job.lengths))
    job.keep()
    with torch.no_grad():
        job.losses(job.model, job.batch([long]))  # nothing is padded here, so that nothing shows
    batch = job.batch([short, long])
    gap = job.lengths[long] - job.lengths[short]
    for key in ("input_ids", "attention_mask"):
        batch[key][0] = batch[key][0].roll(gap)
    with pytest.raises(UsageError, match="not those of its inputs") as caught:
        job.losses(job.model, batch)
    assert "pad on the right" in str(caught.value.hint)


def test_states_too_large_for_half_precision_are_refused_and_not_dropped():
    job = Job("llama")
    with torch.no_grad():
        _blocks(job.model)[0].mlp.down_proj.weight.mul_(1e7)
    job.keep("float16")
    with pytest.raises(UsageError, match="too large for half precision"):
        job.losses(job.model, job.batch([0, 1]))
    job.keep("float32")
    assert torch.isfinite(job.losses(job.model, job.batch([0, 1]))).all()


def test_an_adapter_below_is_refused_once_it_is_trained():
    job = Job("bert")
    job.keep()
    _blocks(job.model)[0].requires_grad_(True)
    with pytest.raises(UsageError, match="is trained now"):
        job.losses(job.model, job.batch([0, 1]))


def test_what_over_cannot_do_is_one_sentence(tmp_path):
    job = Job("bert")
    with pytest.raises(UsageError, match="not a precision"):
        job.keep("bfloat16")
    with pytest.raises(UsageError, match="3 lengths came with 12 records"):
        job.keep(lengths=[1, 2, 3])
    with pytest.raises(UsageError, match="need a digest"):
        job.keep(folder=tmp_path)


@pytest.mark.parametrize("dtype", PREFIX_DTYPES)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_length_that_is_not_the_records_is_refused(dtype, change):
    job = Job("bert")
    middle = int(np.argsort(job.lengths)[6])
    job.keep(dtype, lengths=[n + change * (i == middle) for i, n in enumerate(job.lengths)])
    with pytest.raises(UsageError, match="hidden states of shape"):
        job.losses(job.model, job.batch(range(12)))


class Layers(torch.nn.Module):
    """A head on the mean of all hidden states, which blocks left out would not fill in."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.head = torch.nn.Linear(16, 3)

    def forward(self, **inputs):
        layers = self.model(**inputs, output_hidden_states=True).hidden_states
        return self.head(torch.stack(layers).mean(0)[:, 0])


def test_nothing_is_kept_where_the_head_looks_at_lower_layers_too():
    job = Job("bert")
    model = Layers(job.model.base_model.model.bert).eval().requires_grad_(False)
    model.head.requires_grad_(True)
    assert FrozenPrefix.over(model, job.inputs, records=12, lengths=job.lengths, budget=BUDGET) is None


def test_nothing_is_kept_of_an_encoder_and_decoder():
    config = transformers.T5Config(vocab_size=40, d_model=16, d_ff=24, d_kv=8, num_layers=3, num_heads=2)
    model = transformers.T5EncoderModel(config).eval().requires_grad_(False)
    _blocks(model)[2].requires_grad_(True)
    job = Job("bert")
    # T5's blocks hand on the bias of relative positions beside the hidden states.
    assert FrozenPrefix.over(model, job.inputs, records=12, lengths=job.lengths, budget=BUDGET) is None
