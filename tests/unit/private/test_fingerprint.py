"""A data set is known again by what it holds, whatever its order and containers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.private import Budget
from fedpriv.private.fingerprint import fingerprint

RECORDS = [
    {"text": "a", "ids": [1, 2], "label": 0, "weight": 0.5, "extra": None},
    {"text": "b", "ids": [3], "label": 1, "weight": 1.5, "extra": None},
]


def test_order_and_containers_do_not_count():
    known = fingerprint(RECORDS)
    assert fingerprint(RECORDS[::-1]) == known
    assert fingerprint([dict(reversed(record.items())) for record in RECORDS]) == known
    for kind in (np.array, torch.tensor, tuple):
        assert fingerprint([{**record, "ids": kind(record["ids"])} for record in RECORDS]) == known
    assert fingerprint([{**record, "label": np.int32(record["label"])} for record in RECORDS]) == known
    assert fingerprint([{**record, "label": torch.tensor(record["label"])} for record in RECORDS]) == known


@pytest.mark.parametrize(
    "other",
    [
        RECORDS[:1],
        [*RECORDS, RECORDS[0]],
        [{**RECORDS[0], "text": "c"}, RECORDS[1]],
        [{**RECORDS[0], "ids": [[1, 2]]}, RECORDS[1]],
        [{**RECORDS[0], "ids": [1, 2, 0]}, RECORDS[1]],
        [{**RECORDS[0], "label": "0"}, RECORDS[1]],
        [{**RECORDS[0], "label": 0.0}, RECORDS[1]],
        [{**RECORDS[0], "extra": ""}, RECORDS[1]],
        [{**RECORDS[0], "text": ["a"]}, RECORDS[1]],
    ],
)
def test_every_difference_counts(other):
    assert fingerprint(other) != fingerprint(RECORDS)


def test_where_one_text_ends_and_the_next_begins_counts():
    assert fingerprint([["ab", "c"]]) != fingerprint([["a", "bc"]])
    assert fingerprint([[["a"], ["b"]]]) != fingerprint([[["a", "b"], []]])


def test_images_are_known_by_their_pixels():
    from PIL import Image

    black, white = (Image.new("L", (3, 2), shade) for shade in (0, 255))
    assert fingerprint([black]) == fingerprint([black.copy()])
    assert len({fingerprint([image]) for image in (black, white, black.rotate(90, expand=True))}) == 3


def test_records_of_unknown_kind_need_a_fingerprint():
    with pytest.raises(UsageError, match="record 1 of the data set holds a object") as caught:
        fingerprint([1, object()])
    assert "Budget(fingerprint=" in caught.value.hint
    with pytest.raises(UsageError, match="no record"):
        fingerprint([])


def test_a_budget_that_promises_nothing_is_refused():
    for epsilon, delta in ((0.0, 1e-5), (float("inf"), 1e-5), (1.0, 0.0), (1.0, 1.0)):
        with pytest.raises(UsageError):
            Budget(epsilon, delta)
    with pytest.raises(UnsafeParameters, match="not a guarantee"):
        Budget(50, 1e-5)
    assert Budget(50, 1e-5, allow_large=True).epsilon == 50
