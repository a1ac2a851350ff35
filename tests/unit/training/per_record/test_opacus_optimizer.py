"""Opacus's optimizer, samplers and accountant over gradients of this engine: the same step, to rounding."""

from __future__ import annotations

import warnings

import pytest
import torch
from opacus.accountants import RDPAccountant
from opacus.data_loader import DPDataLoader
from opacus.optimizers import DPOptimizer
from parties.small_models import batch_of, losses, model_of
from torch.utils.data import Dataset

from fedpriv.training.per_record import PerRecordGradients
from fedpriv.training.per_record.clipping import SLACK

CLIP, EXPECTED, RATE = 0.3, 2, 0.1


def optimizer_of(model, noise_multiplier):
    return DPOptimizer(
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5),
        noise_multiplier=noise_multiplier,
        max_grad_norm=CLIP,
        expected_batch_size=EXPECTED,
        generator=torch.Generator().manual_seed(11),
    )


@pytest.mark.parametrize("noise_multiplier", [0.0, 1.3])
@pytest.mark.parametrize(("family", "method"), [("bert", "lora"), ("gpt2", "prompt"), ("llama", "full")])
def test_a_step_over_filled_gradients_is_that_of_the_clipped_sum(family, method, noise_multiplier):
    """Opacus clips at C, this engine at C (1 - 2**-10): the two agree to that."""
    model, batch = model_of(family, method), batch_of(family, 6)
    engine = PerRecordGradients(model, losses)
    sums = engine.clipped_sum(batch, clip=CLIP / SLACK).sums
    before = {name: p.detach().clone() for name, p in engine.parameters().items()}
    optimizer = optimizer_of(model, noise_multiplier)
    engine.fill(batch)
    optimizer.step()
    noise = torch.Generator().manual_seed(11)
    for name, parameter in engine.parameters().items():
        drawn = torch.zeros(parameter.shape)
        if noise_multiplier:
            drawn = torch.normal(0.0, noise_multiplier * CLIP, parameter.shape, generator=noise)
        expected = before[name] - 0.5 * (sums[name] + drawn) / EXPECTED
        # Opacus adds 1e-6 to norms.
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=2e-6)


class Records(Dataset):
    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return len(self.batch["labels"])

    def __getitem__(self, index):
        return {key: value[index] for key, value in self.batch.items()}


def test_poisson_batches_train_and_are_accounted():
    """An empty batch has no gradients to fill: the step is noise alone, and counts."""
    model, data = model_of("bert", "lora"), batch_of("bert", 20)
    engine = PerRecordGradients(model, losses)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus's, about its accountant's orders
        accountant = RDPAccountant()
    optimizer = optimizer_of(model, 1.0)
    optimizer.attach_step_hook(accountant.get_optimizer_hook_fn(sample_rate=RATE))
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    loader = DPDataLoader(Records(data), sample_rate=RATE, generator=torch.Generator().manual_seed(2))
    sizes, moved = [], []
    for _ in range(4):
        for batch in loader:
            before = torch.cat([p.detach().flatten().clone() for p in engine.parameters().values()])
            sizes.append(len(batch["labels"]))
            engine.fill(batch)
            optimizer.step()
            optimizer.zero_grad()
            after = torch.cat([p.detach().flatten() for p in engine.parameters().values()])
            moved.append(float((after - before).norm()))
    assert len(sizes) == 40
    assert 0 in sizes
    assert len(set(sizes)) > 3
    assert all(step > 0 for step in moved)
    assert accountant.history == [(1.0, RATE, 40)]
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)


def test_an_empty_batch_steps_by_noise_alone():
    model = model_of("bert", "lora")
    engine, optimizer = PerRecordGradients(model, losses), optimizer_of(model, 1.0)
    empty = {key: value[:0] for key, value in batch_of("bert", 3).items()}
    engine.fill(empty)
    before = {name: p.detach().clone() for name, p in engine.parameters().items()}
    optimizer.step()
    noise = torch.Generator().manual_seed(11)
    for name, parameter in engine.parameters().items():
        drawn = torch.normal(0.0, CLIP, parameter.shape, generator=noise)
        torch.testing.assert_close(parameter.detach(), before[name] - 0.5 * drawn / EXPECTED)
