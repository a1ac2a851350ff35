"""The small federation with a model of its own, 16 wide, random: for methods that train layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from parties.small_run import small_config

from fedpriv.crypto import SigningKey
from fedpriv.entropy import Entropy
from fedpriv.federation.config import Config
from fedpriv.federation.planning.plan import Plan
from fedpriv.federation.round import RoundRunner
from fedpriv.federation.work.local_work import learner
from fedpriv.federation.workplace import Workplace

WORDS = ("a", "fine", "poor", "warm", "dull", "film", "number", *(str(digit) for digit in range(10)))


def write_model(folder: Path) -> None:
    """A BERT of 16 wide with random weights and a tokenizer for the reviews alone."""
    folder.mkdir()
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *(f"##{digit}" for digit in range(10))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(folder)


def tiny_config(folder: Path, method: str, **changes: Any) -> Config:
    """A configuration of two rounds that trains ``method``; ``changes`` as for ``small_config``."""
    if not (folder / "tiny").exists():
        write_model(folder / "tiny")
    # peft hands keys and values to the family's own classifiers.
    pooling = None if method == "prefix" else "mean"
    given = {
        "run__rounds": 2,
        "model__id": "tiny",
        "model__pooling": pooling,
        "peft__method": method,
        "privacy__noise_multiplier": 3.0,  # saves the search for it
    }
    return small_config(folder, **{**given, **changes})


def runner(work: Workplace, plan: Plan, seed: int, build: type[RoundRunner] = RoundRunner) -> RoundRunner:
    """The rounds of a plan for five clients with keys of their own."""
    return build(
        work=work,
        plan=plan,
        entropy=Entropy(seed),
        gradients=learner(work, plan),
        run_id=bytes(16),
        keys={party: SigningKey.from_seed(bytes([party]) * 32) for party in range(6)},
    )
