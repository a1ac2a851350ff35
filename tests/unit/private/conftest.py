"""Small models and data sets for private loops, and a ledger of each test's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import fedpriv
from fedpriv.ledger.home import open_ledger

RECORDS, BATCH, STEPS, NOISE, CLIP = 200, 20, 8, 1.5, 0.7
"""One plan for most tests, so that its price is computed once."""
COST = 0.924
"""That price at a delta of 1e-4, rounded up."""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The ledger's folder."""
    monkeypatch.setenv("FEDPRIV_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def points():
    """Records of five numbers and a class, which a small network tells apart."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.tensor([[2.0] * 5, [-2.0] * 5])
    return [
        {"x": centres[i % 2] + torch.randn(5, generator=generator), "y": i % 2, "name": f"record {i}"}
        for i in range(RECORDS)
    ]


def collate(items):
    return {
        "x": torch.stack([item["x"] for item in items]),
        "y": torch.tensor([item["y"] for item in items]),
    }


def losses(model, batch):
    return nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none")


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 2))
    model[2].requires_grad_(False)
    return model


@pytest.fixture
def private(points):
    """A maker of private loops over ``points`` with the plan above; returns loop and model."""

    def make(model=None, data=None, *, optimizer=None, loader=None, **options):
        model = network() if model is None else model
        data = points if data is None else data
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=0.5) if optimizer is None else optimizer(trained)
        if loader is None:
            loader = DataLoader(data, batch_size=BATCH, shuffle=True, collate_fn=collate)
        options = {
            "budget": fedpriv.Budget(8, 1e-4, data="points"),
            "steps": STEPS,
            "noise_multiplier": NOISE,
            "max_grad_norm": CLIP,
            "losses": losses,
            **options,
        }
        return fedpriv.make_private(model, optimizer, loader, **options), model

    return make


@pytest.fixture
def spent():
    """The ledger's word on the one data set in it."""

    def read():
        with open_ledger() as ledger:
            (budget,) = ledger.datasets()
            return ledger.spent(budget.dataset)

    return read


@pytest.fixture
def rows():
    """The ledger's rows on the one data set in it."""

    def read():
        with open_ledger() as ledger:
            (budget,) = ledger.datasets()
            return ledger.rows(budget.dataset)

    return read
