"""Tokenised records, batches by length, and the metrics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fedpriv.errors import DataError, UsageError
from fedpriv.training import Encoded, by_length, majority


def test_records_survive_encoding_taking_and_padding(tiny, task_of):
    task = task_of(tiny("bert"))
    encoded = task.encode(["abc", "z", "hello"], [2, 0, 1])
    assert encoded.lengths.tolist() == [3, 1, 5]
    assert len(encoded) == 3
    some = encoded.take(np.array([2, 0]))
    assert some.labels.tolist() == [1, 2]
    ids, mask = dataclasses.replace(some, pad=7).padded(np.array([1, 0]))
    abc = encoded.tokens[:3].tolist()
    assert ids.tolist() == [[*abc, 7, 7], encoded.tokens[4:].tolist()]
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1] * 5]


def test_no_record_is_a_legal_set_of_records(tiny, task_of):
    task = task_of(tiny("bert"))
    encoded = task.encode([], [])
    assert len(encoded) == 0
    assert len(task.encode(["a"], [0]).take(np.zeros(0, dtype=np.int64))) == 0
    assert list(by_length(encoded, np.arange(0), 4)) == []
    assert task.predict(encoded).shape == (0, 3)


def test_a_text_of_which_nothing_is_left_is_one_token(tiny, task_of):
    for family in ("bert", "gpt2", "llama"):
        task = task_of(tiny(family))
        encoded = task.encode(["", "ab"], [0, 1])
        assert encoded.lengths.tolist() == [1, 2]
        assert np.isfinite(task.predict(encoded)).all()


def test_texts_are_cut(tiny, task_of):
    assert task_of(tiny("bert")).encode(["x" * 100], [0]).lengths.tolist() == [32]


def test_batches_by_length_hold_each_index_once(records):
    encoded = records(23)
    chosen = np.array([22, 3, 3, 7, 0, 15, 11])
    batches = list(by_length(encoded, chosen, 3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert sorted(np.concatenate(batches)) == sorted(chosen)
    assert (np.diff(encoded.lengths[np.concatenate(batches)]) >= 0).all()


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_metrics_are_those_of_single_records_without_dropout(tiny, records, task_of, family):
    model = tiny(family)
    task = task_of(model)
    encoded = records(17)
    metrics = task.evaluate(encoded, batch=5)
    assert model.training
    model.eval()
    right, losses = [], []
    for i in range(17):
        ids = torch.tensor(encoded.tokens[encoded.offsets[i] : encoded.offsets[i + 1]], dtype=torch.long)[
            None
        ]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        right.append(int(logits.argmax()) == encoded.labels[i])
        losses.append(-float(logits.log_softmax(-1)[encoded.labels[i]]))
    assert metrics.n == 17
    assert metrics.accuracy == pytest.approx(np.mean(right))
    assert metrics.loss == pytest.approx(np.mean(losses), rel=1e-5)
    for k in range(3):
        assert metrics.recall[k] == pytest.approx(np.mean(np.array(right)[encoded.labels == k]))


def test_a_class_that_is_absent_has_no_recall(tiny, records, task_of):
    encoded = records(5, classes=1)
    assert task_of(tiny("bert")).evaluate(encoded).recall[1:] == (None, None)


def test_what_cannot_be_evaluated_is_refused(tiny, records, task_of):
    task = task_of(tiny("bert"))
    with pytest.raises(DataError, match="no record"):
        task.evaluate(Encoded(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64)))
    with pytest.raises(UsageError):
        task.evaluate(records(2), batch=0)
    with pytest.raises(DataError, match="2 texts"):
        task.encode(["a", "b"], [0])
    with pytest.raises(DataError, match="not a string"):
        task.encode(["a", float("nan")], [0, 1])
    for label in (-1, 3):
        with pytest.raises(DataError, match="class number"):
            task.encode(["a"], [label])


def test_the_majority_of_nothing_is_refused():
    assert majority(np.array([0, 2, 2, 2])) == 0.75
    with pytest.raises(DataError):
        majority(np.zeros(0, dtype=np.int64))
