"""Gradient checkpointing of both kinds: blocks run again on the way back, sums stay what they were."""

from __future__ import annotations

import pytest
import torch
from parties.small_models import base_of, batch_of, losses, model_of

from fedpriv.training.per_record import PerRecordGradients


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize(
    ("family", "method"),
    [
        ("bert", "lora"),
        ("bert", "dora"),
        ("bert", "full"),
        ("gpt2", "adalora"),
        ("gpt2", "full"),
        ("llama", "ia3"),
        ("llama", "full"),
    ],
)
def test_checkpoints_leave_the_sum_as_it_was(family, method, reentrant):
    batch = batch_of(family, 7)
    plain = PerRecordGradients(model_of(family, method).train(), losses)
    model = model_of(family, method).train()
    inner = base_of(model)
    inner.activation_checkpointing_enable({"use_reentrant": reentrant})
    inner.enable_input_require_grads()
    passes = _count_passes(inner)
    engine = PerRecordGradients(model, losses)
    sums = []
    for one in (plain, engine, engine):
        one.clipped_sum(batch, clip=0.5)  # the trial is behind it
        passes.clear()
        torch.manual_seed(5)  # dropout
        sums.append(one.clipped_sum(batch, clip=0.5))
    expected, found, again = sums
    assert len(passes) == 2, "a checkpointed block runs forward twice"
    for name, value in expected.sums.items():
        torch.testing.assert_close(found.sums[name], value, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(again.sums[name], value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.norms, expected.norms, rtol=1e-5, atol=0.0)


def _count_passes(model: torch.nn.Module) -> list[int]:
    """One entry for each forward pass through a part of the first block."""
    passes: list[int] = []
    names = ("mlp.c_fc", "layers.0.mlp.up_proj", "layer.0.intermediate.dense")
    part = next(
        module
        for name, module in model.named_modules()
        if name.endswith(names) and ".1." not in name.replace("h.1", ".1.")
    )
    part.register_forward_hook(lambda *_: passes.append(1))
    return passes
