"""What a model may do with a parameter: each function gives the loop's gradients, or is refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedpriv.errors import UnsafeParameters
from fedpriv.training.per_record import PerRecordGradients


class Does(nn.Module):
    """``function(parameter, x)`` for one parameter ``w``."""

    def __init__(self, function, *shape: int) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.w, x)


class First(nn.Module):
    """A module of which the first result counts."""

    def __init__(self, inner: nn.Module, *, thrice: bool = False) -> None:
        super().__init__()
        self.inner, self.thrice = inner, thrice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x, x, x)[0] if self.thrice else self.inner(x)[0]


class Images(nn.Module):
    """A two-dimensional convolution of two channels."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.stack([x, x.cos()], 1))


class SpectrallyNormal(nn.Module):
    """With stored vectors: in training each pass would move them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)).eval()

    def train(self, mode: bool = True) -> SpectrallyNormal:
        self.training = mode
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def wavy(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = model(x)
    return (torch.sin(3 * y) + y.square()).flatten(1).sum(1)


def under_no_grad(w, x):
    with torch.no_grad():
        return x * w


def in_place_of_a_copy(w, x):
    y = x * 1
    y[:, 0] = x[:, 0] * w
    return y


# Records are (b, 5, 4).
RIGHT = {
    "softmax of a parameter": lambda: Does(lambda w, x: x * torch.softmax(w, 0), 4),
    "softmax of both": lambda: Does(lambda w, x: torch.softmax(x * w, -1), 4),
    "concatenation of a prompt": lambda: Does(lambda w, x: torch.cat([w.expand(len(x), -1, -1), x], 1), 2, 4),
    "concatenation of a repeat": lambda: Does(
        lambda w, x: torch.cat([w.unsqueeze(0).repeat(len(x), 1, 1), x], 1), 2, 4
    ),
    "addition at an index": lambda: Does(
        lambda w, x: x.index_add(1, torch.tensor([0, 2]), w.expand(len(x), 2, 4)), 2, 4
    ),
    "detached and not": lambda: Does(lambda w, x: x * w.detach() + x * w, 4),
    "no_grad and not": lambda: Does(lambda w, x: under_no_grad(w, x) + x * w, 4),
    "a scalar": lambda: Does(lambda w, x: x * w.exp()),
    "a reflected difference": lambda: Does(lambda w, x: w - x * w, 4),
    "a quotient": lambda: Does(lambda w, x: w / (x.abs() + 1), 4),
    "a batched product": lambda: Does(lambda w, x: torch.bmm(x, w.expand(len(x), 4, 4)), 4, 4),
    "a choice": lambda: Does(lambda w, x: torch.where(x > 0, x, w), 4),
    "an outer product": lambda: Does(lambda w, x: x.mean(1)[:, None, :] * w[:, None], 5),
    "twice the same": lambda: Does(lambda w, x: functional.linear(functional.linear(x, w).tanh(), w), 4, 4),
    "a normalised matrix": lambda: Does(lambda w, x: x @ functional.normalize(w, dim=0), 4, 4),
    "distances": lambda: Does(lambda w, x: torch.cdist(x, w.expand(len(x), -1, -1)), 3, 4),
    "a penalty": lambda: Does(lambda w, x: x * w + 0.1 * w.square().sum(), 4),
    "an assigned slice": lambda: Does(in_place_of_a_copy, 4),
    "weight normalisation": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
    "spectral normalisation": SpectrallyNormal,
    "a convolution": Images,
    "a strided convolution": lambda: Images(stride=2, padding=(1, 0)),
    "a convolution of reflected images": lambda: Images(padding=1, padding_mode="reflect"),
    "a bias of attention": lambda: Does(
        lambda w, x: functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], w), 5, 5
    ),
}
NAMED = {
    "einsum": lambda: Does(lambda w, x: torch.einsum("bti,io->bto", x, w), 4, 4),
    "cat": lambda: Does(lambda w, x: torch.cat([x, w])[: len(x)] * w, 1, 5, 4),
    "add_": lambda: Does(lambda w, x: (x * 1).add_(w), 4),
    "addcmul": lambda: Does(lambda w, x: torch.addcmul(x, x, w), 4),
    "lerp": lambda: Does(lambda w, x: torch.lerp(x, 2 * x, w), 4),
    "pow": lambda: Does(lambda w, x: x.abs() ** w, 4),
    "maximum": lambda: Does(lambda w, x: torch.maximum(x, w), 4),
    "matmul": lambda: Does(lambda w, x: w @ x, 5, 5),
    "baddbmm": lambda: Does(lambda w, x: torch.baddbmm(w, x, x.transpose(1, 2)), 1, 5, 5),
    "cosine_similarity": lambda: Does(lambda w, x: functional.cosine_similarity(x, w, dim=-1), 4),
    "conv1d": lambda: nn.Conv1d(5, 5, 3, padding=1),
    "conv2d": lambda: Images(groups=2),
    "conv_transpose1d": lambda: nn.ConvTranspose1d(5, 5, 3),
    "group_norm": lambda: nn.GroupNorm(5, 5),
    "instance_norm": lambda: nn.InstanceNorm1d(5, affine=True),
    "prelu": nn.PReLU,
    "lstm": lambda: First(nn.LSTM(4, 4, batch_first=True)),
    "gru": lambda: First(nn.GRU(4, 4, batch_first=True)),
    "add": lambda: Does(lambda w, x: torch.stack([w] * len(x)) + x, 5, 4),
}
UNNAMED = {
    "positions first": lambda: Does(lambda w, x: (x.transpose(0, 1) * w).transpose(0, 1), 4),
    "positions first in a linear map": lambda: Does(
        lambda w, x: functional.linear(x.transpose(0, 1), w).transpose(0, 1), 4, 4
    ),
    "records and positions in one dimension": lambda: Does(
        lambda w, x: functional.linear(x.reshape(-1, 4), w).view(x.shape), 4, 4
    ),
    "a Fourier transform": lambda: Does(
        lambda w, x: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(w), n=4), 4
    ),
    "attention": lambda: First(nn.MultiheadAttention(4, 2, batch_first=True), thrice=True),
    "a transformer layer": lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True),
    "a functional transform": lambda: Does(lambda w, x: torch.vmap(lambda r: r * w)(x), 4),
}


def make(build, *, training: bool = False) -> nn.Module:
    torch.manual_seed(1)
    return build().train(training)


def records(size: int) -> torch.Tensor:
    return torch.randn(size, 5, 4, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", RIGHT)
def test_the_gradients_are_those_of_the_loop(name, training):
    """For batches as long as each other dimension, too: 5 positions, 4 features, 2 and 3 of others."""
    model = make(RIGHT[name], training=training)
    for size in (7, 5, 4, 3, 2, 1):
        x = records(size)
        engine = PerRecordGradients(model, wavy)
        engine.rows(records(6))
        expected = PerRecordGradients(model, wavy, way="one-by-one").rows(x)
        for found in (PerRecordGradients(model, wavy).rows(x), engine.rows(x)):
            for key, value in expected.items():
                torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMED)
def test_a_function_without_a_rule_is_refused_by_name(name, training):
    engine = PerRecordGradients(make(NAMED[name], training=training), wavy)
    with pytest.raises(UnsafeParameters, match=rf"no gradient by record is known for '.*' in \w*{name}"):
        engine.rows(records(7))


@pytest.mark.parametrize("size", [7, 5, 4, 3, 2])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", UNNAMED)
def test_what_cannot_be_followed_is_refused(name, training, size):
    engine = PerRecordGradients(make(UNNAMED[name], training=training), wavy)
    with pytest.raises(UnsafeParameters):
        engine.rows(records(size))
    assert all(p.grad is None and type(p) is nn.Parameter for p in engine.model.parameters())


@pytest.mark.parametrize("name", [*NAMED, *UNNAMED])
def test_what_is_refused_goes_one_by_one(name):
    model = make((NAMED | UNNAMED)[name])
    engine = PerRecordGradients(model, wavy, way="one-by-one")
    found = engine.rows(records(4))
    for record in range(4):
        wavy(model, records(4)[record : record + 1]).sum().backward()
        for key, parameter in engine.parameters().items():
            torch.testing.assert_close(found[key][record], parameter.grad)
            parameter.grad = None


def test_a_constant_as_long_as_the_batch_is_not_taken_for_records():
    """The same product with records and with a constant: where both have as many rows, records go alone."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(5, generator=torch.Generator().manual_seed(3)))
            self.register_buffer("constant", torch.randn(7, 5, generator=torch.Generator().manual_seed(4)))

        def forward(self, x):
            return x * self.w + (self.constant * self.w).sum(0)

    def squares(model, x):
        return model(x).square().sum(1)

    model = Both()
    engine = PerRecordGradients(model, squares)
    for size in (4, 7, 6, 7):
        x = torch.randn(size, 5, generator=torch.Generator().manual_seed(size))
        expected = PerRecordGradients(model, squares, way="one-by-one").rows(x)
        torch.testing.assert_close(engine.rows(x)["w"], expected["w"], rtol=1e-4, atol=1e-5)


def test_an_autocast_round_the_call_does_not_make_norms_coarse():
    """Products of bfloat16 have errors of 2**-8, and what is added could exceed the clip by as much."""
    torch.manual_seed(0)
    model = nn.Linear(64, 64, bias=False)
    x = torch.randn(8, 2, 64)
    engine = PerRecordGradients(model, wavy)
    with torch.autocast("cpu", torch.bfloat16):
        rows = engine.rows(x)
        found = engine.clipped_sum(x, clip=1.0)
        each = [engine.clipped_sum(x[i : i + 1], clip=1.0).sums["weight"] for i in range(8)]
    norms = rows["weight"].double().flatten(1).norm(dim=1)
    torch.testing.assert_close(found.norms, norms, rtol=1e-5, atol=0.0)
    assert found.sums["weight"].dtype == torch.float32
    assert all(float(one.double().norm()) <= 1.0 for one in each)
