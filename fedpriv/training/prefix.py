"""The frozen prefix: hidden states below the first trained block, computed once for a record.

They are a function of the record and of frozen weights alone, so every later visit of the record may start
above them.  In single precision they are computed in batches and are, to the bit, what the model would have
computed there: padding and other records may have moved their last places, as they do without a prefix.  In
half precision a last place that moved would now and then end as one of half precision, thousands of times as
large, and what one record's presence may do to another's gradient (``protocols/dp/spec.md``, 2.5) would grow.
So there each record is computed alone and without padding: its states are a function of the record to the
bit, and rounding them amplifies nothing.

What is kept is a copy of the records in another form and needs the same protection.  Without a folder it
lives in memory and dies with the process.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError
from fedpriv.peft import Manifest
from fedpriv.training.frozen import FrozenWeights
from fedpriv.training.lower_blocks import LowerBlocks

if TYPE_CHECKING:
    import torch
    from torch import nn

    from fedpriv.training.task import Records, Task

__all__ = ["PREFIX_DTYPES", "FrozenPrefix", "keep_prefixes"]

PREFIX_DTYPES: Final = ("float32", "float16")

Inputs = Callable[[NDArray[np.int64]], Mapping[str, Any]]
"""Record numbers, shape (b,) -> the model's keyword arguments for these records, padded on the right to the
longest of them: one record alone has no padding."""

_DOMAIN = b"fedpriv/training/prefix/2\0"
_BETWEEN_SAVES = 30.0  # seconds
# Of one position's state, relative.  Rounding stays below 1e-2; another token's state is about 1 away.
_DIFFERENT = 0.1


class FrozenPrefix:
    """Hidden states of records below the first trained block of a model, filled in as records are visited.

    Make one with :meth:`over`.  It goes with any model of transformers whose one list of blocks hands on one
    tensor (BERT, GPT-2, Llama, ViT, DINOv2 and their kin), and with any loss: what a loss adds is
    ``standing_in`` around its forward pass, and record numbers in its batches.

    >>> import torch, transformers
    >>> from fedpriv.training.per_record import PerRecordGradients
    >>> config = transformers.GPT2Config(vocab_size=16, n_embd=8, n_layer=2, n_head=2, pad_token_id=0)
    >>> model = transformers.GPT2ForSequenceClassification(config).eval().requires_grad_(False)
    >>> trained = model.transformer.h[1].requires_grad_(True)
    >>> texts = [[5, 9, 2], [7, 1], [4, 4, 8, 3]]
    >>> def padded(records):
    ...     rows = [torch.tensor(texts[record]) for record in records]
    ...     ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    ...     return {"input_ids": ids, "attention_mask": (ids != 0).long()}
    >>> prefix = FrozenPrefix.over(model, padded, records=3, lengths=[3, 2, 4], budget=1 << 20)
    >>> def losses(model, batch):
    ...     with prefix.standing_in(batch["record"]):
    ...         logits = model(input_ids=batch["ids"], attention_mask=batch["mask"]).logits
    ...     return torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none")
    >>> inputs = padded([2, 0])
    >>> batch = {"record": torch.tensor([2, 0]), "label": torch.tensor([1, 0])}
    >>> batch |= {"ids": inputs["input_ids"], "mask": inputs["attention_mask"]}
    >>> PerRecordGradients(model, losses).clipped_sum(batch, clip=1.0).norms.shape
    torch.Size([2])
    """

    def __init__(
        self,
        lower: LowerBlocks,
        inputs: Inputs,
        *,
        offsets: NDArray[np.int64],
        states: NDArray[Any],
        known: NDArray[np.bool_],
        index: Path | None,
    ) -> None:
        self._lower = lower
        self._inputs = inputs
        self._offsets = offsets
        self._states = states
        self._known = known
        self._index = index
        self._save_from = time.monotonic() + _BETWEEN_SAVES
        self._compared = False

    @classmethod
    def over(
        cls,
        model: nn.Module,
        inputs: Inputs,
        *,
        records: int,
        lengths: Sequence[int] | NDArray[np.int64] | None = None,
        budget: int,
        dtype: str = "float32",
        folder: Path | None = None,
        data: str | None = None,
    ) -> FrozenPrefix | None:
        """The prefix of ``model`` on records 0 to ``records`` - 1, empty or as an earlier process left it.

        Choose what is trained before.  Dropout below the first trained block is off.

        Args:
            inputs: record numbers -> keyword arguments of ``model``, right-padded (``Inputs``).
            lengths: how many positions each record has; ``None``: all as many as the first, as images.
            budget: bytes that it may take.
            dtype: ``float32``, or ``float16`` for half of that: each record is then computed alone.
            folder: where the states are kept for later processes; ``None``: in memory.
            data: with ``folder``, a digest of the records, which with the weights' names the file.

        Returns:
            ``None`` where no whole block lies below the trained parameters, where this is not exact for the
            model (``LowerBlocks.of``), or where the states would not fit into ``budget``.

        Raises:
            UsageError: an unknown ``dtype``, ``lengths`` that are not the records', a folder without
                ``data``, or one that cannot be written.
        """
        if dtype not in PREFIX_DTYPES:
            raise UsageError(
                f"{dtype!r} is not a precision of hidden states", hint=f"choose {' or '.join(PREFIX_DTYPES)}"
            )
        if folder is not None and data is None:
            raise UsageError("states kept in a folder need a digest of the records", hint="give data=...")
        if lengths is not None and len(lengths) != records:
            raise UsageError(f"{len(lengths)} lengths came with {records} records")
        if not records:
            return None
        one = inputs(np.zeros(1, dtype=np.int64))
        lower = LowerBlocks.of(model, one)
        if lower is None:
            return None
        positions, width = lower.states(one).shape[1:]
        each = np.full(records, positions) if lengths is None else np.asarray(lengths, dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(each)]).astype(np.int64)
        shape = (int(offsets[-1]), int(width))
        if np.dtype(dtype).itemsize * shape[0] * shape[1] > budget:
            return None
        known = np.zeros(records, dtype=np.bool_)
        if folder is None:
            memory = np.zeros(shape, dtype=dtype)
            return cls(lower, inputs, offsets=offsets, states=memory, known=known, index=None)
        depth = len(lower.blocks)
        weights = FrozenWeights.of(model, Manifest.of(model)).digest()
        name = _digest(weights, dtype, str(depth), str(data), offsets.astype("<i8").tobytes())
        states, known = _mapped(folder, name, dtype, shape, known)
        return cls(lower, inputs, offsets=offsets, states=states, known=known, index=folder / f"{name}.known")

    @property
    def nbytes(self) -> int:
        """Size of the states of all records, filled in or not."""
        return int(self._states.nbytes)

    @property
    def visited(self) -> NDArray[np.bool_]:
        """Of which records the states are there, shape (records,)."""
        return self._known.copy()

    def states(self, record: int) -> NDArray[Any]:
        """What is handed on for a record that was visited: shape (positions, hidden), in its dtype."""
        if not self._known[record]:
            raise UsageError(f"record {record} has not been visited")
        return np.array(self._states[self._offsets[record] : self._offsets[record + 1]])

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
    def standing_in(self, records: Sequence[int] | NDArray[np.int64] | torch.Tensor) -> Iterator[None]:
        """Within this, a forward pass over these records, in this order, starts at the first trained block.

        Records not visited before are computed first.  A record may stand there twice, and the batch may be
        padded further than its longest record, on the right.  Until a batch with padding has come by in
        evaluation mode, the lower blocks are run as well, to compare.

        Raises:
            UsageError: a record number out of range; in the forward pass, inputs that are not those of the
                records, or are padded on the left; states too large for half precision.
            IntegrityError: a frozen weight has changed since the states were kept.
        """
        import torch

        held = records.cpu().numpy() if torch.is_tensor(records) else records
        batch = np.asarray(held, dtype=np.int64).reshape(-1)
        if batch.size and not (batch.min() >= 0 and batch.max() < len(self._known)):
            raise UsageError(f"a record number is outside the {len(self._known)} records")
        self._lower.verify()
        self._fill(np.unique(batch[~self._known[batch]]))
        compare = not self._compared and not self._lower.blocks[-1].training
        with self._lower.left_out(
            partial(self._padded, batch), partial(self._compare, batch) if compare else None
        ):
            yield

    def _padded(self, batch: NDArray[np.int64], given: torch.Tensor) -> torch.Tensor:
        """States in the shape of what the lowest block was given; zero at padding, which attention masks."""
        import torch

        lengths = np.diff(self._offsets)[batch]
        if given.shape[0] != len(batch) or given.shape[1] < lengths.max(initial=0):
            raise UsageError(
                f"the forward pass took {given.shape[0]} records of {given.shape[1]} positions, but hidden"
                f" states stand in for {len(batch)} of up to {lengths.max(initial=0)}",
                hint="give standing_in the numbers of the batch's records, in their order",
            )
        padded = np.zeros((len(batch), given.shape[1], self._states.shape[1]), dtype=self._states.dtype)
        for row, (record, length) in enumerate(zip(batch, lengths, strict=True)):
            padded[row, :length] = self._states[self._offsets[record] : self._offsets[record] + length]
        return torch.from_numpy(padded).to(given.device, given.dtype)

    def _compare(self, batch: NDArray[np.int64], computed: torch.Tensor) -> None:
        lengths = np.diff(self._offsets)[batch]
        for row, (record, length) in enumerate(zip(batch, lengths, strict=True)):
            kept = self._states[self._offsets[record] : self._offsets[record] + length].astype(np.float32)
            here = computed[row, :length].float().cpu().numpy()
            gaps, sizes = (np.linalg.norm(each, axis=1) for each in (kept - here, here))
            if bool((gaps > _DIFFERENT * sizes + 1e-6).any()):
                raise UsageError(
                    f"the hidden states kept for record {record} are not those of its inputs in the batch",
                    hint="pad on the right, and let record numbers mean the same in both places",
                )
        alike = bool((np.diff(self._offsets) == lengths.max(initial=0)).all())
        self._compared = alike or bool((lengths < computed.shape[1]).any())

    def _fill(self, records: NDArray[np.int64]) -> None:
        if not len(records):
            return
        half = self._states.dtype == np.float16
        for group in np.split(records, len(records)) if half else [records]:
            lengths = np.diff(self._offsets)[group]
            inputs = self._inputs(group)
            hidden = self._lower.states(inputs).float().cpu().numpy()
            if hidden.shape[:2] != (len(group), lengths.max()) or not _right_padded(inputs, lengths):
                raise UsageError(
                    f"{len(group)} records of up to {lengths.max()} positions have hidden states of shape"
                    f" {hidden.shape}, or are masked otherwise",
                    hint="lengths count each record's positions; pad inputs on the right, to the longest",
                )
            if half and np.abs(hidden).max(initial=0) > np.finfo(np.float16).max:
                raise UsageError(
                    "hidden states of this model are too large for half precision",
                    hint="keep them in float32 (training.prefix_dtype)",
                )
            for row, (record, length) in enumerate(zip(group, lengths, strict=True)):
                self._states[self._offsets[record] : self._offsets[record] + length] = hidden[row, :length]
        self._known[records] = True
        if self._known.all() or time.monotonic() > self._save_from:
            self.save()


def keep_prefixes(
    task: Task,
    records: Sequence[Records],
    *,
    budget: int,
    dtype: str = "float32",
    folder: Path | None = None,
) -> None:
    """From now on ``task`` remembers the hidden states of ``records`` below the first trained block.

    ``budget`` is in bytes, for all of them; records whose states do not fit are computed anew each time, as
    are those of models for which this is not known to be exact.
    """
    if not budget:
        return
    for encoded in records:
        prefix = FrozenPrefix.over(
            task.model,
            partial(task.inputs, encoded),
            records=len(encoded),
            lengths=encoded.lengths,
            budget=budget,
            dtype=dtype,
            folder=folder,
            data=None if folder is None else encoded.digest(),
        )
        if prefix is not None:
            task.prefixes[encoded] = prefix
            budget -= prefix.nbytes


def _right_padded(inputs: Mapping[str, Any], lengths: NDArray[np.int64]) -> bool:
    """Whether the inputs' attention mask, if they have one, allows just the first ``lengths`` positions."""
    mask = inputs.get("attention_mask")
    if mask is None or mask.dim() != 2:
        return True
    expected = np.arange(mask.shape[1])[None, :] < lengths[:, None]
    return bool((mask.cpu().numpy().astype(bool) == expected).all())


def _mapped(
    folder: Path, name: str, dtype: str, shape: tuple[int, int], known: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The file of that name as an array, and of which records it holds the states; a new one holds none."""
    path, index = folder / f"{name}.states", folder / f"{name}.known"
    size = np.dtype(dtype).itemsize * shape[0] * shape[1]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = path.exists() and path.stat().st_size == size and index.exists()
        if not kept:
            index.unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        states = np.memmap(path, dtype=dtype, mode="r+" if kept else "w+", shape=shape)
        stored = np.fromfile(index, dtype=np.bool_) if kept else known
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot keep hidden states: {error.strerror}",
            hint="choose another in training.prefix_folder, or leave it out",
        ) from None
    return states, stored if stored.shape == known.shape else known


def _digest(*parts: str | bytes) -> str:
    """Names states by all that they depend on."""
    whole = hashlib.sha256(_DOMAIN)
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        whole.update(len(encoded).to_bytes(8, "little") + encoded)
    return whole.hexdigest()
