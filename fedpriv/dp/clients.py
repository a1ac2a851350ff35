"""Epsilon over clients with a ledger each: the largest if no data are shared, else all of them composed."""

from __future__ import annotations

from collections.abc import Mapping

from fedpriv.dp.accountant import FINAL_INTERVAL, Counted, check_pld_delta, epsilon_pld, epsilon_rdp
from fedpriv.errors import UsageError

__all__ = ["epsilon_local"]


def epsilon_local(
    clients: Mapping[str, Counted], delta: float, disjoint: bool, *, interval: float = FINAL_INTERVAL
) -> float:
    """Return the epsilon at ``delta`` of one record, or one person, over all clients.

    Each client counts the rounds that it took part in, at its own rate and noise.  Where ``disjoint`` states
    that nobody has records at two clients, a record pays at its own client only and the largest epsilon
    bounds them all.  Where that is not stated, a person may have one record at every client and pays at all
    of them: the events of all clients are composed.

    Raises:
        UsageError: no clients, or delta outside [1e-12, 1).
        UnsafeParameters: integer noise too coarse for ``delta``.

    >>> from fedpriv.dp import PoissonGaussian
    >>> north, south = [(PoissonGaussian(1.5, 0.01), 100)], [(PoissonGaussian(1.5, 0.02), 90)]
    >>> hospitals = {"north": north, "south": south}
    >>> round(epsilon_local(hospitals, 1e-5, disjoint=True, interval=1e-3), 2)
    0.59
    >>> round(epsilon_local(hospitals, 1e-5, disjoint=False, interval=1e-3), 2)
    0.65
    """
    check_pld_delta(delta)
    if not clients:
        raise UsageError("there are no clients, so there is no epsilon")
    if not disjoint:
        return epsilon_pld(
            [entry for counted in clients.values() for entry in counted], delta, interval=interval
        )
    # RDP is an upper bound too, and cheap: who lies below the largest tight figure by it need not be
    # computed.
    largest = 0.0
    by_rdp = {name: epsilon_rdp(counted, delta) for name, counted in clients.items()}
    for name in sorted(by_rdp, key=by_rdp.__getitem__, reverse=True):
        if by_rdp[name] <= largest:
            break
        largest = max(largest, epsilon_pld(clients[name], delta, interval=interval))
    return largest
