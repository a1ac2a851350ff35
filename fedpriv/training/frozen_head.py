"""Losses of next tokens without their logits, where the map to the vocabulary is frozen.

The logits of t tokens over a vocabulary of V are t V numbers, and a loss by way of PyTorch holds them three
times: the logits, their softmax, and the gradient; for many models more than everything else.  A frozen map
needs no gradient of its own, and a token's loss depends on its own hidden state alone.  So a block of tokens
at a time goes through the map and back at once, and what stays is one gradient for each hidden state.
Positions without a target are left out.  Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models,
ICLR 2025, do so block by block of the vocabulary, in a kernel of their own; this is in plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from fedpriv.training.matmul import product
from fedpriv.training.replaced import replaced
from fedpriv.training.task import evaluating

__all__ = ["FrozenHead"]

# Logits that are held at once, 32 MiB; but no fewer rows than a product takes at a time.
_LOGITS: Final = 2**23
_ROWS: Final = 128


class FrozenHead:
    """The last map of a causal language model, left out of the model's pass and gone through in blocks.

    Args:
        linear: the map, (vocabulary, hidden); `of` finds it.
    """

    def __init__(self, linear: nn.Linear) -> None:
        self._linear = linear

    @classmethod
    def of(cls, model: nn.Module) -> FrozenHead | None:
        """The head of a Hugging Face model, inside of a PEFT model or not.

        None where the model has none, or does something to what the head gives (a scale, a cap): that is seen
        on four tokens, for which the head gives made-up numbers, that must come out as they are.
        """
        linear = _last_map(model)
        if linear is None:
            return None
        place = linear.weight.device
        ids = torch.arange(1, 5, device=place)[None] % linear.out_features
        made = torch.empty(0)

        def made_up(hidden: torch.Tensor) -> torch.Tensor:
            nonlocal made
            size = hidden.shape[:-1].numel() * linear.out_features
            steps = torch.arange(size, device=hidden.device) % 199 - 99
            made = steps.to(hidden.dtype).reshape(*hidden.shape[:-1], linear.out_features)
            return made

        try:
            with evaluating(model), torch.no_grad(), replaced({linear: made_up}):
                found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):  # it takes something else
            return None
        same = found.shape == made.shape and bool((found == made.to(found.dtype)).all())
        return cls(linear) if same else None

    def serves(self, model: nn.Module) -> bool:
        """Whether ``model``, as it is now, ends in this head, frozen, and computes in one precision."""
        linear = self._linear
        watched = linear._forward_hooks or linear._forward_pre_hooks or linear._backward_hooks
        moved = "forward" in vars(linear)  # by a library that fetches weights when they are needed
        return (
            _last_map(model) is linear
            and not any(parameter.requires_grad for parameter in linear.parameters())
            and not (watched or moved)
            and not torch.is_autocast_enabled(linear.weight.device.type)
        )

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Within this the model's ``logits`` are hidden states, (b, t, hidden)."""
        with replaced({self._linear: _as_it_is}):
            yield

    def over_own_tokens(self, hidden: torch.Tensor, labels: torch.Tensor, ignored: int) -> torch.Tensor:
        """Mean cross-entropy of each record over its own targets, shape (b,), float32.

        Args:
            hidden: shape (b, t, hidden), as the model gives it with the head left out.
            labels: shape (b, t), ``ignored`` where there is no target; a record without any has loss 0.
        """
        there, linear = labels != ignored, self._linear
        each: torch.Tensor = _TokenLosses.apply(hidden[there], linear.weight, linear.bias, labels[there])  # type: ignore[no-untyped-call]
        sums = each.new_zeros(len(labels)).index_add(0, there.nonzero()[:, 0], each)
        return sums / there.sum(1).clamp_min(1)


class _TokenLosses(torch.autograd.Function):
    """Cross-entropy of each row, shape (n,); the gradient is computed on the way there."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
    ) -> torch.Tensor:
        wanted, count = ctx.needs_input_grad[0], len(hidden)
        if 0 < (spare := -count % _ROWS) < _ROWS // 2:  # the last few cost more than a full block
            hidden = torch.cat([hidden, hidden.new_zeros(spare, hidden.shape[1])])
            targets = torch.cat([targets, targets.new_zeros(spare)])
        losses = hidden.new_empty(len(hidden), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if wanted else None
        rows = max(_ROWS, _LOGITS // len(weight) // _ROWS * _ROWS)
        for start in range(0, len(hidden), rows):
            block = slice(start, start + rows)
            logits = product(hidden[block], weight.t(), bias).float()
            most = logits.amax(1, keepdim=True)
            named = logits.gather(1, targets[block, None])
            total = logits.sub_(most).exp_().sum(1, keepdim=True)
            losses[block] = (total.log() + most - named)[:, 0]
            if gradient is not None:
                softmax = logits.div_(total)
                softmax.scatter_add_(1, targets[block, None], -torch.ones_like(named))
                gradient[block] = product(softmax.to(weight.dtype), weight)
        ctx.save_for_backward(None if gradient is None else gradient[:count])
        return losses[:count]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0][:, None].to(gradient.dtype), None, None, None


def _last_map(model: nn.Module) -> nn.Linear | None:
    """The map to the vocabulary as it stands in the model, where nothing is added to it."""
    asked: Any = getattr(model, "get_output_embeddings", None)
    found = None if asked is None else asked()
    return found if type(found) is nn.Linear else None


def _as_it_is(hidden: torch.Tensor) -> torch.Tensor:
    return hidden
