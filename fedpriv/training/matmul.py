"""Linear maps in single precision, on processors that PyTorch's usual library serves badly.

PyTorch hands such products to MKL, which uses AVX-512 on Intel's processors alone.  On others whose units are
512 bits wide, oneDNN, which PyTorch carries as well, takes half the time, but for the small products of
attention, where it takes more.  AMD's processors before family 26 (Zen 5) compute AVX-512 in two halves, so
that there is nothing to gain, and the programs that oneDNN writes would be memory lost.

The public way to oneDNN is to *allow* it bfloat16 inside of the products
(``torch.backends.mkldnn.matmul.fp32_precision``).  It makes use of that where a processor has tiles (AMX),
and computes in single precision where it has none.  So it is allowed only without tiles, only after a product
has shown that no digit is lost, and only around linear maps.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["fast_linear", "product"]

_BACKENDS: Final[Any] = torch.backends
_PROCESSOR: Final = Path("/proc/cpuinfo")
_WIDE: Final = 26  # AMD's first family with units for AVX-512 as wide as its registers
# Rows and columns of the matrix from which on it pays.
_LEAST: Final = 128
# Rows that oneDNN is given at a time; the last few are left to MKL.  It writes a program for each new shape
# and keeps it, two thirds of a megabyte, so that shapes must not be as many as batches are.
_BLOCK: Final = 128


@contextmanager
def fast_linear() -> Iterator[None]:
    """Within this, linear maps on the CPU are computed by the library that is faster there, no less exactly.

    What a caller has set is left alone.

    >>> with fast_linear():
    ...     functional.linear(torch.ones(1, 3), torch.ones(2, 3))
    tensor([[3., 3.]])
    """
    if not _onednn_is_faster():
        yield
        return
    with _Linear():
        yield


def product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``left @ right + bias``, shapes (..., n), (n, m) and (m,), by the faster library.

    Where a graph is recorded, it is PyTorch's own, which can be gone back through.
    """
    recorded = torch.is_grad_enabled() and (left.requires_grad or right.requires_grad)
    if recorded or not (_suits(left, right) and _onednn_is_faster()):
        return left @ right if bias is None else left @ right + bias
    rows = left.reshape(-1, left.shape[-1])
    result = rows.new_empty(len(rows), right.shape[1])
    done = 0
    with torch.no_grad(), _allowed():
        while done + _BLOCK <= len(rows):
            _into(result[done : done + _BLOCK], rows[done : done + _BLOCK], right, bias)
            done += _BLOCK
    if done < len(rows):
        with torch.no_grad():
            _into(result[done:], rows[done:], right, bias)
    return result.view(*left.shape[:-1], right.shape[1])


def _into(result: torch.Tensor, left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> None:
    if bias is None:
        torch.mm(left, right, out=result)
    else:
        torch.addmm(bias, left, right, out=result)


class _Linear(TorchFunctionMode):
    """Takes over ``torch.nn.functional.linear``, and ``torch.addmm``, as transformers' Conv1D has it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _TAKEN and len(args) == 3 and not kwargs and all(a is None or _plain(a) for a in args):
            x, weight, bias = args if func is functional.linear else (args[1], args[2].t(), args[0])
            if _suits(x, weight.t()) and (bias is None or bias.dim() == 1):
                return _Map.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return func(*args, **kwargs)


class _Map(torch.autograd.Function):
    """``x W^T + b`` for ``x`` of shape (..., in)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return product(x, weight.t(), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (g,) = gradients
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        rows = g.reshape(-1, g.shape[-1])
        return (
            product(g, weight) if to_x else None,
            rows.t() @ x.reshape(-1, x.shape[-1]) if to_weight else None,
            rows.sum(0) if to_bias else None,
        )


_TAKEN: Final = (functional.linear, torch.addmm)


def _plain(tensor: torch.Tensor) -> bool:
    return type(tensor) in {torch.Tensor, torch.nn.Parameter}


def _suits(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether these are single precision, on the CPU, and the matrix is large."""
    single = left.dtype == right.dtype == torch.float32 and left.device.type == right.device.type == "cpu"
    return single and min(right.shape) >= _LEAST and not torch.is_autocast_enabled("cpu")


@contextmanager
def _allowed() -> Iterator[None]:
    products = _BACKENDS.mkldnn.matmul
    before = products.fp32_precision
    if before == "none":  # nobody has said anything
        products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


@lru_cache(maxsize=1)
def _onednn_is_faster() -> bool:
    there = _BACKENDS.mkl.is_available() and _BACKENDS.mkldnn.is_available()
    if not (there and hasattr(_BACKENDS.mkldnn, "matmul") and sys.platform == "linux"):  # PyTorch < 2.9
        return False
    return neglected(_PROCESSOR.read_text()) and _exact()


def neglected(processor: str) -> bool:
    """Whether MKL leaves wide AVX-512 unused and oneDNN has no tiles, by the text of ``/proc/cpuinfo``.

    >>> neglected("vendor_id : AuthenticAMD\\ncpu family : 26\\nflags : avx2 avx512f avx512_bf16\\n")
    True
    >>> neglected("vendor_id : AuthenticAMD\\ncpu family : 25\\nflags : avx2 avx512f avx512_bf16\\n")
    False
    >>> neglected("vendor_id : GenuineIntel\\ncpu family : 6\\nflags : avx2 avx512f amx_bf16 amx_tile\\n")
    False
    """
    words = set(processor.split())
    if "avx512f" not in words or "GenuineIntel" in words or any(word.startswith("amx") for word in words):
        return False
    family = re.search(r"^cpu family\s*:\s*(\d+)", processor, re.MULTILINE)
    return not ("AuthenticAMD" in words and family and int(family[1]) < _WIDE)


def _exact() -> bool:
    """Whether products keep single precision where bfloat16 is allowed; it would be off by 1e-3."""
    # All 24 binary digits of these are in use; no state of a generator is touched.
    steps = torch.arange(1, _BLOCK * _LEAST + 1, dtype=torch.float64).reshape(_BLOCK, _LEAST)
    numbers = torch.frac(steps * 0.6180339887498949).float()
    with _allowed():
        same = numbers @ torch.eye(_LEAST)
    return bool((same == numbers).all())
