"""Tiny models of the families people fine-tune, the PEFT methods for them, and batches of unequal records.

Widths are 32, two blocks, four heads; every model is built from a configuration and a seed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import peft
import torch
import transformers as hf
from torch import nn
from torch.nn import functional

VOCABULARY, LABELS = 60, 3
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@dataclass(frozen=True)
class Family:
    """``kind``: what a record is; ``targets``: modules for LoRA; ``embedding``, ``ia3``, ``norms`` and
    ``adapted`` likewise for other methods."""

    build: Callable[..., nn.Module]
    kind: str
    targets: tuple[str, ...]
    ia3: tuple[str, ...]
    task: str | None = None
    embedding: str | None = None
    norms: str | None = None
    adapted: str | None = None


def _bert(head=hf.BertForSequenceClassification, **sizes):
    return head(
        hf.BertConfig(
            vocab_size=VOCABULARY, max_position_embeddings=24, num_labels=LABELS, **{**SIZES, **sizes}
        )
    )


def _roberta(head=hf.RobertaForSequenceClassification, **sizes):
    return head(
        hf.RobertaConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=26,
            num_labels=LABELS,
            pad_token_id=1,
            **{**SIZES, **sizes},
        )
    )


def _distilbert():
    return hf.DistilBertForSequenceClassification(
        hf.DistilBertConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=24,
            num_labels=LABELS,
            dim=32,
            n_layers=2,
            n_heads=4,
            hidden_dim=48,
        )
    )


def _gpt2(head=hf.GPT2LMHeadModel, hidden_size=32, num_attention_heads=4):
    return head(
        hf.GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=24,
            n_embd=hidden_size,
            n_layer=2,
            n_head=num_attention_heads,
            num_labels=LABELS,
            pad_token_id=0,
        )
    )


def _llama(**sizes):
    sizes = {**SIZES, "num_key_value_heads": 2, **sizes}
    return hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, **sizes))


def _t5():
    return hf.T5ForConditionalGeneration(
        hf.T5Config(
            vocab_size=VOCABULARY,
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
        )
    )


def _vit():
    return hf.ViTForImageClassification(hf.ViTConfig(image_size=16, patch_size=4, num_labels=LABELS, **SIZES))


def _dinov2():
    sizes = {key: size for key, size in SIZES.items() if key != "intermediate_size"}
    return hf.Dinov2ForImageClassification(
        hf.Dinov2Config(image_size=16, patch_size=4, num_labels=LABELS, **sizes)
    )


_BERT = {
    "targets": ("query", "value"),
    "ia3": ("value", "output.dense"),
    "embedding": "word_embeddings",
    "norms": "LayerNorm",
    "adapted": "output.dense",
}
_GPT2 = {
    "targets": ("c_attn", "c_proj"),
    "ia3": ("c_attn", "mlp.c_proj"),
    "embedding": "wte",
    "adapted": "mlp.c_proj",
}

FAMILIES: dict[str, Family] = {
    "bert": Family(_bert, "text", task="SEQ_CLS", **_BERT),
    "roberta": Family(_roberta, "text", task="SEQ_CLS", **_BERT),
    "distilbert": Family(
        _distilbert,
        "text",
        ("q_lin", "v_lin"),
        ("v_lin", "ffn.lin2"),
        embedding="word_embeddings",
        adapted="ffn.lin2",
    ),
    "gpt2": Family(_gpt2, "causal", task="CAUSAL_LM", **_GPT2),
    "llama": Family(
        _llama,
        "causal",
        ("q_proj", "v_proj"),
        ("k_proj", "down_proj"),
        task="CAUSAL_LM",
        embedding="embed_tokens",
        adapted="down_proj",
    ),
    "t5": Family(
        _t5,
        "pairs",
        ("q", "v"),
        ("k", "wo"),
        task="SEQ_2_SEQ_LM",
        embedding="embed_tokens",
        norms="layer_norm",
        adapted="DenseReluDense",
    ),
    "vit": Family(_vit, "images", ("q_proj", "v_proj"), ("v_proj", "fc2"), adapted="fc2"),
    "dinov2": Family(_dinov2, "images", ("q_proj", "v_proj"), ("v_proj", "fc2"), adapted="fc2"),
    "bert-tokens": Family(lambda: _bert(hf.BertForTokenClassification), "tokens", task="TOKEN_CLS", **_BERT),
    "roberta-tokens": Family(
        lambda: _roberta(hf.RobertaForTokenClassification), "tokens", task="TOKEN_CLS", **_BERT
    ),
    "gpt2-classes": Family(lambda: _gpt2(hf.GPT2ForSequenceClassification), "text", task="SEQ_CLS", **_GPT2),
}


class Bottleneck(nn.Module):
    """An adapter behind a dense layer (Houlsby, arXiv 1902.00751; Pfeiffer, arXiv 2005.00247)."""

    def __init__(self, dense: nn.Module, width: int, inner: int = 4) -> None:
        super().__init__()
        self.dense, self.down, self.up = dense, nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dense(x)
        return y + self.up(functional.gelu(self.down(y)))


def only(model: nn.Module, chosen: Callable[[str], bool]) -> nn.Module:
    """The model with those of its parameters trained whose names are ``chosen``."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(chosen(name))
    return model


def _adapters(model: nn.Module, at: str) -> nn.Module:
    only(model, lambda name: False)
    for name in [name for name, _ in model.named_modules() if name.endswith(at)]:
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], Bottleneck(model.get_submodule(name), 32))
    return model


def methods(name: str) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """By name what turns a fresh model of a family into one with that method's parameters trained."""
    family = FAMILIES[name]
    common = {"task_type": family.task} if family.task else {}
    transposed = {"fan_in_fan_out": True} if name.startswith("gpt2") else {}
    targets = list(family.targets)

    def tuned(config: type, **options: object) -> Callable[[nn.Module], nn.Module]:
        return lambda model: peft.get_peft_model(model, config(**options, **common))

    made: dict[str, Callable[[nn.Module], nn.Module]] = {
        "lora": tuned(peft.LoraConfig, r=4, target_modules=targets, **transposed),
        "dora": tuned(peft.LoraConfig, r=4, target_modules=targets, use_dora=True, **transposed),
        "rslora": tuned(peft.LoraConfig, r=4, target_modules=targets, use_rslora=True, **transposed),
        "ia3": tuned(
            peft.IA3Config,
            target_modules=list(family.ia3),
            feedforward_modules=list(family.ia3[1:]),
            **transposed,
        ),
        "vera": tuned(peft.VeraConfig, r=4, target_modules=targets[:1], **transposed),
        "adalora": tuned(peft.AdaLoraConfig, total_step=100, target_modules=targets, **transposed),
        # DINOv2 has a token for masked patches, which no classification meets.
        "full": lambda model: only(model, lambda n: "mask_token" not in n),
        "bitfit": lambda model: only(model, lambda n: n.endswith("bias")),
        "head": lambda model: only(model, lambda n: any(part in n for part in _HEADS)),
    }
    if family.embedding:
        made["lora-embedding"] = tuned(peft.LoraConfig, r=4, target_modules=[family.embedding])
    if family.adapted:
        made["bottleneck"] = lambda model: _adapters(model, family.adapted)
    if family.task:
        made["prompt"] = tuned(peft.PromptTuningConfig, num_virtual_tokens=3)
        made["p-tuning"] = tuned(peft.PromptEncoderConfig, num_virtual_tokens=3, encoder_hidden_size=16)
        made["prefix"] = tuned(peft.PrefixTuningConfig, num_virtual_tokens=3)
        made["prefix-mlp"] = tuned(
            peft.PrefixTuningConfig, num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=16
        )
        norms = {"target_modules": [family.norms]} if family.norms else {}
        made["ln-tuning"] = tuned(peft.LNTuningConfig, **norms)
    else:
        made["ln-tuning"] = lambda model: only(model, lambda n: "norm" in n.lower())
    if name in ("llama", "t5"):
        del made["bitfit"]  # these have no biases
    return made


_HEADS = ("classifier", "lm_head", "score", "wte", "embed_tokens", "shared")


def model_of(name: str, method: str, *, seed: int = 0, **sizes: int) -> nn.Module:
    """A model of a family with a method's parameters, in evaluation mode, all of them away from zero."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's, about tied weights, norms and names of transformers
        model = methods(name)[method](FAMILIES[name].build(**sizes)).eval()
    away_from_zero(model)
    return model


def away_from_zero(model: nn.Module, scale: float = 0.1) -> None:
    """Trained parameters moved at random: half of them start at zero, where their partners' gradients are."""
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn(parameter.shape, generator=drawn))


def without_dropout(model: nn.Module) -> nn.Module:
    """The model, which draws none in training mode either."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def batch_of(name: str, size: int, *, length: int = 7, seed: int = 0, padding: int = 0) -> dict:
    """Records of unequal lengths, padded on the right, by ``padding`` more than is needed."""
    drawn = torch.Generator().manual_seed(seed)
    kind = FAMILIES[name].kind
    if kind == "images":
        return {
            "pixel_values": torch.randn(size, 3, 16, 16, generator=drawn),
            "labels": torch.randint(0, LABELS, (size,), generator=drawn),
        }
    ids = torch.randint(3, VOCABULARY, (size, length), generator=drawn)
    lengths = torch.tensor([max(2, length - i % 3) for i in range(size)])
    mask = (torch.arange(length) < lengths[:, None]).long()
    ids[mask == 0] = 1 if name.startswith("roberta") else 0
    batch = {"input_ids": ids, "attention_mask": mask}
    if kind == "text":
        batch["labels"] = torch.randint(0, LABELS, (size,), generator=drawn)
    elif kind == "tokens":
        classes = torch.randint(0, LABELS, (size, length), generator=drawn)
        batch["labels"] = classes.masked_fill(mask == 0, -100)
    elif kind == "pairs":
        targets = torch.randint(3, VOCABULARY, (size, 5), generator=drawn)
        targets[1::2, 4:] = -100
        batch["labels"] = targets
    else:
        batch["labels"] = ids.masked_fill(mask == 0, -100)
    return padded(name, batch, padding)


def padded(name: str, batch: dict, more: int) -> dict:
    """The same records with ``more`` positions of padding on the right."""
    fill = {"input_ids": 1 if name.startswith("roberta") else 0, "attention_mask": 0, "labels": -100}
    return {
        key: functional.pad(value, (0, more), value=fill[key]) if more and value.dim() == 2 else value
        for key, value in batch.items()
    }


def record_of(batch: dict, index: int) -> dict:
    """One record of a batch as a batch of its own, without padding."""
    one = {key: value[index : index + 1] for key, value in batch.items()}
    if "attention_mask" in one:
        length = int(one["attention_mask"].sum())
        targets = one["labels"]
        if targets.dim() == 2:
            one["labels"] = targets[:, : int((targets != -100).sum())]
        for key in ("input_ids", "attention_mask"):
            one[key] = one[key][:, :length]
    return one


def losses(model: nn.Module, batch: dict) -> torch.Tensor:
    """Cross-entropy of each record, the mean over its own tokens where it has several; shape (records,)."""
    inputs = dict(batch)
    labels = inputs.pop("labels")
    if model.config.is_encoder_decoder:
        start = torch.zeros_like(labels[:, :1])
        inputs["decoder_input_ids"] = torch.cat([start, labels[:, :-1].clamp(min=0)], 1)
    logits = model(**inputs).logits.float()
    if labels.dim() == 1:
        return functional.cross_entropy(logits, labels, reduction="none")
    logits = logits[:, -labels.shape[1] :]  # virtual tokens come first
    if isinstance(base_of(model), hf.GPT2LMHeadModel | hf.LlamaForCausalLM):
        logits, labels = logits[:, :-1], labels[:, 1:]
    each = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=-100)
    return each.sum(1) / (labels != -100).sum(1).clamp(min=1)


def base_of(model: nn.Module) -> nn.Module:
    """The transformers model, whatever a PEFT method has put around it."""
    return model.get_base_model() if isinstance(model, peft.PeftModel) else model
