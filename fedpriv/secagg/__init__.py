"""Secure aggregation with pairwise masks (Bonawitz et al. 2017, Bell et al. 2020) as machines without IO.

A server and n clients exchange bytes over any transport, round after round; the server learns the sums of the
survivors' vectors and nothing else.  protocols/secagg/spec.md says what is claimed, against whom, and what is
not.
"""

from __future__ import annotations

from fedpriv.secagg.client import Client
from fedpriv.secagg.cost import RoundCost, round_cost
from fedpriv.secagg.floors import Floors
from fedpriv.secagg.graph_parameters import GraphParameters, graph_parameters
from fedpriv.secagg.in_process import run_in_process
from fedpriv.secagg.keys import Roster
from fedpriv.secagg.params import MAX_CLIENTS, SecAggParams, Sum, least_threshold
from fedpriv.secagg.server import Server
from fedpriv.secagg.states import ClientState, Stage
from fedpriv.secagg.summation import secure_sum
from fedpriv.secagg.vectors import UPDATE, Vector

__all__ = [
    "MAX_CLIENTS",
    "UPDATE",
    "Client",
    "ClientState",
    "Floors",
    "GraphParameters",
    "Roster",
    "RoundCost",
    "SecAggParams",
    "Server",
    "Stage",
    "Sum",
    "Vector",
    "graph_parameters",
    "least_threshold",
    "round_cost",
    "run_in_process",
    "secure_sum",
]
