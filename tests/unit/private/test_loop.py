"""A loop of one's own: what it releases, what it costs, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, WeightedRandomSampler

import fedpriv
from fedpriv import dp
from fedpriv.crypto import Keystream, digest
from fedpriv.errors import BudgetExceeded, IntegrityError, UnsafeParameters, UsageError
from fedpriv.ledger.home import open_ledger

from .conftest import BATCH, CLIP, COST, NOISE, RECORDS, STEPS, collate, losses, network


def clipped_loop(model, items):
    """The sum of the records' clipped gradients, one by one by plain autograd, in double precision."""
    trained = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p, dtype=torch.float64) for p in trained]
    for item in items:
        grads = torch.autograd.grad(losses(model, collate([item])).sum(), trained)
        norm = float(sum(g.double().square().sum() for g in grads)) ** 0.5
        for part, grad in zip(total, grads, strict=True):
            part.add_(grad.double() * min(1.0, CLIP * (1 - 2.0**-10) / norm))
    return total


def noise_of_seed(seed, step, grid, model):
    """The noise that a seed stands for, in units of the gradient's sum, by the names' order."""
    label = (str(part).encode() for part in (seed, "noise", step))
    words = Keystream(digest("fedpriv/private/insecure-entropy/v1", *label)).words
    named = sorted((name, p) for name, p in model.named_parameters() if p.requires_grad)
    whole = dp.discrete_gaussian(grid.variance, sum(p.numel() for _, p in named), words)
    parts = torch.split(torch.from_numpy(np.ldexp(whole, -grid.fine)), [p.numel() for _, p in named])
    return {name: part.reshape(p.shape) for (name, p), part in zip(named, parts, strict=True)}


def test_a_step_is_the_clipped_sum_plus_noise_over_the_expected_batch(private):
    with pytest.warns(UserWarning, match="protects nobody"):
        loop, model = private(insecure_seed=5)
    grid = loop._gradients.plan.grid
    for step, batch in zip((1, 2), loop, strict=False):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        wanted = clipped_loop(model, batch.items)
        loop.step(batch)
        noise = noise_of_seed(5, step, grid, model)
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        for (name, p), part in zip(trained, wanted, strict=True):
            gradient = (before[name].double() - p.detach().double()) / 0.5
            torch.testing.assert_close(gradient * BATCH, part + noise[name], atol=2e-5, rtol=1e-6)


def test_the_promised_epsilon_is_kept_and_the_printed_one_is_the_ledger_s(private, spent):
    loop, _ = private(noise_multiplier=None, epsilon=3.0)
    for batch in loop:
        loop.step(batch)
    assert loop.steps == STEPS
    assert loop.remaining == 0
    assert loop.epsilon == spent().epsilon <= 3.0
    # A noise multiplier of four digits leaves less than a thousandth of the budget unused.
    assert loop.epsilon > 2.99
    assert spent().released == STEPS


def test_a_network_learns_privately(private, points):
    loop, model = private()
    for batch in loop:
        loop.step(batch)
    whole = collate(points)
    accuracy = float((model(whole["x"]).argmax(1) == whole["y"]).double().mean())
    # 200 well separated points, noise of 1.5 clips on 20: an untrained network is right on about half.
    assert accuracy > 0.9


def test_samples_are_poisson(private, points):
    """Each record independently with probability q: sizes vary as a binomial does (error rate 1e-6)."""
    loop, _ = private(steps=60, noise_multiplier=20.0)
    sizes = []
    for batch in loop:
        sizes.append(len(batch))
        loop.step(batch)
    rate = BATCH / RECORDS
    spread = (RECORDS * rate * (1 - rate)) ** 0.5
    assert abs(np.mean(sizes) - BATCH) < 4.9 * spread / 60**0.5
    assert 0.5 * spread < np.std(sizes) < 1.6 * spread


def test_an_empty_sample_is_noise_alone_and_accounted(private, spent):
    loop, model = private(steps=3, sample_rate=1e-9, noise_multiplier=NOISE)
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    batch = next(iter(loop))
    assert len(batch) == 0
    loop.step(batch)
    moved = [p for p in model.parameters() if p.requires_grad]
    assert all(bool((a != b).any()) for a, b in zip(before, moved, strict=True))
    assert spent().released == 1


def test_the_ledger_hears_of_a_step_before_it_is_computed_and_never_how_many_records(private, rows):
    model = network()
    kinds = []

    def spying(model, batch):
        if torch.is_grad_enabled() and seen:
            kinds.append([row.kind for row in rows()])
        return losses(model, batch)

    seen = []
    loop, _ = private(model, losses=spying)
    batch = next(iter(loop))
    seen.append(batch)
    loop.step(batch)
    assert kinds
    assert all(found == ["BUDGET", "PLAN", "RESERVE"] for found in kinds)
    assert [row.kind for row in rows()] == ["BUDGET", "PLAN", "RESERVE", "RELEASE"]
    assert set(rows()[3].body["details"]) == {"aggregate"}
    assert rows()[1].body["details"]["reports"] == []


def test_a_refused_step_moves_nothing(private, rows):
    loop, model = private()
    for step, batch in enumerate(loop):
        if step == 2:
            with open_ledger() as ledger:
                (budget,) = ledger.datasets()
                ledger.set_budget(budget.dataset, budget.name, 0.01, budget.delta)
            before = {name: p.detach().clone() for name, p in model.named_parameters()}
            length = len(rows())
            with pytest.raises(BudgetExceeded, match=r"is spent and 0\.01 allowed"):
                loop.step(batch)
            break
        loop.step(batch)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())
    assert len(rows()) == length


def test_a_second_run_on_the_same_data_is_refused_in_whatever_order(private, points):
    budget = fedpriv.Budget(COST, 1e-4)
    loop, _ = private(budget=budget)
    for batch in loop:
        loop.step(batch)
    again, _ = private(data=points[::-1], budget=budget)
    with pytest.raises(BudgetExceeded, match="takes the whole budget"):
        next(iter(again))


def test_another_form_of_the_data_shares_its_budget_by_a_given_fingerprint(private, points):
    budget = fedpriv.Budget(COST, 1e-4, fingerprint="0f" * 16)
    loop, _ = private(budget=budget)
    for batch in loop:
        loop.step(batch)
    other = [{**point, "x": point["x"] * 2} for point in points]
    again, _ = private(data=other, budget=budget)
    with pytest.raises(BudgetExceeded):
        next(iter(again))


def test_a_budget_in_force_stands_and_is_said(private):
    loop, _ = private()
    loop.step(next(iter(loop)))
    with pytest.warns(UserWarning, match="epsilon = 8 at delta = 0.0001 in the ledger, which stands"):
        private(budget=fedpriv.Budget(2, 1e-4))


def test_leaving_early_and_coming_back_goes_on_with_the_same_sample(private, spent):
    loop, _ = private()
    for batch in loop:
        left = batch
        break
    again = next(iter(loop))
    assert again is left
    loop.step(again)
    loop.finish()
    assert loop.epsilon == spent().epsilon
    assert loop.planned_epsilon >= loop.epsilon
    assert list(loop) == []


def test_samples_cannot_be_picked(private):
    loop, _ = private()
    drawn = iter(loop)
    first = next(drawn)
    with pytest.raises(UsageError, match="drawn and not stepped"):
        next(drawn)
    loop.step(first)
    with pytest.raises(UsageError, match="not the Poisson sample"):
        loop.step(first)


def test_metrics_are_kept_where_asked_for_and_declared(private, tmp_path):
    silent, _ = private()
    silent.step(next(iter(silent)))
    with pytest.raises(UsageError, match="no noise covers"):
        silent.metrics  # noqa: B018 - the access is the test
    loop, model = private(
        metrics=True, budget=fedpriv.Budget(8, 1e-4, ledger=tmp_path / "other.sqlite"), micro_batch=7
    )
    batch = next(iter(loop))
    with torch.no_grad():
        wanted = float(losses(model, collate(batch.items)).double().mean())
    loop.step(batch)
    assert loop.metrics["records"] == len(batch)
    assert loop.metrics["loss"] == pytest.approx(wanted, rel=1e-5)
    with open_ledger(tmp_path / "other.sqlite") as ledger:
        (known,) = ledger.datasets()
        plan = ledger.rows(known.dataset)[1]
    assert "loss" in plan.body["details"]["reports"]


def test_a_seed_repeats_a_run_and_says_that_it_protects_nobody(private, tmp_path):
    ends = []
    for ledger in ("a.sqlite", "b.sqlite"):
        with pytest.warns(UserWarning, match="protects nobody"):
            loop, model = private(insecure_seed=1, budget=fedpriv.Budget(8, 1e-4, ledger=tmp_path / ledger))
        assert "INSECURE" in repr(loop)
        loop.step(next(iter(loop)))
        with open_ledger(tmp_path / ledger) as opened:
            (budget,) = opened.datasets()
            assert "insecure" in opened.rows(budget.dataset)[1].body["details"]["randomness"]
        ends.append(model[0].weight.detach().clone())
    assert torch.equal(*ends)


def test_without_a_seed_no_two_runs_are_alike(private, tmp_path):
    ends = []
    for ledger in ("a.sqlite", "b.sqlite"):
        loop, model = private(sample_rate=1e-9, budget=fedpriv.Budget(8, 1e-4, ledger=tmp_path / ledger))
        loop.step(next(iter(loop)))
        ends.append(model[0].weight.detach().clone())
    assert not bool((ends[0] == ends[1]).any())


@pytest.mark.parametrize("engine", ["direct", "one-by-one", "opacus"])
@pytest.mark.parametrize("clipping", ["flat", "per-layer", "automatic"])
def test_every_engine_and_clipping_keeps_to_the_clip(private, points, engine, clipping):
    loop, _ = private(engine=engine, clipping=clipping)
    inner = loop._gradients
    batch = loop._gradients._sampler.draw(Keystream(bytes(32)).words)
    batch.items = points[:1]
    sums = inner._sums(batch)
    assert sum(float(part.square().sum()) for part in sums.values()) ** 0.5 <= CLIP


def test_one_record_more_moves_the_sum_by_no_more_than_the_clip_whatever_the_padding(private, points):
    """Others' gradients may move in their last places: by less than a tenth of the room for it."""
    loop, _ = private(micro_batch=7)
    inner = loop._gradients
    batch = inner._sampler.draw(Keystream(bytes(32)).words)
    for extra in range(5):
        batch.items = points[10:60]
        without = inner._sums(batch)
        batch.items = [points[extra], *points[10:60]]
        with_it = inner._sums(batch)
        batch.items = points[extra : extra + 1]
        alone = inner._sums(batch)
        moved = sum(float((with_it[n] - without[n] - alone[n]).square().sum()) for n in alone) ** 0.5
        assert moved < 0.1 * CLIP * 2.0**-10


def test_mixed_precision_keeps_to_the_clip_and_sums_in_full(private, points):
    loop, _ = private(autocast=torch.bfloat16)
    inner = loop._gradients
    batch = inner._sampler.draw(Keystream(bytes(32)).words)
    for record in range(20):
        batch.items = points[record : record + 1]
        with torch.autocast("cpu", dtype=torch.bfloat16):  # as a caller's own loop may have it
            sums = inner._sums(batch)
        assert sum(float(part.square().sum()) for part in sums.values()) ** 0.5 <= CLIP
    loop.step(next(iter(loop)))


def test_a_memory_budget_decides_how_many_records_a_pass_takes(private):
    sizes = [private(memory=kib << 10)[0]._gradients._micro_batch for kib in (16, 64, 256)]
    assert 1 <= sizes[0] < sizes[1] < sizes[2]
    loop, _ = private(memory=16 << 10)
    loop.step(next(iter(loop)))
    with pytest.raises(UsageError, match="one record takes"):
        private(memory=100)
    with pytest.raises(UsageError, match="twice"):
        private(memory=1 << 20, micro_batch=4)


def test_a_frozen_weight_that_moves_is_named(private):
    model = network()
    loop, _ = private(model)
    with torch.no_grad():
        model[2].weight.add_(1e-3)
    before = model[0].weight.detach().clone()
    with pytest.raises(IntegrityError, match=r"'2\.weight' has changed"):
        loop.step(next(iter(loop)))
    assert torch.equal(before, model[0].weight)


def test_a_frozen_weight_that_moved_behind_torch_s_back_is_found_at_the_end(private):
    model = network()
    loop, _ = private(model)
    loop.step(next(iter(loop)))
    model[2].weight.data[0] = 7.0
    with pytest.raises(IntegrityError, match=r"'2\.weight' has changed"):
        loop.finish()


def test_what_is_trained_cannot_change_on_the_way(private):
    loop, model = private()
    loop.step(next(iter(loop)))
    model[2].requires_grad_(True)
    with pytest.raises(UsageError, match=r"does not hold '2\.weight'"):
        loop.step(next(iter(loop)))


class Noisy(Dataset):
    def __len__(self):
        return RECORDS

    def __getitem__(self, index):
        return {"x": torch.randn(5), "y": 0}


def test_records_that_change_from_look_to_look_need_a_fingerprint(private):
    with pytest.raises(UsageError, match="another one each time it is read") as caught:
        private(data=Noisy())
    assert "Budget(fingerprint=" in caught.value.hint
    loop, _ = private(data=Noisy(), budget=fedpriv.Budget(8, 1e-4, fingerprint="ab" * 8))
    loop.step(next(iter(loop)))


class Stream(IterableDataset):
    def __iter__(self):
        yield {"x": torch.zeros(5), "y": 0}


def loader(points, **options):
    return DataLoader(points, collate_fn=collate, **options)


def test_ways_of_sampling_that_are_not_poisson_are_refused(private, points):
    weighted = WeightedRandomSampler([1.0] * RECORDS, RECORDS)
    with pytest.raises(UnsafeParameters, match="WeightedRandomSampler"):
        private(loader=loader(points, batch_size=BATCH, sampler=weighted))
    with pytest.raises(UnsafeParameters, match="sampler of one's own"):
        private(loader=loader(points, batch_sampler=[[0, 1], [2]]))
    with pytest.raises(UsageError, match="drop_last"):
        private(loader=loader(points, batch_size=BATCH, drop_last=True))
    with pytest.raises(UsageError, match="stream"):
        private(loader=loader(Stream(), batch_size=BATCH))
    with pytest.raises(UsageError, match="not a torch"):
        private(loader=[1])


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), 1.5])
def test_a_run_that_wants_more_than_the_budget_or_nothing_is_refused(private, epsilon):
    with pytest.raises(UsageError, match=r"budget of 1$"):
        private(epsilon=epsilon, noise_multiplier=None, budget=fedpriv.Budget(1.0, 1e-4))


def test_no_noise_is_no_answer(private):
    with pytest.raises(UsageError, match="noise multiplier must be positive"):
        private(noise_multiplier=0.0)
    with pytest.raises(UsageError, match="must lie in"):
        private(sample_rate=1.5)


def test_a_delta_of_one_over_n_is_refused(private):
    with pytest.raises(UnsafeParameters, match="too large for 200 records"):
        private(budget=fedpriv.Budget(8, 1 / RECORDS))


def test_an_optimizer_holds_exactly_what_is_trained(private):
    with pytest.raises(UsageError, match=r"does not hold '3\.bias'"):
        private(optimizer=lambda trained: torch.optim.SGD(trained[:-1], lr=0.1))
    other = nn.Parameter(torch.zeros(1))
    with pytest.raises(UsageError, match="holds 1 tensors"):
        private(optimizer=lambda trained: torch.optim.SGD([*trained, other], lr=0.1))
    with pytest.raises(UsageError, match="L-BFGS"):
        private(optimizer=torch.optim.LBFGS)


def test_a_loss_over_the_batch_is_refused_before_anything_is_planned(private, home):
    def mean(model, batch):
        return losses(model, batch).mean().expand(len(batch["y"]))

    with pytest.raises(UnsafeParameters, match="not that of the record alone"):
        private(losses=mean)
    assert not (home / "ledger.sqlite").exists()


def test_a_model_of_no_known_class_needs_losses(private):
    with pytest.raises(UsageError, match="no loss a record is known for a Sequential"):
        private(losses=None)


def test_an_epoch_is_so_many_steps_that_each_record_is_expected_once(private):
    loop, _ = private(steps=None, epochs=2.5)
    assert loop.remaining == 25
    with pytest.raises(UsageError, match="steps or epochs"):
        private(epochs=1)


def test_a_with_block_closes_the_run_unless_it_raised(private, spent):
    loop, _ = private()

    def interrupted(batch):
        loop.step(batch)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), loop:
        interrupted(next(iter(loop)))
    assert loop.remaining == STEPS - 1
    with loop:
        pass
    assert loop.remaining == 0
    assert spent().released == 1
