"""Training: base models, tasks, clipped per-record gradients, and the server's step.

Importing this room loads no torch; its functions do.
"""

from __future__ import annotations

from fedpriv.training.causal_language_model import CausalLanguageModel
from fedpriv.training.causal_model import load_language_model
from fedpriv.training.classifier import load_classifier
from fedpriv.training.clipped_records import ClippedRecords
from fedpriv.training.continuations import CONTINUED, PROMPT, Continuations, prompts_of
from fedpriv.training.encoded import Encoded
from fedpriv.training.frozen import FrozenWeights
from fedpriv.training.image_classification import ImageClassification
from fedpriv.training.image_classifier import load_image_classifier
from fedpriv.training.local import LOCAL_OPTIMIZERS, LocalTraining
from fedpriv.training.metrics import Judgement, Metrics, majority, perplexity_of
from fedpriv.training.model_place import locate
from fedpriv.training.new_head import POOLINGS
from fedpriv.training.pixels import EncodedImages, Pixels
from fedpriv.training.prefix import PREFIX_DTYPES, FrozenPrefix, keep_prefixes
from fedpriv.training.records import ENGINES, RecordGradients
from fedpriv.training.sequence_classification import SequenceClassification
from fedpriv.training.server_optimizer import OPTIMIZERS, ServerOptimizer
from fedpriv.training.slopes import RecordSlopes
from fedpriv.training.task import Records, Task, by_length, evaluating

__all__ = [
    "CONTINUED",
    "ENGINES",
    "LOCAL_OPTIMIZERS",
    "OPTIMIZERS",
    "POOLINGS",
    "PREFIX_DTYPES",
    "PROMPT",
    "CausalLanguageModel",
    "ClippedRecords",
    "Continuations",
    "Encoded",
    "EncodedImages",
    "FrozenPrefix",
    "FrozenWeights",
    "ImageClassification",
    "Judgement",
    "LocalTraining",
    "Metrics",
    "Pixels",
    "RecordGradients",
    "RecordSlopes",
    "Records",
    "SequenceClassification",
    "ServerOptimizer",
    "Task",
    "by_length",
    "evaluating",
    "keep_prefixes",
    "load_classifier",
    "load_image_classifier",
    "load_language_model",
    "locate",
    "majority",
    "perplexity_of",
    "prompts_of",
]
