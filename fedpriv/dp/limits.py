"""What this accountant refuses to put a figure on, each refusal with its reason."""

from __future__ import annotations

from typing import Final

from fedpriv.dp.events import RELATION
from fedpriv.errors import UnsafeParameters, UsageError

__all__ = ["LARGE_EPSILON", "check_delta_for_records", "check_epsilon", "check_relation", "check_sampling"]

LARGE_EPSILON: Final = 20.0


def check_epsilon(epsilon: float, *, allow_large: bool = False) -> None:
    """Refuse an epsilon of 20 or more, unless the caller says that it is meant.

    e^20 is 5e8: by the guarantee alone, an attacker's odds may grow as much, which protects nobody.

    Raises:
        UnsafeParameters: an epsilon of at least 20 that is not allowed.

    >>> check_epsilon(8.0)
    >>> check_epsilon(50.0, allow_large=True)
    """
    if not epsilon < LARGE_EPSILON and not allow_large:
        raise UnsafeParameters(
            f"epsilon {epsilon:.4g} is not a guarantee worth the name: from {LARGE_EPSILON:g} on an"
            " attacker's odds may grow more than 400-million-fold",
            hint="use more noise, fewer rounds or a smaller rate; or say that so large an epsilon is meant",
        )


def check_delta_for_records(delta: float, records: int) -> None:
    """Refuse a delta of 1/n or more: publishing one of the n records at random would satisfy it.

    Raises:
        UsageError: no records.
        UnsafeParameters: delta is at least 1 / records.

    >>> check_delta_for_records(1e-5, 8530)
    """
    if records < 1:
        raise UsageError(f"there are {records} records; a guarantee needs at least one")
    if delta * records >= 1.0:
        raise UnsafeParameters(
            f"delta {delta:g} is too large for {records} records: at 1/n or more, publishing one whole record"
            " at random would be allowed",
            hint=f"use a delta well below {1.0 / records:.2g}",
        )


def check_sampling(sampling: str) -> None:
    """Refuse to price any sampling but ``poisson`` and ``none``.

    Raises:
        UnsafeParameters: shuffled, fixed-size or other batches.

    >>> check_sampling("poisson")
    """
    if sampling not in ("poisson", "none"):
        raise UnsafeParameters(
            f"{sampling} batches are not Poisson samples: amplification by sampling is not proven for them,"
            " and their true epsilon can be far larger (arXiv 2403.17673)",
            hint="draw each record independently with the sampling rate, or claim no amplification (none)",
        )


def check_relation(relation: str) -> None:
    """Refuse every neighbouring relation but add-or-remove-one.

    Raises:
        UnsafeParameters: ``replace-one``.
        UsageError: an unknown relation.

    >>> check_relation("add-or-remove-one")
    """
    if relation == RELATION:
        return
    if relation == "replace-one":
        raise UnsafeParameters(
            "replace-one is not priced here: replacing a record moves a sum by up to twice the clip, and RDP"
            " accountants for sampled Gaussians leave the doubling out",
            hint="without sampling, state the doubled sensitivity: halve the noise multiplier; with sampling,"
            f" a replacement is two steps of {RELATION}: (2 epsilon, (1 + e^epsilon) delta)",
        )
    raise UsageError(f"the neighbouring relation {relation!r} is unknown; there is {RELATION!r}")
