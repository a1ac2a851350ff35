"""Per-record clipped gradients the slow, obvious way: one record, one backward pass, no hooks, no padding."""

from __future__ import annotations

import torch

from fedpriv.training import Encoded


def clipped_gradients(model, encoded: Encoded, indices, clip: float) -> torch.Tensor:
    """Float64 rows in the order of ``indices``; coordinates in the order of the sorted trained names."""
    model.eval()
    names = sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    parameters = dict(model.named_parameters())
    rows = []
    for index in indices:
        start, stop = encoded.offsets[index], encoded.offsets[index + 1]
        ids = torch.tensor(encoded.tokens[start:stop], dtype=torch.long)[None, :]
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        loss = -torch.log_softmax(logits, dim=-1)[0, int(encoded.labels[index])]
        gradients = torch.autograd.grad(loss, [parameters[name] for name in names])
        row = torch.cat([gradient.reshape(-1).double() for gradient in gradients])
        rows.append(row * min(1.0, clip / row.norm().item()))
    return torch.stack(rows) if rows else torch.zeros(0)
