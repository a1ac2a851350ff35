"""What a step rests on: one row a record, random choices that nobody knows, as many records as planned."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.ledger.home import open_ledger

from .conftest import BATCH, collate, network


def twice(items):
    """Two views of each record."""
    return collate([view for item in items for view in (item, item)])


def first_alone(items):
    """One row for all."""
    return collate(items[:1])


def datasets():
    with open_ledger() as ledger:
        return ledger.datasets()


@pytest.mark.parametrize(("views", "rows"), [(twice, 6), (first_alone, 1)])
def test_a_collator_whose_rows_are_not_the_records_is_refused_before_anything_is_spent(
    private, points, views, rows
):
    with pytest.raises(UnsafeParameters, match=f"makes {rows} rows of 3 records"):
        private(loader=DataLoader(points, batch_size=BATCH, collate_fn=views))
    assert datasets() == []


def test_windows_that_only_some_records_have_are_refused_in_their_step(private, points):
    """A record with two windows would move the sum by two clips; the trial met none of these."""

    def windows(items):
        return collate([view for item in items for view in [item] * (1 + (item["name"] == "record 7"))])

    loop, model = private(loader=DataLoader(points, batch_size=BATCH, collate_fn=windows))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = next(iter(loop))
    batch.items = [points[3], points[7]]
    with pytest.raises(UnsafeParameters, match="makes 3 rows of 2 records"):
        loop.step(batch)
    assert loop.steps == 1  # it stays counted
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def dropping():
    return nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.Linear(16, 2)).train()


def test_the_model_s_random_choices_follow_from_no_seed_of_the_caller(private, points):
    """With a known seed one record more would shift the dropout of all that come after it."""
    loop, _ = private(dropping())
    batch = next(iter(loop))
    batch.items = points[:10]
    sums = []
    for _ in range(2):
        torch.manual_seed(42)
        sums.append(loop._gradients._sums(batch))
    assert all(not torch.equal(sums[0][name], sums[1][name]) for name in sums[0])


def test_torch_s_stream_does_not_tell_how_many_records_were_sampled(private, points):
    """A Trainer's checkpoint holds where the stream stands (``rng_state.pth``)."""

    def drawing(items):
        torch.rand(len(items))
        return collate(items)

    model = dropping()
    before = torch.get_rng_state()
    loop, _ = private(model, loader=DataLoader(points, batch_size=BATCH, collate_fn=drawing))
    batch = next(iter(loop))
    loop.step(batch)
    assert len(batch)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_insecure_seed_repeats_the_model_s_choices_too(private, points):
    released = []
    for seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = dropping()
        torch.manual_seed(seed)
        with pytest.warns(UserWarning, match="protects nobody"):
            loop, _ = private(model, insecure_seed=5)
        loop.step(next(iter(loop)))
        released.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*released)


def test_records_that_are_added_to_the_data_set_meanwhile_are_refused(private, points):
    data = list(points)
    loop, _ = private(data=data)
    loop.step(next(iter(loop)))
    data.extend(points[:20])
    with pytest.raises(UsageError, match="has 220 records, and had 200 when the run was planned"):
        next(iter(loop))
    assert loop.steps == 1


def test_records_that_are_all_alike_in_the_trial_leave_frozen_buffers_untouched(private, points):
    """The trial is then done again at the first step, and puts buffers back where they are watched."""

    class Positioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()
            self.register_buffer("places", torch.arange(5))

        def forward(self, x):
            return self.inner(x + self.places)

    data = list(points)
    for index in (100, 199):
        data[index] = data[0]
    loop, _ = private(Positioned(), data)
    for batch in loop:
        loop.step(batch)
    loop.finish()
    assert loop.remaining == 0
