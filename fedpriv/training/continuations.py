"""What a language model writes: prompts from records, gone on with, beside what really came next."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import DataError
from fedpriv.training.causal_language_model import CausalLanguageModel
from fedpriv.training.encoded import Encoded
from fedpriv.training.model_place import quiet
from fedpriv.training.task import evaluating

__all__ = ["CONTINUED", "PROMPT", "Continuations", "distinct_2", "prompts_of", "rouge_l"]

PROMPT: Final = 16
"""Tokens of a record that the model is given."""

CONTINUED: Final = 32
"""Tokens that it goes on with, and that the true continuation is cut to."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Continuations:
    """How a model's continuations of some prompts read.

    Attributes:
        prompts: how many there were.
        rouge_l: mean ROUGE-L F1 against the true continuations, see :func:`rouge_l`.
        distinct_2: see :func:`distinct_2`.
    """

    prompts: int
    rouge_l: float
    distinct_2: float

    @classmethod
    def of(cls, task: CausalLanguageModel, records: Encoded, prompts: NDArray[np.int64]) -> Continuations:
        """Go on with the first tokens of the records at ``prompts``, always with the likeliest token.

        Greedy decoding draws nothing, so the same model gives the same figures.
        """
        starts = records.offsets[prompts][:, None]
        given = records.tokens[starts + np.arange(PROMPT)].astype(np.int64)
        true = records.tokens[starts + np.arange(PROMPT, PROMPT + CONTINUED)]
        written = [_words(task, row) for row in _greedy(task, given)]
        scores = [rouge_l(mine, _words(task, theirs)) for mine, theirs in zip(written, true, strict=True)]
        return cls(len(prompts), float(np.mean(scores)), distinct_2(written))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def prompts_of(records: Encoded, count: int) -> NDArray[np.int64]:
    """The first ``count`` records that are long enough for a prompt and its continuation, or all of these.

    Raises:
        DataError: there is none.
    """
    long_enough = np.flatnonzero(records.lengths >= PROMPT + CONTINUED)[:count]
    if not long_enough.size:
        raise DataError(
            f"no held-out text has {PROMPT + CONTINUED} tokens, of which {PROMPT} would be a prompt and "
            f"{CONTINUED} its true continuation",
            hint="raise model.max_length, hold out longer texts, or leave training.generate out",
        )
    return long_enough


def rouge_l(candidate: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the longest common subsequence of two lists of words (Lin 2004, "ROUGE", section 3, beta = 1).

    With l its length, precision is l / len(candidate), recall l / len(reference).

    >>> rouge_l("the king is dead".split(), "the old king is not dead".split())
    0.8
    >>> rouge_l([], ["words"])
    0.0
    """
    if not candidate or not reference:
        return 0.0
    best = [0] * (len(reference) + 1)  # best[j]: of the words so far and the first j of the reference
    for word in candidate:
        diagonal = 0
        for j, other in enumerate(reference, start=1):
            found = diagonal + 1 if word == other else max(best[j], best[j - 1])
            diagonal, best[j] = best[j], found
    return 2 * best[-1] / (len(candidate) + len(reference))


def distinct_2(texts: Sequence[Sequence[str]]) -> float:
    """Share of different pairs among all pairs of neighbouring words (Li et al., 1510.03055, section 5.2).

    A model that repeats itself is close to 0; where no text has two words it is 0.

    >>> distinct_2(["to be or not to be".split()])
    0.8
    """
    pairs = [pair for text in texts for pair in pairwise(text)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _greedy(task: CausalLanguageModel, given: NDArray[np.int64]) -> NDArray[np.int64]:
    """The tokens after those ``given``, shape (prompts, at most CONTINUED)."""
    import torch
    from transformers import GenerationConfig

    from fedpriv.training.matmul import fast_linear

    device = next(task.model.parameters()).device
    ids = torch.from_numpy(given).to(device)
    model: Any = task.model
    how = GenerationConfig(
        max_new_tokens=CONTINUED,
        do_sample=False,
        num_beams=1,
        pad_token_id=int(task.tokenizer.pad_token_id),
        eos_token_id=model.generation_config.eos_token_id,
    )
    with quiet(), warnings.catch_warnings(), fast_linear(), evaluating(model), torch.no_grad():
        # Of peft, about trained embeddings: the model counts the positions itself, which is right here.
        warnings.filterwarnings("ignore", message="Position ids are not supported")
        whole = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=how)
    tokens: NDArray[np.int64] = whole[:, given.shape[1] :].cpu().numpy()
    return tokens


def _words(task: CausalLanguageModel, tokens: NDArray[Any]) -> list[str]:
    """Words in small letters, without punctuation."""
    text: str = task.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)
    return _WORD.findall(text.lower())
