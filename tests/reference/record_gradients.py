"""Per-record clipped gradients the slow, obvious way: one record, one backward pass, no hooks, no padding."""

from __future__ import annotations

import numpy as np
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


def record_rows(model, losses, records) -> dict[str, np.ndarray]:
    """Float64 gradients, shape (records, *shape), by trained name: plain autograd, one record, one pass.

    ``records``: batches of one record each; ``losses``: (model, batch) -> shape (records,).
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in trained}
    for record in records:
        for parameter in trained.values():
            parameter.grad = None
        losses(model, record).sum().backward()
        for name, parameter in trained.items():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            rows[name].append(gradient.detach().double().numpy().copy())
            parameter.grad = None
    return {name: np.stack(found) for name, found in rows.items()}


def clipped(rows: dict[str, np.ndarray], clip: float, clipping: str = "flat") -> dict[str, np.ndarray]:
    """The sum of the clipped rows.  Clips are C (1 - 2**-10); a layer is the parameters of one module."""
    room = clip * (1 - 2**-10)
    squares = {name: (found.reshape(len(found), -1) ** 2).sum(1) for name, found in rows.items()}
    layers = sorted({name.rpartition(".")[0] for name in rows})
    sums = {}
    for name, found in rows.items():
        inside = [other for other in rows if other.rpartition(".")[0] == name.rpartition(".")[0]]
        if clipping == "flat":
            lengths = np.sqrt(sum(squares.values()))
            scale = np.minimum(1.0, room / np.maximum(lengths, 1e-300))
        elif clipping == "per-layer":
            lengths = np.sqrt(sum(squares[other] for other in inside))
            scale = np.minimum(1.0, room / np.sqrt(len(layers)) / np.maximum(lengths, 1e-300))
        else:
            scale = room / (np.sqrt(sum(squares.values())) + 0.01)
        sums[name] = np.tensordot(scale, found, 1)
    return sums
