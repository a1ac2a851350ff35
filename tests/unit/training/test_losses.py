"""A record's loss is what the model's own loss would be on that record alone, for every head and family."""

from __future__ import annotations

import warnings

import peft
import pytest
import torch
import transformers as hf
from torch import nn

from fedpriv.errors import UsageError
from fedpriv.training import losses
from fedpriv.training.losses import losses_of

VOCABULARY, LABELS = 50, 3
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SMALL = {"vocab_size": VOCABULARY, "num_labels": LABELS, "pad_token_id": 0}


def bert(head, **options):
    return head(hf.BertConfig(**SMALL, **BERT, max_position_embeddings=24, **options))


def gpt2(head):
    return head(hf.GPT2Config(**SMALL, n_embd=16, n_layer=2, n_head=2, n_positions=24))


def llama(head):
    return head(hf.LlamaConfig(**SMALL, **BERT, num_key_value_heads=1))


def t5():
    return hf.T5ForConditionalGeneration(
        hf.T5Config(
            vocab_size=VOCABULARY,
            d_model=16,
            d_kv=8,
            d_ff=24,
            num_layers=2,
            num_heads=2,
            pad_token_id=0,
            decoder_start_token_id=0,
        )
    )


def bart():
    sizes = {
        f"{side}_{what}": value
        for side in ("encoder", "decoder")
        for what, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 24))
    }
    config = hf.BartConfig(
        vocab_size=VOCABULARY, d_model=16, max_position_embeddings=24, pad_token_id=0, eos_token_id=2, **sizes
    )
    return hf.BartForConditionalGeneration(config)


def vit():
    return hf.ViTForImageClassification(
        hf.ViTConfig(**BERT, image_size=8, patch_size=4, num_channels=1, num_labels=LABELS)
    )


def texts(seed=0, lengths=(9, 4, 6)):
    """Three texts, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(3, VOCABULARY, (length,), generator=generator)
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def per_token(batch, *, some_hidden=False):
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    if some_hidden:
        labels[0, :5] = -100
    return labels


def case(name):
    """A model and a batch of three records with its labels."""
    batch = texts()
    classes = torch.tensor([2, 0, 1])
    match name:
        case "bert classes":
            return bert(hf.BertForSequenceClassification), {**batch, "labels": classes}
        case "bert one number":
            model = hf.BertForSequenceClassification(hf.BertConfig(**{**SMALL, "num_labels": 1}, **BERT))
            return model, {**batch, "labels": torch.tensor([0.5, -1.0, 2.0])}
        case "bert numbers":
            model = bert(hf.BertForSequenceClassification, problem_type="regression")
            return model, {**batch, "labels": torch.arange(9.0).reshape(3, 3)}
        case "bert several classes":
            return bert(hf.BertForSequenceClassification), {**batch, "labels": torch.eye(3)}
        case "gpt2 classes":
            return gpt2(hf.GPT2ForSequenceClassification), {**batch, "labels": classes}
        case "llama classes":
            return llama(hf.LlamaForSequenceClassification), {**batch, "labels": classes}
        case "bert tokens":
            return bert(hf.BertForTokenClassification), {**batch, "labels": per_token(batch) % LABELS}
        case "bert masked":
            return bert(hf.BertForMaskedLM), {**batch, "labels": per_token(batch, some_hidden=True)}
        case "gpt2 text":
            return gpt2(hf.GPT2LMHeadModel), {**batch, "labels": per_token(batch, some_hidden=True)}
        case "llama text":
            return llama(hf.LlamaForCausalLM), {**batch, "labels": per_token(batch)}
        case "t5":
            return t5(), {**batch, "labels": per_token(texts(1, (5, 3, 7)))}
        case "bart":
            return bart(), {**batch, "labels": per_token(texts(1, (5, 3, 7)))}
        case "vit":
            images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
            return vit(), {"pixel_values": images, "labels": classes}
    raise AssertionError(name)


CASES = [
    *(
        "bert classes",
        "bert one number",
        "bert numbers",
        "bert several classes",
        "gpt2 classes",
        "llama classes",
    ),
    *("bert tokens", "bert masked", "gpt2 text", "llama text", "t5", "bart", "vit"),
]


def alone(batch, row):
    """One record without the others' padding."""
    kept = {}
    for key, value in batch.items():
        one = value[row : row + 1]
        if key in ("input_ids", "attention_mask"):
            one = one[:, : int(batch["attention_mask"][row].sum())]
        elif key == "labels" and value.dim() == 2 and not value.is_floating_point():
            width = (
                int(batch["attention_mask"][row].sum()) if value.shape == batch["input_ids"].shape else None
            )
            one = one[:, :width] if width else one[:, : int((one != -100).sum())]
        kept[key] = one
    return kept


@pytest.mark.parametrize("name", CASES)
def test_each_loss_is_the_model_s_own_on_that_record_alone(name):
    torch.manual_seed(0)
    model, batch = case(name)
    model.eval()
    if "tokens" in name:
        batch["labels"] = torch.where(batch["attention_mask"] == 0, -100, batch["labels"])
    with torch.no_grad():
        found = losses_of(model)(model, batch)
        assert found.shape == (3,)
        for row in range(3):
            wanted = model(**alone(batch, row)).loss
            # Float32, and other padding: a few units in the last place of losses of about one.
            assert float(found[row]) == pytest.approx(float(wanted), rel=2e-5, abs=2e-6)


@pytest.mark.parametrize("name", ["bert tokens", "gpt2 text", "t5", "bert classes"])
def test_a_record_without_targets_has_loss_zero_and_others_keep_theirs(name):
    torch.manual_seed(0)
    model, batch = case(name)
    model.eval()
    with torch.no_grad():
        before = losses_of(model)(model, batch)
        batch["labels"][1] = -100
        after = losses_of(model)(model, batch)
    assert float(after[1]) == 0.0
    kept = [0, 2]
    torch.testing.assert_close(after[kept], before[kept])


@pytest.mark.parametrize(
    ("kind", "name"), [("SEQ_CLS", "bert classes"), ("CAUSAL_LM", "gpt2 text"), ("SEQ_2_SEQ_LM", "t5")]
)
@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_peft_models_are_looked_into_and_prompts_have_no_targets(kind, name, method):
    torch.manual_seed(0)
    model, batch = case(name)
    modules = {"SEQ_CLS": ["query"], "CAUSAL_LM": ["c_attn"], "SEQ_2_SEQ_LM": ["q"]}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = (
            peft.LoraConfig(task_type=kind, target_modules=modules, r=2, init_lora_weights=False)
            if method == "lora"
            else peft.PromptTuningConfig(task_type=kind, num_virtual_tokens=4)
        )
        wrapped = peft.get_peft_model(model, config).eval()
        with torch.no_grad():
            found = losses_of(wrapped)(wrapped, batch)
            for row in range(3):
                one = alone(batch, row)
                wanted = wrapped(**one).loss
                assert float(found[row]) == pytest.approx(float(wanted), rel=2e-5, abs=2e-6)


def test_a_subclass_is_known_by_what_it_is_made_from():
    class Mine(hf.BertForTokenClassification):
        pass

    assert losses_of(bert(Mine)) is losses.token_classification


def test_what_no_loss_is_known_for_is_asked_for():
    with pytest.raises(UsageError, match="for a Linear") as caught:
        losses_of(nn.Linear(2, 2))
    assert "losses=" in caught.value.hint
    with pytest.raises(UsageError, match="for a BertForQuestionAnswering"):
        losses_of(bert(hf.BertForQuestionAnswering))


def test_a_batch_without_labels_is_named():
    model = bert(hf.BertForSequenceClassification)
    with pytest.raises(UsageError, match="no tensor 'labels'"):
        losses_of(model)(model, texts())
