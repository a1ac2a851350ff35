"""A record is known again by what it holds, whatever the containers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.private import Budget
from fedpriv.private.canonical import canonical_records

RECORD = {"text": "a", "ids": [1, 2], "label": 0, "weight": 0.5, "extra": None}


def form(record):
    (found,) = canonical_records([record])
    return found


def test_containers_and_the_order_of_keys_do_not_count():
    known = form(RECORD)
    assert form(dict(reversed(RECORD.items()))) == known
    for kind in (np.array, torch.tensor, tuple):
        assert form({**RECORD, "ids": kind(RECORD["ids"])}) == known
    assert form({**RECORD, "label": np.int32(0)}) == known
    assert form({**RECORD, "label": torch.tensor(0)}) == known


@pytest.mark.parametrize(
    "other",
    [
        {"text": "c"},
        {"ids": [[1, 2]]},
        {"ids": [1, 2, 0]},
        {"label": "0"},
        {"label": 0.0},
        {"extra": ""},
        {"text": ["a"]},
        {"more": None},
    ],
)
def test_every_difference_counts(other):
    assert form({**RECORD, **other}) != form(RECORD)


def test_where_one_text_ends_and_the_next_begins_counts():
    assert form(["ab", "c"]) != form(["a", "bc"])
    assert form([["a"], ["b"]]) != form([["a", "b"], []])


def test_images_are_known_by_their_pixels():
    from PIL import Image

    black, white = (Image.new("L", (3, 2), shade) for shade in (0, 255))
    assert form(black) == form(black.copy())
    assert len({form(image) for image in (black, white, black.rotate(90, expand=True))}) == 3


def test_records_of_unknown_kind_need_a_fingerprint():
    with pytest.raises(UsageError, match="record 1 of the data set holds a object") as caught:
        list(canonical_records([1, object()]))
    assert "Budget(fingerprint=" in caught.value.hint
    with pytest.raises(UsageError, match="no record"):
        list(canonical_records([]))


def test_a_budget_that_promises_nothing_is_refused():
    for epsilon, delta in ((0.0, 1e-5), (float("inf"), 1e-5), (1.0, 0.0), (1.0, 1.0)):
        with pytest.raises(UsageError):
            Budget(epsilon, delta)
    with pytest.raises(UnsafeParameters, match="not a guarantee"):
        Budget(50, 1e-5)
    assert Budget(50, 1e-5, allow_large=True).epsilon == 50
