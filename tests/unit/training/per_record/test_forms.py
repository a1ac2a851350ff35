"""The cheaper forms of a gradient: taken where they pay, equal to the rows, never shorter than the truth."""

from __future__ import annotations

import pytest
import torch
from parties.small_models import batch_of, losses, model_of
from torch import nn
from torch.nn import functional

from fedpriv.training.per_record import PerRecordGradients
from fedpriv.training.per_record.rows import Positions, Rows, Spots, merged
from fedpriv.training.per_record.ways import Direct


def of(model, x):
    return model(x).square().flatten(1).sum(1)


def forms(model, losses, batch) -> dict[str, type]:
    way = Direct()
    way.learn(model, losses, batch)
    return {name: type(gradient) for name, gradient in way(model, losses, batch).items()}


def test_full_fine_tuning_keeps_positions_and_spots_where_they_pay():
    torch.manual_seed(0)
    model, batch = model_of("bert", "full"), batch_of("bert", 5, length=4)
    found = forms(model, losses, batch)
    for name, parameter in model.named_parameters():
        if "embeddings.word" in name:
            assert found[name] is Spots
        elif name.endswith("dense.weight") and "layer." in name:
            out, width = parameter.shape
            pays = out * width > 2 * 4 * (out + width)
            assert found[name] is (Positions if pays else Rows), name
    assert Positions in found.values()
    assert Rows in found.values()


def test_positions_pay_from_where_they_take_less_memory():
    """in * out > 2 t (in + out): for 64 x 64 and t positions, 4096 > 256 t."""
    for t, pays in ((15, True), (16, False), (17, False)):
        assert Positions.pays(torch.zeros(3, t, 64), torch.zeros(3, t, 64)) is pays


@pytest.mark.parametrize("family", ["bert", "llama", "t5", "gpt2"])
def test_sums_and_norms_are_those_of_the_rows(family):
    model, batch = model_of(family, "full"), batch_of(family, 7, length=4)
    engine = PerRecordGradients(model, losses)
    assert Positions in forms(model, losses, batch).values()
    rows = engine.rows(batch)
    norms = torch.stack([Rows(value).squares() for value in rows.values()]).sum(0).sqrt()
    clip = float(norms.median())
    found = engine.clipped_sum(batch, clip=clip)
    torch.testing.assert_close(found.norms, norms, rtol=1e-6, atol=0.0)
    scale = torch.clamp(clip * (1 - 2**-10) / norms, max=1.0)
    for name, value in rows.items():
        expected = torch.tensordot(scale, value.double(), 1).float()
        torch.testing.assert_close(found.sums[name], expected, rtol=1e-4, atol=2e-6)


def test_a_parameter_used_twice_has_the_sum_of_both_gradients():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(40, 40)

        def forward(self, x):
            return self.lin(torch.tanh(self.lin(x)))

    torch.manual_seed(0)
    model, x = Twice(), torch.randn(6, 2, 40)
    found = PerRecordGradients(model, of).clipped_sum(x, clip=1.0)
    alone = PerRecordGradients(model, of, way="one-by-one").clipped_sum(x, clip=1.0)
    for name, value in alone.sums.items():
        torch.testing.assert_close(found.sums[name], value, rtol=1e-4, atol=1e-6)


def test_two_products_of_one_matrix_are_one_with_more_positions():
    torch.manual_seed(0)
    two = [Positions(torch.randn(3, t, 5), torch.randn(3, t, 9)) for t in (2, 4)]
    both = merged(two)
    assert isinstance(both, Positions)
    torch.testing.assert_close(both.rows(), two[0].rows() + two[1].rows())
    torch.testing.assert_close(both.squares(), (two[0].rows() + two[1].rows()).double().square().sum((1, 2)))


def test_a_table_used_as_a_matrix_too_merges_both_forms():
    torch.manual_seed(0)
    spots = Spots(torch.randint(0, 9, (3, 4)), torch.randn(3, 4, 5), (9, 5))
    positions = Positions(torch.randn(3, 2, 5), torch.randn(3, 2, 9))
    both = merged([spots, positions])
    torch.testing.assert_close(both.rows(), spots.rows() + positions.rows())
    for record in range(3):
        torch.testing.assert_close(spots.row(record), spots.rows()[record])
        torch.testing.assert_close(positions.row(record), positions.rows()[record])


@pytest.mark.parametrize("deviation", [1.0, 1e-2, 1e-3, 1e-4, 1e-5])
def test_positions_that_cancel_do_not_shorten_the_norm(deviation):
    """Keys under softmax: the gradients at a record's positions add up to nothing, and its inputs are alike.

    Inner products in single precision then tell nothing (0 was seen for 0.02, and such a record unclipped):
    what is reported must be at least the norm of the gradient that is summed, but for 2**-11.
    """
    drawn = torch.Generator().manual_seed(3)
    x = torch.randn(512, generator=drawn) + deviation * torch.randn(6, 8, 512, generator=drawn)
    g = torch.randn(6, 8, 512, generator=drawn)
    g -= g.mean(1, keepdim=True)
    form = Positions(x, g)
    assert Positions.pays(x, g)
    reported = form.squares().sqrt()
    for record in range(6):
        summed = form.total(functional.one_hot(torch.tensor(record), 6).double())
        assert float(summed.double().norm()) <= float(reported[record]) * (1 + 2**-11)
    exact = (g.double().transpose(1, 2) @ x.double()).flatten(1).norm(dim=1)
    if deviation >= 1e-3:
        torch.testing.assert_close(reported, exact, rtol=2**-12, atol=0.0)


def test_tokens_that_cancel_do_not_shorten_the_norm():
    drawn = torch.Generator().manual_seed(3)
    g = torch.randn(4, 2, 256, generator=drawn).repeat_interleave(2, 1)
    g[:, 1::2] *= -1.0
    g[:, 0] += 1e-4
    form = Spots(torch.tensor([[5, 5, 7, 7]] * 4), g, (9, 256))
    exact = form.rows().double().flatten(1).norm(dim=1)
    torch.testing.assert_close(form.squares().sqrt(), exact, rtol=1e-6, atol=0.0)


def test_a_record_is_left_out_by_its_factor_even_where_it_is_not_finite():
    x, g = torch.ones(2, 3, 4), torch.ones(2, 3, 5)
    x[1] = torch.inf
    out = Positions(x, g).total(torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(out, Positions(x[:1], g[:1]).rows()[0])


def test_fill_leaves_opacus_its_gradients():
    model, batch = model_of("bert", "lora"), batch_of("bert", 4)
    engine = PerRecordGradients(model, losses)
    engine.fill(batch)
    for name, rows in engine.rows(batch).items():
        assert torch.equal(engine.parameters()[name].grad_sample, rows)  # type: ignore[attr-defined]
