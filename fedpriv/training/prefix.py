"""The frozen prefix: hidden states below the first trained block, computed once for a record.

They are a function of the record and of frozen weights alone, so every later visit of the record may start
above them.  They are kept in single precision: in half precision the last places that padding moves would
now and then be rounded to a different number, and what one record's presence may do to another's gradient
(``protocols/dp/spec.md``, 2.5) would grow.

What is kept is a copy of the records in another form and needs the same protection.  Without a folder it
lives in memory and dies with the process.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError
from fedpriv.peft import Manifest
from fedpriv.training.frozen import FrozenWeights
from fedpriv.training.task import Encoded, SequenceClassification, evaluating

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["FrozenPrefix", "keep_prefixes"]

_DOMAIN = b"fedpriv/training/prefix/1\0"
_BETWEEN_SAVES = 30.0  # seconds


class _Reached(Exception):  # noqa: N818 (a way out, not an error)
    """Leaves the forward pass below the first trained block, with what that block would be given."""

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class FrozenPrefix:
    """Hidden states of the records of ``encoded``, filled as records are visited.

    ``states`` is float32, shape (tokens of all records, hidden size); ``known`` says of which records it
    holds anything.  Make one with :meth:`of`, which says when there is nothing to gain.
    """

    def __init__(
        self,
        task: SequenceClassification,
        encoded: Encoded,
        *,
        blocks: nn.ModuleList,
        first: int,
        states: NDArray[np.float32],
        known: NDArray[np.bool_],
        index: Path | None,
    ) -> None:
        self._task = task
        self._encoded = encoded
        self._blocks = blocks
        self._first = first
        self._states = states
        self._known = known
        self._index = index
        self._save_from = time.monotonic() + _BETWEEN_SAVES

    @classmethod
    def of(
        cls,
        task: SequenceClassification,
        manifest: Manifest,
        encoded: Encoded,
        *,
        budget: int,
        weights: str,
        folder: Path | None = None,
    ) -> FrozenPrefix | None:
        """The prefix of ``task``'s model on ``encoded``, empty or as an earlier process left it.

        Args:
            budget: bytes that it may take.
            weights: digest of the frozen weights, which with the tokens names the file.
            folder: where the states are kept for later processes; ``None``: in memory.

        Returns:
            ``None`` where no whole block lies below the trained parameters, where the model's blocks do not
            pass on one tensor, or where the states would not fit into ``budget``.
        """
        found = _first_trained_block(task.model, manifest)
        if found is None or not len(encoded):
            return None
        blocks, first = found
        shape = (int(encoded.offsets[-1]), int(task.model.config.hidden_size))  # type: ignore[union-attr, arg-type]
        if 4 * shape[0] * shape[1] > budget:
            return None
        if not _passes_on_one_tensor(task, encoded, blocks, first):
            return None
        known = np.zeros(len(encoded), dtype=np.bool_)
        if folder is None:
            states = np.zeros(shape, dtype=np.float32)
            return cls(task, encoded, blocks=blocks, first=first, states=states, known=known, index=None)
        name = _digest(weights, first, encoded)
        path, index = folder / f"{name}.f32", folder / f"{name}.known"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            kept = path.exists() and path.stat().st_size == 4 * shape[0] * shape[1] and index.exists()
            if not kept:
                index.unlink(missing_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            states = np.memmap(path, dtype=np.float32, mode="r+" if kept else "w+", shape=shape)
            if kept:
                stored = np.fromfile(index, dtype=np.bool_)
                known = stored if stored.shape == known.shape else known
        except OSError as error:
            raise UsageError(
                f"the folder {folder} cannot keep hidden states: {error.strerror}",
                hint="choose another in training.prefix_folder, or leave it out",
            ) from None
        return cls(task, encoded, blocks=blocks, first=first, states=states, known=known, index=index)

    def covers(self, encoded: Encoded) -> bool:
        """Whether these are the records that the states belong to."""
        return encoded is self._encoded

    @property
    def nbytes(self) -> int:
        """Size of the states of all records, filled in or not."""
        return int(self._states.nbytes)

    def save(self) -> None:
        """Make what was filled in available to later processes; nothing where there is no folder.

        Called once all is filled in, and now and then before: to wait for the disk takes time.
        """
        if self._index is None or not isinstance(self._states, np.memmap):
            return
        self._states.flush()  # before the index says that it is there
        self._save_from = time.monotonic() + _BETWEEN_SAVES
        beside = self._index.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            self._known.tofile(file)
        beside.replace(self._index)

    @contextmanager
    def standing_in(self, batch: NDArray[np.int64]) -> Iterator[None]:
        """Within this, a forward pass over the records ``batch`` starts at the first trained block."""
        import torch

        self._fill(batch[~self._known[batch]])
        hidden = torch.from_numpy(self._padded(batch)).to(next(self._task.model.parameters()).device)

        with _skipped(self._blocks, self._first, hidden):
            yield

    def _padded(self, batch: NDArray[np.int64]) -> NDArray[np.float32]:
        """States of shape (b, longest, hidden), zero where there is no token: attention leaves it out."""
        lengths = self._encoded.lengths[batch]
        padded = np.zeros((len(batch), int(lengths.max()), self._states.shape[1]), dtype=np.float32)
        for row, record in enumerate(batch):
            start, stop = self._encoded.offsets[record], self._encoded.offsets[record + 1]
            padded[row, : stop - start] = self._states[start:stop]
        return padded

    def _fill(self, records: NDArray[np.int64]) -> None:
        if not len(records):
            return
        hidden = _capture(self._task, self._encoded, records, self._blocks[self._first - 1]).cpu().numpy()
        for row, record in enumerate(records):
            start, stop = self._encoded.offsets[record], self._encoded.offsets[record + 1]
            self._states[start:stop] = hidden[row, : stop - start]
        self._known[records] = True
        if self._known.all() or time.monotonic() > self._save_from:
            self.save()


def keep_prefixes(
    task: SequenceClassification,
    manifest: Manifest,
    records: Sequence[Encoded],
    *,
    budget: int,
    folder: Path | None = None,
) -> None:
    """From now on ``task`` remembers the hidden states of ``records`` below the first trained block.

    ``budget`` is in bytes, for all of them; records whose states do not fit are computed anew each time, as
    are those of models for which this is not known to be exact.
    """
    if not budget:
        return
    # Names the file, so without a folder it is not worth reading every weight for.
    weights = "" if folder is None else FrozenWeights.of(task.model, manifest).digest()
    for encoded in records:
        prefix = FrozenPrefix.of(task, manifest, encoded, budget=budget, weights=weights, folder=folder)
        if prefix is not None:
            task.prefixes.append(prefix)
            budget -= prefix.nbytes


def _first_trained_block(model: nn.Module, manifest: Manifest) -> tuple[nn.ModuleList, int] | None:
    """The model's list of blocks and the index of the lowest trained one; ``None`` where it is the lowest.

    Where no block is trained (``head``) the index is their number.

    Trained parameters outside the list are the head's, or are found out by :func:`_passes_on_one_tensor`.
    """
    from torch import nn

    layers = int(getattr(model.config, "num_hidden_layers", 0) or 0)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers
    ]
    if len(lists) != 1:
        return None
    name, blocks = lists[0]
    trained = [
        int(entry.name[len(name) + 1 :].partition(".")[0])
        for entry in manifest.entries
        if entry.name.startswith(f"{name}.")
    ]
    first = min(trained, default=layers)
    return (blocks, first) if first > 0 else None


def _capture(
    task: SequenceClassification, encoded: Encoded, records: NDArray[np.int64], block: nn.Module
) -> torch.Tensor:
    """What ``block`` hands on for these records, shape (b, longest, hidden)."""
    import torch

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        raise _Reached(output)

    handle = block.register_forward_hook(stop)
    try:
        with evaluating(task.model), torch.no_grad():
            task.logits(encoded, records, whole=True)
    except _Reached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise UsageError("the model's forward pass did not come to its trained block")


def _passes_on_one_tensor(
    task: SequenceClassification, encoded: Encoded, blocks: nn.ModuleList, first: int
) -> bool:
    """Whether blocks hand one tensor to the next, and nothing trained lies below the first trained block."""
    import torch

    fixed: list[bool] = []

    def look(module: nn.Module, args: Any, output: Any) -> None:
        fixed.append(torch.is_tensor(output) and not output.requires_grad)

    handles = [blocks[i].register_forward_hook(look) for i in range(first)]
    try:
        with evaluating(task.model), torch.enable_grad():
            task.logits(encoded, np.zeros(1, dtype=np.int64), whole=True)
    finally:
        for handle in handles:
            handle.remove()
    return len(fixed) == first and all(fixed)


@contextmanager
def _skipped(blocks: nn.ModuleList, first: int, hidden: torch.Tensor) -> Iterator[None]:
    """The blocks below ``first`` do nothing, and the last of them hands on ``hidden``."""
    originals: list[tuple[nn.Module, Callable[..., Any] | None]] = []

    def unchanged(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return hidden_states

    def known(*_: Any, **__: Any) -> torch.Tensor:
        return hidden

    for i in range(first):
        block = blocks[i]
        originals.append((block, block.__dict__.get("forward")))
        block.forward = known if i == first - 1 else unchanged
    try:
        yield
    finally:
        for block, original in originals:
            if original is None:
                del block.__dict__["forward"]
            else:
                block.forward = original


def _digest(weights: str, first: int, encoded: Encoded) -> str:
    """Names the states by all that they depend on."""
    whole = hashlib.sha256(_DOMAIN)
    whole.update(weights.encode() + b"\0" + str(first).encode() + b"\0")
    whole.update(encoded.tokens.astype("<i4").tobytes())
    whole.update(encoded.offsets.astype("<i8").tobytes())
    return whole.hexdigest()
