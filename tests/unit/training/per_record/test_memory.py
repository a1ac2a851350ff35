"""A budget of memory is kept by a real process, and one that holds nothing is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fedpriv.errors import UsageError
from fedpriv.training.per_record import PerRecordGradients

BUDGET = 200 << 20

PROCESS = f"""
import pathlib, torch, transformers
from torch.nn import functional
from fedpriv.training.per_record import PerRecordGradients

# The peak of this process, from now on: that of getrusage is inherited from whoever started it.
def peak(begin=False):
    if begin:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

torch.manual_seed(0)
model = transformers.BertForSequenceClassification(transformers.BertConfig(
    vocab_size=500, hidden_size=128, num_hidden_layers=4, num_attention_heads=4,
    intermediate_size=512)).eval()
batch = {{"input_ids": torch.randint(0, 500, (400, 64)), "labels": torch.randint(0, 2, (400,))}}
gradients = PerRecordGradients(model, lambda model, batch: functional.cross_entropy(
    model(batch["input_ids"]).logits, batch["labels"], reduction="none"))
part = lambda n: {{name: tensor[:n] for name, tensor in batch.items()}}
gradients.clipped_sum(part(2), clip=1.0)
fits = gradients.records_within(part(2), {BUDGET})
before = peak(begin=True)
gradients.clipped_sum(part(fits), clip=1.0)
print(fits, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_a_pass_of_as_many_records_as_fit_stays_within_the_budget_and_uses_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, check=True)
    fits, grew = (int(word) for word in done.stdout.split())
    assert 2 < fits < 400
    assert BUDGET / 4 < grew < BUDGET


def test_a_budget_that_holds_no_record_is_refused() -> None:
    gradients = PerRecordGradients(nn.Linear(300, 300), lambda model, x: model(x).square().sum(1))
    with pytest.raises(UsageError, match="one record takes"):
        gradients.records_within(torch.ones(3, 300), 1000)
    assert gradients.records_within(torch.ones(3, 300), 10**8) > 50
