"""One clipped vector a record, as rows that can be rounded to integers.

What is summed under differential privacy is one vector per record whose l2 norm is at most ``clip``, and that
depends on that record and the weights alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.peft import Coordinates, Manifest
from fedpriv.training.frozen import FrozenWeights
from fedpriv.training.task import Records, Task, by_length

if TYPE_CHECKING:
    import torch
    from torch import nn

# Scaling to C (1 - 2**-20) leaves room for rounding each coordinate to float32 (2**-24 of it), so that the
# vector handed out has a norm of at most C and not C and a bit.
_SLACK = 1.0 - 2.0**-20


class ClippedRecords(ABC):
    """Vectors of records, each clipped to an l2 norm of at most ``clip``.

    Between calls, and between the batches of one call, the model carries no hook, no gradient and no changed
    mode, so many clients can share one model: ``manifest.restore(model, vector)``, then ``clipped(...)``.

    Raises ``UnsafeParameters``, naming the parameter or module, where a module mixes records or what is
    trained is not what the manifest says; ``UsageError`` on a clip or micro-batch that is not positive.
    """

    def __init__(
        self, model: nn.Module, task: Task, manifest: Manifest, *, clip: float, micro_batch: int
    ) -> None:
        if not (math.isfinite(clip) and clip > 0):
            raise UsageError(f"the clipping norm must be positive, not {clip}")
        if micro_batch < 1:
            raise UsageError(f"a micro-batch must hold at least one record, not {micro_batch}")
        if task.model is not model:
            raise UsageError("the task is about another model", hint="make the task from the attached model")
        self.model = model
        self.task = task
        self.manifest = manifest
        self.clip = clip
        self.micro_batch = micro_batch
        self.dropped = 0
        """Records whose vector was not finite, and so counted as zero, since this object was made."""
        _check_trained(model, manifest)
        self._frozen = FrozenWeights.of(model, manifest)

    @abstractmethod
    def _per_record(self, encoded: Records, batch: NDArray[np.int64], within: Coordinates) -> torch.Tensor:
        """Vectors before clipping, shape (b, within.width), float32, on the CPU."""

    def clipped(
        self,
        encoded: Records,
        indices: Sequence[int] | NDArray[np.int64],
        within: Coordinates | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Yields float32 arrays of shape (b, k), one row for each record at ``indices``.

        Rows come ordered by record length, not by index; a record whose gradient is not finite, or too large
        for float32 to scale, is a row of zeros and is counted in ``dropped``.  No indices: nothing is
        yielded.

        Args:
            encoded, indices: the records.
            within: the coordinates that are wanted; a gradient is restricted to them *before* it is clipped,
                so that what is clipped is what is handed out (protocols/dp/spec.md, 2.6).  If not given, all,
                and k is ``manifest.size``.
        """
        places = Coordinates(self.manifest.size, self.manifest.size) if within is None else within
        rows = np.asarray(indices, dtype=np.int64).reshape(-1)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(encoded)):
            raise UsageError(f"an index is outside the {len(encoded)} records")
        for batch in by_length(encoded, rows, self.micro_batch):
            yield self._clip(self._per_record(encoded, batch, places))

    def verify_frozen(self) -> None:
        """Raises ``IntegrityError``, naming it, where a weight that is not trained has moved since
        construction."""
        self._frozen.verify(self.model)

    def clip_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows from elsewhere, float32, shape (b, k), clipped as records' are; an auditor's
        canaries come through here.  The argument stays as it is."""
        import torch

        return self._clip(torch.from_numpy(np.array(rows, dtype=np.float32)))

    def _clip(self, gradients: torch.Tensor) -> NDArray[np.float32]:
        """Scales rows in place."""
        import torch

        from fedpriv.training.per_record.clipping import LEAST, norms

        lengths = norms(gradients)
        bound = self.clip * _SLACK
        factors = torch.where(lengths > bound, bound / lengths, 1.0)
        usable = torch.isfinite(lengths) & (factors >= LEAST)
        gradients.mul_(factors.to(torch.float32).unsqueeze(1))
        if not bool(usable.all()):
            # Assigned, not multiplied: zero times infinity is not a number.
            gradients[~usable] = 0.0
            self.dropped += int((~usable).sum())
        values: NDArray[np.float32] = gradients.numpy()
        return values


def _check_trained(model: nn.Module, manifest: Manifest) -> None:
    """What is trained is what the manifest says, in a model whose records do not mix."""
    from torch import nn

    mixing = (nn.modules.batchnorm._NormBase, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
    for name, module in model.named_modules():
        if isinstance(module, mixing):
            raise UnsafeParameters(
                f"{name!r} ({type(module).__name__}) mixes the records of a batch",
                hint="choose a model with LayerNorm or RMSNorm in its place",
            )
    wanted = {entry.name for entry in manifest.entries}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if wanted != trained:
        odd = sorted(wanted ^ trained)[0]
        raise UnsafeParameters(
            f"{odd!r} is trained but not in the manifest, or the other way round",
            hint="take Manifest.of(model) after fedpriv.peft.attach",
        )
