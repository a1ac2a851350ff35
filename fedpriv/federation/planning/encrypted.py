"""What an encrypted sum needs of a plan: the largest value, the parameters, and what answers may tell."""

from __future__ import annotations

import math

from fedpriv import dp
from fedpriv.aggregation import Ckks
from fedpriv.ckks import CkksParams, security
from fedpriv.encoding import FixedPoint
from fedpriv.encoding.scale import noise_tail
from fedpriv.errors import UnsafeParameters
from fedpriv.federation.config import Config
from fedpriv.federation.config.ckks_rules import committee
from fedpriv.federation.work.contribution import Contribution

__all__ = ["ckks_aggregator", "flooding_slack", "largest_value"]

_FAILURE = 2.0**-40
_SLACK_SHARE = 0.1


def largest_value(one: Contribution, grid: FixedPoint, noise: dp.NoisePlan, rounds: int) -> int:
    """M: no coordinate of any client's vector is larger in absolute value in any round of a run.

    A coordinate is the client's clamped integers, at most L, or the clip's coordinate, which is plus or minus
    B; and its noise, ``steps`` shares that add up to one Skellam variable.  Of all d coordinates of n clients
    in R rounds none has noise beyond ``t`` standard deviations but for a chance of 2^-40, with ``t`` from
    `fedpriv.encoding.scale.noise_tail` for 2 n d R values.  That bound asks for a variance of at least
    t^3 / 12; below it the tail at that variance is taken, which is more but for the factor 2 that is in the
    count: a symmetric variable added to the noise keeps it above any positive number with a chance of at
    least a half.  A residue modulo ``2**bits`` stands for a number of at most 2^(bits - 1) in absolute value,
    which is M where it is less.

    A client refuses to send a larger value (CK-3), which ends the run and reveals nothing.

    >>> noise = dp.NoisePlan("distributed", 8, 6, 1, 1.0, 2**12, 1000, 0.1)
    >>> grid = FixedPoint(bits=24, clients=8, clip=1.0, scale_log2=12, sensitivity=2**12, client_bound=2**14)
    >>> one = Contribution(sampling_rate=0.1, divisor=16.0, expected=16.0, turns=1, bit_share=0.0)
    >>> largest_value(one, grid, noise, rounds=10) - 2**14
    18298
    """
    if not noise.share_variance:
        return max(grid.client_bound, one.bit_units(grid))
    tail = noise_tail(2 * noise.clients * noise.dimension * rounds, _FAILURE)
    variance = max(one.steps * noise.share_variance, tail**3 / 12)
    largest = max(grid.client_bound, one.bit_units(grid)) + math.ceil(tail * math.sqrt(variance))
    return min(largest, 1 << (grid.bits - 1))


def ckks_aggregator(config: Config, grid: FixedPoint, noise: dp.NoisePlan, clients: int, bound: int) -> Ckks:
    """The encrypted sum that the configuration names, over so many clients with values of at most ``bound``.

    Raises:
        UnsafeParameters: no ring holds such sums, or the answers of the key's holders would say too much.
        ConfigError: the committee does not fit the clients.
    """
    options = config.ckks
    holders, threshold = None, None
    if options.mode == "threshold":
        count, threshold = committee(options, config.secagg, clients)
        holders = tuple(range(1, count + 1))
    params = CkksParams.for_sum(
        mode=options.mode,
        clients=clients,
        dimension=noise.dimension,
        bound=bound,
        min_survivors=noise.min_survivors,
        holders=holders,
        threshold=threshold,
        max_colluders=noise.max_colluders,
        malicious=options.server == "malicious",
        sums_per_key=options.sums_per_key,
        statistical_bits=options.statistical_bits,
    )
    return Ckks(params, grid.bits)


def flooding_slack(params: CkksParams, rounds: int, *, epsilon: float, delta: float) -> float:
    """What the answers of a key's holders add to δ over a run, because flooding hides them statistically.

    Zero where sums are opened exactly; else :func:`fedpriv.ckks.security.flooding_slack`.

    Raises:
        UnsafeParameters: it is more than a tenth of δ.
    """
    if params.mode != "threshold":
        return 0.0
    slack = security.flooding_slack(params.statistical_bits, rounds, params.sums_per_key, epsilon)
    if slack > _SLACK_SHARE * delta:
        more = math.ceil(math.log2(slack / (_SLACK_SHARE * delta)))
        raise UnsafeParameters(
            f"the answers of the key's holders would add {slack:.2g} to δ = {delta:g}",
            hint=f"set ckks.statistical_bits = {params.statistical_bits + more} or more",
        )
    return slack
