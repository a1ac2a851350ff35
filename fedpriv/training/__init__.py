"""Training: base models, tasks, clipped per-record gradients, and the server's step.

Importing this room loads no torch; its functions do.
"""

from __future__ import annotations

from fedpriv.training.frozen import FrozenWeights
from fedpriv.training.local import LOCAL_OPTIMIZERS, LocalTraining
from fedpriv.training.model import POOLINGS, load_classifier, locate
from fedpriv.training.prefix import PREFIX_DTYPES, FrozenPrefix, keep_prefixes
from fedpriv.training.records import ENGINES, RecordGradients
from fedpriv.training.server_optimizer import OPTIMIZERS, ServerOptimizer
from fedpriv.training.task import Encoded, Metrics, SequenceClassification, by_length, evaluating, majority

__all__ = [
    "ENGINES",
    "LOCAL_OPTIMIZERS",
    "OPTIMIZERS",
    "POOLINGS",
    "PREFIX_DTYPES",
    "Encoded",
    "FrozenPrefix",
    "FrozenWeights",
    "LocalTraining",
    "Metrics",
    "RecordGradients",
    "SequenceClassification",
    "ServerOptimizer",
    "by_length",
    "evaluating",
    "keep_prefixes",
    "load_classifier",
    "locate",
    "majority",
]
