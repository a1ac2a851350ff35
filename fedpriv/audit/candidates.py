"""Which of some known records are in a sum: scores from their gradients and what is seen of the sum.

The server of a run knows the model, so it knows the gradient of any record that it can guess.  What it then
sees of one client's update, or of the sum, is asked which of these gradients are in it.

Source: the linear minimum mean-square error estimate (Kay, Fundamentals of Statistical Signal Processing,
1993, theorem 12.1), of coins with equal bias seen through white noise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UsageError

__all__ = ["ERROR_RATE", "Uniformity", "candidate_scores", "uniformity"]

ERROR_RATE: Final = 1e-6
"""How often residues that are uniform are said not to be."""

_LEAST_RIDGE: Final = 1e-9  # of the largest eigenvalue: what rounding leaves of two records that are alike
_MOST_BINS: Final = 256
_EACH: Final = 16  # residues expected in a bin, so that the statistic has its limiting law


def candidate_scores(
    view: NDArray[np.float64], rows: NDArray[np.float32], share: float
) -> NDArray[np.float64]:
    """Return a score for each candidate, higher where it is likelier in; mean 0, standard deviation 1.

    With x the candidates' coins, ``view`` is taken as xᵀ rows plus white noise: a candidate's score is the
    inner product of its gradient with the view, less what the other candidates put into its direction, as far
    as the noise lets that be known.  How much noise there is, is read off what no candidate explains.

    Args:
        view: what is seen, shape (d,), in the rows' units.
        rows: the candidates' gradients as they would be summed, shape (k, d).
        share: how many of the candidates are in, which the attacker is told; in (0, 1).

    Raises:
        UsageError: shapes that do not fit, as many candidates as dimensions, or no such share.

    >>> rows = np.random.default_rng(0).normal(size=(4, 100)).astype(np.float32)
    >>> candidate_scores(rows[0] + rows[3].astype(np.float64), rows, 0.5).round(2)
    array([ 1., -1., -1.,  1.])
    """
    if rows.ndim != 2 or view.shape != rows.shape[1:] or not 0 < len(rows) < view.size:
        raise UsageError(f"candidates of shape {rows.shape} cannot be looked for in a view of {view.shape}")
    if not 0.0 < share < 1.0:
        raise UsageError(f"the share of candidates that are in is {share}; it must lie in (0, 1)")
    wide = rows.astype(np.float64)
    values, vectors = np.linalg.eigh(wide @ wide.T)
    least = _LEAST_RIDGE * max(float(values[-1]), np.finfo(np.float64).tiny)
    along = vectors.T @ (wide @ view)
    explained = float((along[values > least] ** 2 / values[values > least]).sum())
    noise = max(0.0, float(view @ view) - explained) / (view.size - len(rows))
    expected = share * values * vectors.sum(axis=0)  # of the inner products, in the eigenvectors' directions
    scores = vectors @ ((along - expected) / (np.maximum(values, 0.0) + noise / (share - share**2) + least))
    spread = float(scores.std())
    return np.asarray((scores - scores.mean()) / spread if spread > 0.0 else np.zeros(len(rows)))


@dataclass(frozen=True, slots=True)
class Uniformity:
    """A chi-square test of whether residues are uniform, on their highest bits.

    Attributes:
        residues: how many were tested.
        statistic: chi-square with ``bins - 1`` degrees of freedom.
        p_value: chance of so large a statistic, were they uniform.
        error_rate: how often residues that are uniform are said not to be.
    """

    residues: int
    bins: int
    statistic: float
    p_value: float
    error_rate: float

    @property
    def uniform(self) -> bool:
        """Whether they look like it."""
        return self.p_value >= self.error_rate

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "uniform": self.uniform}


def uniformity(residues: NDArray[np.uint64], bits: int) -> Uniformity:
    """Test whether ``residues`` modulo ``2**bits`` are uniform.

    Args:
        residues: uint64, shape (n,), each below ``2**bits``, n at least 32.

    Raises:
        UsageError: fewer than 32.

    >>> words = np.random.default_rng(0).integers(0, 2**32, 10_000, dtype=np.uint64)
    >>> uniformity(words, 32).uniform, uniformity(words >> np.uint64(1), 32).uniform
    (True, False)
    """
    from scipy.special import chdtrc

    if residues.size < 2 * _EACH:
        raise UsageError(f"{residues.size} residues are too few to be tested; {2 * _EACH} are needed")
    used = min(bits, (min(_MOST_BINS, residues.size // _EACH)).bit_length() - 1)
    counts = np.bincount((residues >> np.uint64(bits - used)).astype(np.int64), minlength=1 << used)
    expected = residues.size / (1 << used)
    statistic = float(((counts - expected) ** 2).sum() / expected)
    return Uniformity(
        residues=residues.size,
        bins=1 << used,
        statistic=statistic,
        p_value=float(chdtrc((1 << used) - 1, statistic)),
        error_rate=ERROR_RATE,
    )
