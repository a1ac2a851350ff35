"""Secure aggregation with pairwise masks (Bonawitz et al. 2017) as state machines without IO.

A server and n clients exchange bytes over any transport; the server learns the sum of the survivors' vectors
modulo ``2**bits`` and nothing else.  protocols/secagg/spec.md says what is claimed, against whom, and what is
not.
"""

from __future__ import annotations

from fedpriv.secagg.client import Client
from fedpriv.secagg.cost import RoundCost, round_cost
from fedpriv.secagg.in_process import run_in_process
from fedpriv.secagg.params import MAX_CLIENTS, SecAggParams, Session, Sum, least_threshold
from fedpriv.secagg.server import Server
from fedpriv.secagg.states import ClientState, Stage
from fedpriv.secagg.summation import secure_sum

__all__ = [
    "MAX_CLIENTS",
    "Client",
    "ClientState",
    "RoundCost",
    "SecAggParams",
    "Server",
    "Session",
    "Stage",
    "Sum",
    "least_threshold",
    "round_cost",
    "run_in_process",
    "secure_sum",
]
