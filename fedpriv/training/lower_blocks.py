"""The blocks of a model below the first trained one: found, run by themselves, and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fedpriv.errors import IntegrityError, UsageError
from fedpriv.training.replaced import replaced
from fedpriv.training.task import evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["LowerBlocks"]


class _Reached(Exception):  # noqa: N818 (a way out, not an error)
    """Leaves the forward pass below the first trained block, with what that block would be given."""

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class LowerBlocks:
    """The frozen blocks at the bottom of ``model``: there is at least one; make it with :meth:`of`."""

    def __init__(self, model: nn.Module, blocks: list[nn.Module], upper: list[nn.Module]) -> None:
        self.model = model
        self.blocks = blocks
        # Also what lies beside the blocks: which of it is above and which below does not show.
        above = {id(p) for block in upper for p in block.parameters()}
        self._frozen = [
            (name, p, p._version)
            for name, p in model.named_parameters()
            if id(p) not in above and not p.requires_grad
        ]

    @classmethod
    def of(cls, model: nn.Module, inputs: Mapping[str, Any]) -> LowerBlocks | None:
        """The blocks of a transformers model that need not be run again once their last output is known.

        ``None`` where the model has no single list of blocks, where its lowest block is trained or something
        below it is, where blocks do not hand one tensor to the next, or where more of the model looks at them
        than the next block.  All but the first is tried on ``inputs``, one record's keyword arguments.
        """
        import torch

        found = _block_list(model)
        if found is None:
            return None
        name, blocks = found
        trained = [
            int(parameter[len(name) + 1 :].partition(".")[0])
            for parameter, p in model.named_parameters()
            if p.requires_grad and parameter.startswith(f"{name}.")
        ]
        first = min(trained, default=len(blocks))
        lower = cls(model, list(blocks)[:first], list(blocks)[first:])
        passed: list[bool] = []

        def look(module: nn.Module, args: Any, output: Any) -> None:
            passed.append(torch.is_tensor(output) and not output.requires_grad)

        handles = [block.register_forward_hook(look) for block in lower.blocks]
        try:
            with evaluating(model), torch.enable_grad():
                whole = _tensors(model(**inputs))
        finally:
            for handle in handles:
                handle.remove()
        if not passed or len(passed) != first or not all(passed):
            return None
        hidden = lower.states(inputs)
        with evaluating(model), torch.no_grad(), lower.left_out(lambda _: hidden):
            above = _tensors(model(**inputs))
        same = len(whole) == len(above) and all(
            a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4)
            for a, b in zip(whole, above, strict=True)
        )
        return lower if same else None

    def states(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """What the last of them hands on for these inputs: shape (b, positions, hidden), no dropout."""
        import torch

        from fedpriv.training.matmul import fast_linear

        def stop(module: nn.Module, args: Any, output: Any) -> None:
            raise _Reached(output)

        handle = self.blocks[-1].register_forward_hook(stop)
        try:
            with fast_linear(), evaluating(self.model), torch.no_grad():
                self.model(**inputs)
        except _Reached as reached:
            return reached.hidden
        finally:
            handle.remove()
        raise UsageError("the model's forward pass did not come to its trained block")

    @contextmanager
    def left_out(
        self,
        states: Callable[[torch.Tensor], torch.Tensor],
        compared: Callable[[torch.Tensor], None] | None = None,
    ) -> Iterator[None]:
        """Within this the blocks do nothing, and the last hands on ``states(what the first was given)``.

        With ``compared`` they are run all the same, and it is called with their result.
        """
        import torch

        def unchanged(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            return hidden_states

        def known(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            handed_on = states(hidden_states)
            if compared is not None:
                with torch.no_grad():
                    compared(last(hidden_states, *args, **kwargs))
            return handed_on

        last = self.blocks[-1].forward
        forwards = dict.fromkeys(self.blocks, unchanged) if compared is None else {}
        with replaced({**forwards, self.blocks[-1]: known}):
            yield

    def verify(self) -> None:
        """Check that what was frozen below still is, and is what it was.

        Raises:
            IntegrityError: a weight was written to.
            UsageError: a weight is trained now.
        """
        for name, parameter, version in self._frozen:
            if parameter.requires_grad:
                raise UsageError(
                    f"{name!r} is trained now, but hidden states were kept while it was frozen",
                    hint="choose what is trained before FrozenPrefix.over",
                )
            if parameter._version != version:
                raise IntegrityError(f"the frozen weight {name!r} has changed since hidden states were kept")


def _block_list(model: nn.Module) -> tuple[str, nn.ModuleList] | None:
    """The name and list of the model's blocks; ``None`` unless exactly one list is as long as it is deep."""
    from torch import nn

    layers = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers and layers
    ]
    return lists[0] if len(lists) == 1 else None


def _tensors(output: Any) -> list[torch.Tensor]:
    """The floating-point tensors of a model's output; caches of keys and values are left out."""
    import torch

    if torch.is_tensor(output):
        return [output.detach()] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [t for value in output.values() for t in _tensors(value)]
    if isinstance(output, tuple | list):
        return [t for value in output for t in _tensors(value)]
    return []
