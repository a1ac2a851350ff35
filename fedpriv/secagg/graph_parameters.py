"""How many neighbours a client of a large cohort needs, and how many of them open a secret.

protocols/secagg/graph.md section 2 states the conditions and argues for each.  Probabilities are natural
logarithms throughout, so that no binomial overflows and no tail vanishes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from fedpriv.encoding.ranges import check_range
from fedpriv.errors import UnsafeParameters, UsageError
from fedpriv.secagg.hypergeometric import log_choose, log_exceeds

__all__ = [
    "MAX_CLIENTS",
    "MIN_CLIENTS",
    "Adversary",
    "GraphParameters",
    "clients_of",
    "corrupt_neighbours",
    "graph_parameters",
    "log_disconnected",
]

Adversary = Literal["curious", "semi-malicious"]

MIN_CLIENTS: Final = 3
MAX_CLIENTS: Final = 1_000_000
_LEAST_SPARSE: Final = 32  # below it a sparse graph saves little, and rests on one or two clients
_MOST_BITS: Final = 512
_LEAST_THRESHOLD: Final = 2  # a single share would be the secret itself

# Conditions must hold with this much to spare (in nats), which is more than the arithmetic errs by.
_MARGIN: Final = 1e-6


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """A graph and a threshold, and what they achieve; the failures are log2 of a bound on the probability.

    ``-inf`` stands for what cannot happen with so many corrupt and dropped clients.  The bounds are for one
    graph, and for corrupt and dropped clients that are fixed before it is drawn.

    Attributes:
        clients: n.
        degree: k, neighbours of each client; n - 1 where the graph is complete, otherwise even.
        threshold: t, how many shares open a secret.
        corrupt_neighbours: a*, corrupt clients among the holders of a client's shares that t allows for.
        max_corrupt: A = ⌊γn⌋, clients that may collude with the server.
        max_dropped: D = ⌊δn⌋, clients that may vanish in a round.
        complete: every client is joined to every other, and holds a share of its own secrets as well.
        log2_disconnected: the honest survivors fall apart, and the server learns the sum of each part.
        log2_exposed: some client has more than a* corrupt neighbours.
        log2_unfinished: some client has fewer than t surviving neighbours, and the round gives no sum.
    """

    clients: int
    degree: int
    threshold: int
    corrupt_neighbours: int
    max_corrupt: int
    max_dropped: int
    complete: bool
    log2_disconnected: float
    log2_exposed: float
    log2_unfinished: float

    @property
    def holders(self) -> int:
        """Clients that hold a share of one client's secrets: k, or n where the graph is complete."""
        return self.clients if self.complete else self.degree


def graph_parameters(
    clients: int,
    *,
    corrupt: float,
    dropout: float,
    adversary: Adversary = "semi-malicious",
    security_bits: int = 40,
    correctness_bits: int = 20,
    grinding_bits: int = 0,
) -> GraphParameters:
    """Return the smallest degree, and for it the smallest threshold, that are secure and let a round finish.

    The smallest degree is found exactly although the conditions are not monotone in it.  The complete graph
    is the answer for fewer than 32 clients, where a positive rate amounts to less than one client, and where
    no sparser graph serves.

    Args:
        clients: n, 3 to 1,000,000.
        corrupt: γ in [0, 1), the fraction of clients that may collude with the server.
        dropout: δ in [0, 1), the fraction that may vanish in a round.
        adversary: ``curious`` follows the protocol; ``semi-malicious`` may ask different clients for
            different kinds of share of one client.
        security_bits: σ, the graph may fail to protect with probability 2**-σ.
        correctness_bits: η, a round may fail to finish with probability 2**-η.
        grinding_bits: g, the adversary may try 2**g graphs and keep the worst.

    Raises:
        UnsafeParameters: fewer than three clients, fewer than two honest survivors, or no threshold that is
            both safe and reachable.
        UsageError: an argument out of range.

    Source: Bell, Bonawitz, Gascón, Lepoint, Raykova, Secure Single-Server Aggregation with (Poly)Logarithmic
    Overhead, CCS 2020, section 3.

    >>> found = graph_parameters(10_000, corrupt=0.05, dropout=0.05)
    >>> found.degree, found.threshold, found.corrupt_neighbours
    (62, 44, 24)
    >>> graph_parameters(10, corrupt=0.2, dropout=0.1).complete
    True
    """
    check_range("clients", clients, 0, MAX_CLIENTS)
    check_range("security_bits", security_bits, 1, _MOST_BITS)
    check_range("correctness_bits", correctness_bits, 1, _MOST_BITS)
    check_range("grinding_bits", grinding_bits, 0, _MOST_BITS)
    if adversary not in ("curious", "semi-malicious"):
        raise UsageError(f"adversary is {adversary!r}; there are 'curious' and 'semi-malicious'.")
    search = _Search(
        clients,
        corrupt=clients_of("corrupt", corrupt, clients),
        dropped=clients_of("dropout", dropout, clients),
        curious=adversary == "curious",
        log_insecure=-(security_bits + grinding_bits + 1) * math.log(2.0) - _MARGIN,
        log_unfinished=-correctness_bits * math.log(2.0) - _MARGIN,
    )
    search.refuse_what_protects_nobody()
    rounded_away = (corrupt > 0 and search.corrupt == 0) or (dropout > 0 and search.dropped == 0)
    tiny = clients < _LEAST_SPARSE or rounded_away
    degree = None if tiny else search.least_degree()
    return search.complete() if degree is None else search.sparse(degree)


def corrupt_neighbours(clients: int, corrupt: int, degree: int, *, security_bits: int = 40) -> int:
    """Return a*, the most corrupt neighbours that any of n clients must be expected to have.

    The smallest a such that some client of a random k-regular graph has more than a corrupt neighbours with
    probability at most 2**-(security_bits + 1).

    Args:
        clients: n.
        corrupt: A, how many of them are corrupt.
        degree: k, 1 to n - 1.
        security_bits: σ, with the bits for grinding added.

    Raises:
        UsageError: an argument out of range.

    >>> corrupt_neighbours(10_000, 500, 62)
    24
    """
    check_range("clients", clients, 2, MAX_CLIENTS)
    check_range("corrupt", corrupt, 0, clients)
    check_range("degree", degree, 1, clients - 1)
    check_range("security_bits", security_bits, 1, 2 * _MOST_BITS)
    return _most(clients, corrupt, degree, -(security_bits + 1) * math.log(2.0) - _MARGIN)


class _Search:
    """The conditions for one cohort: A corrupt and D dropped clients, and the failures that are allowed."""

    def __init__(
        self,
        clients: int,
        *,
        corrupt: int,
        dropped: int,
        curious: bool,
        log_insecure: float,
        log_unfinished: float,
    ) -> None:
        self.clients, self.corrupt, self.dropped, self.curious = clients, corrupt, dropped, curious
        self._log_insecure, self._log_unfinished = log_insecure, log_unfinished

    def refuse_what_protects_nobody(self) -> None:
        n, left = self.clients, self.clients - self.corrupt - self.dropped
        if n < MIN_CLIENTS:
            raise UnsafeParameters(
                f"Secure aggregation of {n} clients protects nobody: with two, each learns the other's "
                "vector from the sum.",
                hint=f"Use at least {MIN_CLIENTS} clients. [SA-9]",
            )
        if left < 2:
            raise UnsafeParameters(
                f"With {self.corrupt} of {n} clients corrupt and {self.dropped} dropped, {max(left, 0)} "
                "honest ones are sure to remain, and a sum hides nobody that is alone.",
                hint="Lower corrupt or dropout until at least two honest clients remain. [SA-9]",
            )

    def least_degree(self) -> int | None:
        """The smallest even degree below n - 1 that meets all conditions, or None.

        Condition 1 is monotone in k.  Conditions 2 and 3 are not, but the largest plausible numbers of
        corrupt and of dropped neighbours only grow with k; so from k to k + j the distance from the least
        safe threshold down to the largest reachable one shrinks by at most j, and by at most j/2 where the
        safe one grows by half a step (semi-malicious).  Only degrees that this rules out are skipped.
        """
        last = (self.clients - 2) // 2
        half = _first(1, last, lambda half: self._log_disconnected(2 * half) < self._log_insecure)
        worst = gone = 0
        before = 0
        while half <= last:
            degree = 2 * half
            growth = degree - before
            worst = _most(self.clients, self.corrupt, degree, self._log_insecure, least=worst, growth=growth)
            gone = _most(self.clients, self.dropped, degree, self._log_unfinished, least=gone, growth=growth)
            missing = self._threshold(degree, worst) - (degree - gone)
            if missing <= 0:
                return degree
            half += (missing + 1) // 2 if self.curious else missing
            before = degree
        return None

    def sparse(self, degree: int) -> GraphParameters:
        """What a degree that meets the conditions achieves."""
        n = self.clients
        worst = _most(n, self.corrupt, degree, self._log_insecure)
        threshold = self._threshold(degree, worst)
        return GraphParameters(
            clients=n,
            degree=degree,
            threshold=threshold,
            corrupt_neighbours=worst,
            max_corrupt=self.corrupt,
            max_dropped=self.dropped,
            complete=False,
            log2_disconnected=_log2(self._log_disconnected(degree)),
            log2_exposed=_log2(math.log(n) + log_exceeds(n, self.corrupt, degree, worst)),
            log2_unfinished=_log2(math.log(n) + log_exceeds(n, self.dropped, degree, degree - threshold)),
        )

    def complete(self) -> GraphParameters:
        """The complete graph, on which nothing is left to chance.

        Raises:
            UnsafeParameters: the survivors cannot reach a safe threshold.
        """
        n, threshold = self.clients, self._threshold(self.clients, self.corrupt)
        if threshold > n - self.dropped:
            raise UnsafeParameters(
                f"No graph of {n} clients withstands {self.corrupt} corrupt and {self.dropped} dropped ones: "
                f"the threshold must be {threshold} or more, and {n - self.dropped} clients remain.",
                hint="Lower corrupt or dropout until corrupt + 2 x dropout is below 1.",
            )
        never = -math.inf
        return GraphParameters(
            clients=n,
            degree=n - 1,
            threshold=threshold,
            corrupt_neighbours=self.corrupt,
            max_corrupt=self.corrupt,
            max_dropped=self.dropped,
            complete=True,
            log2_disconnected=never,
            log2_exposed=never,
            log2_unfinished=never,
        )

    def _threshold(self, holders: int, worst: int) -> int:
        """The smallest safe threshold where ``worst`` of a secret's holders are corrupt."""
        return max(_LEAST_THRESHOLD, (worst if self.curious else (holders + worst) // 2) + 1)

    def _log_disconnected(self, degree: int) -> float:
        return log_disconnected(self.clients, self.corrupt + self.dropped, degree)


def log_disconnected(clients: int, removed: int, degree: int) -> float:
    """Condition 1, a natural logarithm: two runs of k/2 removed clients, with somebody on both sides."""
    if removed < degree:
        return -math.inf
    pairs = math.log(clients) + math.log(clients - degree - 1) - math.log(2.0)
    return pairs + log_choose(removed, degree) - log_choose(clients, degree)


def _most(
    clients: int, marked: int, degree: int, log_allowed: float, *, least: int = 0, growth: int | None = None
) -> int:
    """The smallest a with n Pr[H(marked) > a] at most what is allowed, at least ``least``.

    ``growth`` says that it is at most ``least + growth``: one more draw adds at most one.
    """
    most = min(marked, degree)
    if growth is not None:
        most = min(most, least + growth)
    log_each = log_allowed - math.log(clients)
    return _first(least, most - 1, lambda a: log_exceeds(clients, marked, degree, a) <= log_each)


def _first(least: int, most: int, passes: Callable[[int], bool]) -> int:
    """The first of least..most that passes, where all after it do; ``most + 1`` where none does."""
    low, high = least, most + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle + 1, high)
    return low


def _log2(log: float) -> float:
    return log / math.log(2.0)


def clients_of(name: str, rate: Any, clients: int) -> int:
    """⌊rate·n⌋ of the decimal number that was written, not of the binary one beside it."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0.0 <= rate < 1.0:
        raise UsageError(
            f"{name} is {rate}; it is a fraction of the clients, at least 0 and below 1.",
            hint=f"For five per cent of them write {name} = 0.05.",
        )
    return math.floor(Fraction(str(float(rate))) * clients)
