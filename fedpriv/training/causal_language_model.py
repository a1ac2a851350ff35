"""Texts of which each next token is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import DataError, UsageError
from fedpriv.training.encoded import Encoded
from fedpriv.training.metrics import Judgement, Metrics
from fedpriv.training.task import Records, by_length, evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fedpriv.data import Content
    from fedpriv.training.prefix import FrozenPrefix

__all__ = ["CausalLanguageModel"]

_MOST_LOGITS = 2**25  # in one pass of an evaluation: 128 MiB, and as much again for their softmax


class CausalLanguageModel:
    """A record is one text, cut to ``max_length`` tokens.

    Its loss is the mean, over its own tokens but the first, of the cross-entropy of each given those before
    it; so a long record weighs as much as a short one.  What is padded is told by the attention mask and
    never by the token: many models pad with their end of text.  The first token is no target, whatever stands
    before it, so that a method with trained positions in front of the text is judged on the same tokens as
    the others.  No chat template is applied and no end of text is added: what a model is to learn of either
    stands in the text.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int) -> None:
        from fedpriv.training.frozen_head import FrozenHead

        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.vocabulary = int(model.config.vocab_size)  # type: ignore[union-attr, arg-type]
        self._head = FrozenHead.of(model)
        self.prefixes: dict[Records, FrozenPrefix] = {}

    @property
    def in_blocks(self) -> bool:
        """Whether losses are computed from a block of logits at a time (`frozen_head`)."""
        return self._head is not None and self._head.serves(self.model)

    def encode(self, contents: Sequence[Content], labels: Sequence[int] | NDArray[np.int64] = ()) -> Encoded:
        """Texts cut to ``max_length`` tokens; they have no classes, and ``labels`` are not read.

        Raises ``DataError`` where a text is no string, or has fewer than two tokens, so that there is nothing
        to predict: it would count among the records that the sampling rate rests on and teach nothing.
        """
        if not all(isinstance(text, str) for text in contents):
            raise DataError("a text is not a string", hint="drop the records without a text")
        rows: list[list[int]] = []
        if contents:
            rows = self.tokenizer(list(contents), truncation=True, max_length=self.max_length)["input_ids"]
        short = sum(len(row) < 2 for row in rows)
        if short:
            raise DataError(
                f"{short} of {len(rows)} texts have fewer than two tokens, and no next token to predict",
                hint="leave such rows out of the source, or join them with their neighbours",
            )
        return Encoded.of(rows, np.zeros(len(rows), dtype=np.int64), int(self.tokenizer.pad_token_id))

    def probe(self) -> Encoded:
        """Two short texts of different length."""
        return self.encode(["one record", "another record, and a longer one"])

    def inputs(self, records: Records, indices: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """What the model is called with for the records at ``indices``, on its device."""
        device = next(self.model.parameters()).device
        return {name: tensor.to(device) for name, tensor in records.inputs(indices).items()}

    def losses(self, records: Records, indices: NDArray[np.int64]) -> torch.Tensor:
        """The loss of each record at ``indices``, shape (b,), float32, with its graph."""
        from fedpriv.training.losses import next_token_losses

        return next_token_losses(self.model, self._head, lambda: self._logits_and_targets(records, indices))

    def judge(self, records: Records, *, batch: int = 64) -> Judgement:
        """How the model does on each record, in evaluation mode; a guess is the likeliest next token."""
        import torch

        from fedpriv.training.losses import IGNORED
        from fedpriv.training.matmul import fast_linear

        if batch < 1:
            raise UsageError(f"a batch must hold at least one record, not {batch}")
        count = len(records)
        losses, right, guesses = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
        lengths = records.lengths
        longest = 1 if lengths is None else int(lengths.max(initial=1))
        size = min(batch, max(1, _MOST_LOGITS // (longest * self.vocabulary)))
        with fast_linear(), evaluating(self.model), torch.no_grad():
            for rows in by_length(records, np.arange(count), size):
                logits, targets = self._logits_and_targets(records, rows)
                each = torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
                )
                losses[rows] = each.view(targets.shape).sum(1, dtype=torch.float64).cpu().numpy()
                right[rows] = (logits.argmax(-1) == targets).sum(1).cpu().numpy()
                guesses[rows] = (targets != IGNORED).sum(1).cpu().numpy()
        return Judgement(losses=losses, right=right, guesses=guesses, labels=records.labels, classes=0)

    def evaluate(self, records: Records, *, batch: int = 64) -> Metrics:
        """Perplexity, the exponential of the loss a token over all of them, and the share of next tokens
        guessed right; ``DataError`` where there is no record."""
        return self.judge(records, batch=batch).metrics()

    def _logits_and_targets(
        self, records: Records, indices: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits, shape (b, t, vocabulary), float32, and the token after each, shape (b, t)."""
        from fedpriv.training.losses import IGNORED

        inputs = self.inputs(records, indices)
        prefix = self.prefixes.get(records)
        with nullcontext() if prefix is None else prefix.standing_in(indices):
            logits: torch.Tensor = self.model(**inputs).logits.float()
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        targets = ids.new_full(ids.shape, IGNORED)
        targets[:, :-1] = ids[:, 1:].masked_fill(mask[:, 1:] == 0, IGNORED)
        # Trained positions in front of a text have logits, too.
        return logits[:, logits.shape[1] - ids.shape[1] :], targets
