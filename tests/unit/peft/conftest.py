"""Small classifiers with random weights."""

from __future__ import annotations

import pytest
import torch
import transformers

_BODY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_COMMON = {"vocab_size": 50, "num_labels": 3, "pad_token_id": 0}
_CONFIGS = {
    "bert": lambda: transformers.BertConfig(**_COMMON, **_BODY),
    "roberta": lambda: transformers.RobertaConfig(**_COMMON, **_BODY),
    "distilbert": lambda: transformers.DistilBertConfig(
        **_COMMON, dim=16, n_layers=2, n_heads=2, hidden_dim=24
    ),
    "gpt2": lambda: transformers.GPT2Config(**_COMMON, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "llama": lambda: transformers.LlamaConfig(**_COMMON, **_BODY, num_key_value_heads=1),
    "vit": lambda: transformers.ViTConfig(**_BODY, num_labels=3, image_size=8, patch_size=4),
}


@pytest.fixture
def tiny():
    """A maker: the same family and seed give the same weights."""

    def make(family: str, seed: int = 0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            kind = (
                transformers.AutoModelForImageClassification
                if family == "vit"
                else transformers.AutoModelForSequenceClassification
            )
            return kind.from_config(_CONFIGS[family]()).eval()

    return make


@pytest.fixture
def logits():
    """Logits of a fixed batch: of texts with padding, or of images."""

    def of(model):
        if model.main_input_name == "pixel_values":
            with torch.no_grad():
                return model(pixel_values=torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)).logits
        ids = torch.tensor([[5, 6, 7, 8], [9, 3, 0, 0]])
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=(ids != 0).long()).logits

    return of
