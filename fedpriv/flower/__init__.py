"""A secure, private sum in a Flower app of one's own, under Flower's Message API.

`PrivateSumPlan` says what all parties agree on; `privately` wraps a node's training function; `PrivateSum`
drives the rounds from the server app.  Needs ``pip install 'fedpriv[flower]'``; importing this package loads
no flwr yet.
"""

from __future__ import annotations

from fedpriv.flower.client import privately
from fedpriv.flower.node_policy import POLICY_KEY, NodePolicy, load_policy
from fedpriv.flower.plan import PrivateSumPlan, PrivateTotal
from fedpriv.flower.server import PrivateSum

__all__ = [
    "POLICY_KEY",
    "NodePolicy",
    "PrivateSum",
    "PrivateSumPlan",
    "PrivateTotal",
    "load_policy",
    "privately",
]
