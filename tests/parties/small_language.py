"""A small federation of texts without labels: four roles that count, and a tiny decoder that reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

from fedpriv.federation.config import Config

ROLES = ("ann", "bob", "cat", "dan")
WORDS, LENGTH, RECORDS = 40, 52, 120


def tiny_decoder(folder: Path, *, tied: bool = True) -> Path:
    """The folder of a Llama of 16 wide with random weights, and a tokenizer of the words w0 to w39.

    Padding and the end of a text are one token, as in many models.
    """
    place = folder / "llama"
    if place.exists():
        return place
    words = {f"w{number}": number for number in range(WORDS)} | {"<end>": WORDS}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", model_max_length=96
    ).save_pretrained(place)
    config = hf.LlamaConfig(
        vocab_size=WORDS + 1,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=24,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=WORDS,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hf.AutoModelForCausalLM.from_config(config).save_pretrained(place)
    return place


def write_roles(folder: Path) -> None:
    """Texts in which every role counts up, from anywhere, with a slip now and then."""
    draw = np.random.default_rng(0)
    with (folder / "roles.jsonl").open("w") as file:
        for number in range(RECORDS):
            steps = np.where(draw.random(LENGTH) < 0.9, 1, draw.integers(2, WORDS, LENGTH))
            words = (draw.integers(0, WORDS) + np.cumsum(steps)) % WORDS
            text = " ".join(f"w{word}" for word in words[: LENGTH - number % 3])
            file.write(json.dumps({"text": text, "role": ROLES[number % len(ROLES)]}) + "\n")


def language_config(folder: Path, **changes: Any) -> Config:
    """A configuration whose run takes seconds; ``changes`` are dotted keys with ``__`` for the dot."""
    tiny_decoder(folder)
    if not (folder / "roles.jsonl").exists():
        write_roles(folder)
    values: dict[str, Any] = {
        "task": "causal-lm",
        "run": {"name": "language", "rounds": 2},
        "model": {"id": "llama", "max_length": LENGTH},
        "peft": {"method": "ffa-lora", "rank": 4, "layers": [-1]},
        "data": {"source": "roles.jsonl", "test": {"fraction": 0.2}},
        "partition": {"method": "column", "column": "role"},
        "privacy": {"epsilon": 8.0, "delta": 1e-4, "expected_batch": 24.0, "noise_multiplier": 2.0},
        "training": {"generate": 3, "evaluate_every": 1},
        "budget": {"ledger": "ledger.sqlite"},
    }
    for key, value in changes.items():
        *tables, last = key.split("__")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return Config.from_dict(values, base=folder)
