"""Where a shared value meets records: for each torch function that may do it, the gradient of each record.

A rule computes what the function would have, and on the way back hands one gradient per record to the tape.
What is not here is not covered: the tape refuses it by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.nn import functional

from fedpriv.training.per_record.linear_maps import addmm, conv2d, linear, matmul, mm
from fedpriv.training.per_record.lookups import embedding, rows_of
from fedpriv.training.per_record.normalisation import layer_norm, rms_norm
from fedpriv.training.per_record.spreading import (
    attention,
    divided,
    expand,
    expand_as,
    minus,
    plus,
    reflected_minus,
    repeat,
    times,
    where,
)

__all__ = ["FLATTENING", "RULES", "SPREADING"]

Rule = Callable[..., torch.Tensor]

_T: Final = torch.Tensor
RULES: Final[dict[Any, Rule]] = {
    functional.linear: linear,
    functional.embedding: embedding,
    functional.layer_norm: layer_norm,
    functional.rms_norm: rms_norm,
    torch.where: where,
    functional.conv2d: conv2d,
    functional.scaled_dot_product_attention: attention,
    torch.conv2d: conv2d,
    torch.matmul: matmul,
    _T.matmul: matmul,
    _T.__matmul__: matmul,
    torch.addmm: addmm,
    torch.mm: mm,
    _T.mm: mm,
    torch.mul: times,
    _T.mul: times,
    _T.__mul__: times,
    _T.__rmul__: times,
    _T.__imul__: times,
    torch.add: plus,
    _T.add: plus,
    _T.__add__: plus,
    _T.__radd__: plus,
    _T.__iadd__: plus,
    torch.sub: minus,
    _T.sub: minus,
    _T.__sub__: minus,
    _T.__rsub__: reflected_minus,
    torch.div: divided,
    _T.div: divided,
    _T.__truediv__: divided,
    _T.expand: expand,
    _T.expand_as: expand_as,
    torch.broadcast_to: expand,
    _T.broadcast_to: expand,
    _T.repeat: repeat,
    _T.__getitem__: rows_of,
}
"""What may be done with a shared value and records."""

FLATTENING: Final = frozenset({torch.addmm, torch.mm, _T.mm})
"""Functions that see records and positions in one dimension."""

SPREADING: Final = frozenset({torch.broadcast_to, _T.broadcast_to, _T.expand, _T.repeat})
"""Functions that take a number of records rather than records."""
