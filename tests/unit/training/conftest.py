"""Small models with random weights, one for each architecture in the matrix, and one for the real encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from fedpriv.training import Encoded, SequenceClassification

VOCABULARY = 50


class Letters:
    """A tokenizer of letters: the least that a task needs of one."""

    pad_token_id = 0

    def __call__(self, texts, truncation, max_length):
        assert truncation
        return {"input_ids": [[2 + ord(c) % (VOCABULARY - 2) for c in text][:max_length] for text in texts]}


def _config(family: str):
    common = {"vocab_size": VOCABULARY, "num_labels": 3, "pad_token_id": 0}
    bert = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    match family:
        case "bert":
            return transformers.BertConfig(**common, **bert)
        case "roberta":
            return transformers.RobertaConfig(**common, **bert)
        case "distilbert":
            return transformers.DistilBertConfig(**common, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
        case "gpt2":
            return transformers.GPT2Config(**common, n_embd=16, n_layer=2, n_head=2, n_positions=64)
        case "llama":
            return transformers.LlamaConfig(**common, **bert, num_key_value_heads=1)
    raise AssertionError(family)


@pytest.fixture
def tiny():
    """A maker of classifiers with random weights; dropout is on in their configurations."""

    def make(family: str, seed: int = 0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = transformers.AutoModelForSequenceClassification.from_config(_config(family))
            for name, parameter in model.named_parameters():
                if "norm" not in name.lower() and ".ln_" not in name:
                    # Larger than the usual start, so that records differ and no gradient is near zero.
                    torch.nn.init.normal_(parameter, std=0.2)
        return model.train()

    return make


@pytest.fixture
def records():
    """A maker of random records of different lengths, without special tokens."""

    def make(count: int, seed: int = 0, longest: int = 12, classes: int = 3) -> Encoded:
        draw = np.random.default_rng(seed)
        lengths = draw.integers(1, longest + 1, count)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = draw.integers(2, VOCABULARY, int(offsets[-1])).astype(np.int32)
        return Encoded(tokens, offsets, draw.integers(0, classes, count))

    return make


@pytest.fixture
def task_of():
    """A maker of the task of a tiny model."""
    return lambda model: SequenceClassification(model, Letters(), 32)
