"""Linear maps in single precision: as exact as PyTorch's own, and nobody's setting is lost."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fedpriv.training import matmul
from fedpriv.training.matmul import fast_linear, neglected, product
from fedpriv.training.per_record import PerRecordGradients

backends: Any = torch.backends
products = backends.mkldnn.matmul
# A unit in the last place of single precision is 1.2e-7 of the terms, of bfloat16 7.8e-3.
CLOSE = 2e-6


@pytest.fixture(autouse=True)
def of_family_26(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AMD processors with AVX-512 are taken for ones with wide units, so that oneDNN is tried on them."""
    before, said = products.fp32_precision, Path("/proc/cpuinfo")
    if said.exists():
        wide = tmp_path / "cpuinfo"
        wide.write_text(re.sub(r"(cpu family\s*:) \d+", r"\1 26", said.read_text()))
        monkeypatch.setattr(matmul, "_PROCESSOR", wide)
    matmul._onednn_is_faster.cache_clear()
    yield
    matmul._onednn_is_faster.cache_clear()
    products.fp32_precision = before


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 384, 5), (512, 384, 1536), (2048, 1536, 384)])
def test_no_digit_is_lost(shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    left, right, bias = normal(1, rows, inner), normal(2, inner, columns), normal(3, columns)
    exact = left.double() @ right.double()
    scale = left.double().abs() @ right.double().abs()
    with fast_linear():
        mapped = nn.functional.linear(left, right.T, bias)
    assert ((product(left, right).double() - exact).abs() <= CLOSE * scale).all()
    assert ((mapped.double() - exact - bias.double()).abs() <= CLOSE * (scale + bias.abs())).all()


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("shape", [(40, 96), (3, 700, 96)])
def test_gradients_are_those_of_doubles(shape: tuple[int, ...], frozen: bool) -> None:
    layer = nn.Linear(96, 160).requires_grad_(not frozen)
    twin = nn.Linear(96, 160, dtype=torch.float64).requires_grad_(not frozen)
    twin.load_state_dict(layer.state_dict())
    x = normal(4, *shape).requires_grad_()
    y = x.detach().double().requires_grad_()
    weights = normal(5, *shape[:-1], 160)
    with fast_linear():
        (layer(x) * weights).sum().backward()
    (twin(y) * weights.double()).sum().backward()
    torch.testing.assert_close(x.grad, y.grad.float() if y.grad is not None else None, rtol=1e-4, atol=1e-4)
    for mine, other in zip(layer.parameters(), twin.parameters(), strict=True):
        assert (mine.grad is None) == frozen
        if mine.grad is not None and other.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad.float(), rtol=1e-4, atol=1e-3)


def test_conv1d_of_transformers_is_covered_and_other_sums_are_not() -> None:
    x, weight, bias = normal(12, 300, 64), normal(13, 64, 192).requires_grad_(), normal(14, 192)
    matrix = normal(15, 300, 192).requires_grad_()
    exact = x.double() @ weight.double()
    with fast_linear():
        mapped, summed = torch.addmm(bias, x, weight), torch.addmm(matrix, x, weight)
    torch.testing.assert_close(mapped, (exact + bias).float(), rtol=1e-4, atol=1e-4)
    mapped.sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0)[:, None].expand(64, 192), rtol=1e-4, atol=1e-3)
    summed.sum().backward()
    assert matrix.grad is not None
    assert matrix.grad.shape == matrix.shape


def test_second_derivatives_are_refused_or_right_and_never_missing() -> None:
    layer, x = nn.Linear(256, 256), normal(19, 128, 256).requires_grad_()
    with fast_linear():
        loss = layer(x).square().sum()
    try:
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    except RuntimeError:
        pass  # refused
    else:  # where the processor is not one of those
        expected = 2 * (layer.weight.t() @ layer.weight).sum(0)
        torch.testing.assert_close(second[0], expected, rtol=1e-3, atol=1e-3)
    left, right = normal(20, 256, 256).requires_grad_(), normal(21, 256, 256)
    (down,) = torch.autograd.grad(product(left, right).sum(), left)
    torch.testing.assert_close(down[0], right.sum(1), rtol=1e-4, atol=1e-4)


def test_a_frozen_layer_keeps_no_inputs() -> None:
    layer = nn.Linear(64, 512).requires_grad_(False)
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    x = normal(6, 2048, 64).requires_grad_()
    with fast_linear(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    assert kept in ([layer.weight.shape], [layer.weight.t().shape])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the size of this process from /proc")
def test_batches_of_many_sizes_take_no_memory() -> None:
    """oneDNN keeps 0.7 MB for each shape that it has seen."""

    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    weight = normal(16, 384, 512)
    product(normal(17, 900, 384), weight)
    before = pages()
    for rows in range(300, 900, 2):
        product(normal(18, rows, 384), weight)
    assert (pages() - before) * os.sysconf("SC_PAGE_SIZE") < 50e6


def test_other_precisions_and_autocast_are_left_alone() -> None:
    layer, x = nn.Linear(512, 512), normal(7, 512, 512)
    with fast_linear():
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        assert layer.double()(x.double()).dtype == torch.float64


def test_what_a_caller_has_set_stands() -> None:
    left, right = normal(8, 512, 512), normal(9, 512, 512)
    for setting in ("none", "ieee"):
        products.fp32_precision = setting
        with fast_linear():
            nn.functional.linear(left, right, None)
        product(left, right)
        assert products.fp32_precision == setting
    with pytest.raises(RuntimeError, match="shapes"):
        product(normal(8, 4096, 512), normal(9, 400, 512))
    assert products.fp32_precision == "ieee"


def test_per_record_gradients_are_the_same_with_it() -> None:
    """The engine is within `fast_linear`; large enough for it, against a loop in double precision."""
    torch.manual_seed(10)
    model = nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 128), nn.Tanh(), nn.Linear(128, 3))
    model[2].requires_grad_(False)
    x, twin = normal(11, 8, 100, 64), nn.Sequential(*map(_like, model))
    twin.load_state_dict(model.state_dict())

    def losses(module: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = module(batch).square().mean((1, 2))
        return result

    found = PerRecordGradients(model, losses).rows(x)
    for row in range(len(x)):
        twin.zero_grad()
        losses(twin, x[row : row + 1].double()).sum().backward()
        for name, parameter in twin.named_parameters():
            if name in found and parameter.grad is not None:
                wanted = parameter.grad.float()
                assert (found[name][row] - wanted).norm() <= 1e-5 * wanted.norm()


def _like(module: nn.Module) -> nn.Module:
    if not isinstance(module, nn.Linear):
        return module
    return nn.Linear(module.in_features, module.out_features, dtype=torch.float64)


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 26\nflags\t\t: fma avx2 avx512f avx512_bf16", True),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nflags\t\t: fma avx2 avx512f avx512_bf16", False),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 26\nflags\t\t: fma avx2", False),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fma avx2 avx512f", True),
        ("vendor_id\t: CentaurHauls\ncpu family\t: 7\nflags\t\t: fma avx2 avx512f", True),
        ("vendor_id\t: GenuineIntel\ncpu family\t: 6\nflags\t\t: fma avx2 avx512f", False),
        ("vendor_id\t: GenuineIntel\nflags\t\t: avx512f amx_bf16 amx_tile", False),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: avx512f amx_bf16 amx_tile", False),  # would lose digits
        ("Features\t: asimd sve bf16", False),
        ("", False),
    ],
)
def test_for_which_processors(processor: str, expected: bool) -> None:
    assert neglected(processor) is expected
