"""Texts with one label each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import DataError
from fedpriv.training.classification import Classification
from fedpriv.training.encoded import Encoded

if TYPE_CHECKING:
    from torch import nn

    from fedpriv.data import Content

__all__ = ["SequenceClassification"]


class SequenceClassification(Classification):
    """One label for each text, which is cut to ``max_length`` tokens."""

    def __init__(self, model: nn.Module, tokenizer: Any, max_length: int) -> None:
        super().__init__(model)
        self.tokenizer = tokenizer
        self.max_length = max_length

    def encode(self, contents: Sequence[Content], labels: Sequence[int] | NDArray[np.int64]) -> Encoded:
        """Texts cut to ``max_length`` tokens; labels are class numbers.

        Raises ``DataError`` where a text is no string, the numbers of texts and labels differ, or a label is
        out of range.
        """
        if not all(isinstance(text, str) for text in contents):
            raise DataError("a text is not a string", hint="drop the records without a text")
        classes = self._classes_of(labels, len(contents), "texts")
        rows: list[list[int]] = []
        if contents:
            rows = self.tokenizer(list(contents), truncation=True, max_length=self.max_length)["input_ids"]
        return Encoded.of(rows, classes, int(self.tokenizer.pad_token_id))

    def probe(self) -> Encoded:
        """Two short texts of different length."""
        return self.encode(["one", "another record, and a longer one"], [0, 1])
