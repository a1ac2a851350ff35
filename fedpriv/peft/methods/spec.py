"""What is trained, in numbers and names."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from fedpriv.errors import UsageError
from fedpriv.peft.methods.adapter import PLACEMENTS
from fedpriv.peft.methods.method import Method
from fedpriv.peft.methods.registry import MethodName, method_called

if TYPE_CHECKING:
    from torch import nn

_LISTS: Final = ("target_modules", "layers", "feedforward_modules", "ranks")
_AT_MOST_ONE: Final = ("density", "perturbation")
_COUNTS: Final = ("rank", "bottleneck", "virtual_tokens", "encoder_width", "directions")


@dataclass(frozen=True, slots=True)
class PeftSpec:
    """What is trained: a method and its options; an option left out is the method's own default.

    Attributes:
        method: one of ``METHODS``.
        rank, alpha: of the low-rank methods.
        target_modules: ends of module names, or ``("all-linear",)`` for low-rank methods; ``None`` takes what
            the ``peft`` library uses for the model's family.
        layers: hidden layers that carry the method, counted from 0, or from the top with negative numbers
            (``(-3, -2, -1)``: the top three); ``None``: all.
        seed: public; every weight that does not start at zero or one is drawn from it.
        placement, bottleneck: of ``adapter``: ``pfeiffer`` or ``houlsby``, and the width inside.
        virtual_tokens: of ``prompt``, ``prefix``, ``p-tuning`` and ``deep-prompt``: how many are trained.
        encoder_width: of ``p-tuning``: the width of its network.
        feedforward_modules: of ``ia3``: those of ``target_modules`` whose input is scaled, not their output.
        ranks: of ``hetlora``: the clients' own, which they take in turn; the largest is ``rank``.
            ``None``: a quarter of it, half of it, all of it.
        density: of ``flasc``: the share of the coordinates that travel in a round.
        directions: of ``fedkseed``: how many slopes travel in a round.
        perturbation: of ``fedkseed``: how far each weight is moved to either side for a slope.

    >>> PeftSpec("ffa-lora", rank=4, layers=(-2, -1)).scaling
    4.0
    >>> PeftSpec("adapter").bottleneck, PeftSpec("head").bottleneck
    (16, None)

    Raises ``UsageError`` on a value out of range or an option that the method does not have.
    """

    method: MethodName
    rank: int = 8
    alpha: float = 16.0
    target_modules: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None
    seed: int = 0
    placement: Literal["pfeiffer", "houlsby"] | None = None
    bottleneck: int | None = None
    virtual_tokens: int | None = None
    encoder_width: int | None = None
    feedforward_modules: tuple[str, ...] | None = None
    ranks: tuple[int, ...] | None = None
    density: float | None = None
    directions: int | None = None
    perturbation: float | None = None

    def __post_init__(self) -> None:
        kind = self.kind
        foreign = self.foreign()
        if foreign:
            raise UsageError(
                f"{self.method} has no option {foreign[0]}",
                hint=f"its options are: {', '.join(kind.options)}" if kind.options else "it has none",
            )
        for option, default in kind.options.items():
            if getattr(self, option) is None:
                object.__setattr__(self, option, default)
        self._check_ranges()

    def _check_ranges(self) -> None:
        for option in _COUNTS:
            count = getattr(self, option)
            if count is not None and count < 1:
                raise UsageError(f"{option} must be at least 1, not {count}")
        for option in _LISTS:
            if getattr(self, option) == ():
                raise UsageError(f"{option} is empty", hint="leave it out, or list something")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise UsageError(f"LoRA's alpha must be positive, not {self.alpha}")
        if self.placement not in (None, *PLACEMENTS):
            raise UsageError(
                f"{self.placement!r} is not a placement", hint=f"choose {' or '.join(PLACEMENTS)}"
            )
        if self.ranks is not None and not (min(self.ranks) >= 1 and max(self.ranks) == self.rank):
            raise UsageError(
                f"ranks are {list(self.ranks)}, and the model has rank {self.rank}",
                hint="give ranks from 1 to rank, of which one is rank itself",
            )
        for option in _AT_MOST_ONE:
            value = getattr(self, option)
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"the {option} must be above 0 and at most 1, not {value}")
        if not 0 <= self.seed < 2**64:
            raise UsageError(f"the public seed must be between 0 and 2**64 - 1, not {self.seed}")

    @property
    def kind(self) -> Method:
        """The method itself; ``UsageError`` where there is none of that name."""
        return method_called(self.method)

    @property
    def scaling(self) -> float:
        """The factor ``alpha / rank`` before ``B A``."""
        return self.alpha / self.rank

    @property
    def positions(self) -> int:
        """How many of a model's positions stand before each text; the text must fit into the others."""
        return self.virtual_tokens or 0

    def foreign(self) -> list[str]:
        """Options that are set, other than to their defaults, and that the method does not have."""
        return [
            field.name
            for field in fields(self)
            if field.name not in ("method", "seed", *self.kind.options)
            and getattr(self, field.name) != field.default
        ]

    def to_dict(self) -> dict[str, Any]:
        """The form of ``protocols/peft/artifact.md``: what came after the first methods stands there only
        where a method has it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        first = ("method", "rank", "alpha", "target_modules", "layers", "seed")
        return {key: value for key, value in values.items() if key in first or value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PeftSpec:
        """The inverse; ``TypeError`` on an unknown key, ``UsageError`` on a value that is refused."""
        lists = {key: tuple(values[key]) for key in _LISTS if values.get(key) is not None}
        return cls(**{**values, **lists})


def attach(model: nn.Module, spec: PeftSpec) -> nn.Module:
    """The model with exactly the parameters of ``spec`` trainable; the model given is changed in place.

    For the methods of the ``peft`` library the result is a ``peft.PeftModel`` around it, with the head among
    ``modules_to_save``; for the others it is the model itself.  All that does not start at zero or one comes
    from the public seed.  The process's random state is left as it was.

    Raises ``UsageError`` where the model has no head, no such module or layer, no place for the method, or an
    adapter already.
    """
    return spec.kind.attach(model, spec)


def parameters_sent(model: nn.Module, spec: PeftSpec) -> int:
    """How many numbers a client sends for this base model, which stays as it is; errors as ``attach``."""
    return spec.kind.parameters(model, spec)
